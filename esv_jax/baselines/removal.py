"""Baselines that look at one or two coalitions a frame."""

import jax
import numpy as np

from esv_jax.baselines.call import Baseline, ScoredVideo


def leave_one_out() -> Baseline:
    """Class-score delta: values[i] = v(all frames) - v(all but frame i)."""
    return Baseline(_leave_one_out)


def frame_alone() -> Baseline:
    """values[i] = v(frame i) - v(no frames)."""
    return Baseline(_frame_alone)


def _leave_one_out(scored: ScoredVideo, arrays: tuple[()], key: None) -> tuple[jax.Array, jax.Array]:
    num_frames = scored.video.shape[0]
    full = scored.full(scored.video)[None]
    if num_frames == 1:
        return full - scored.empty[None], scored.empty
    return full - scored.worths(scored.video, ~np.eye(num_frames, dtype=bool)), scored.empty


def _frame_alone(scored: ScoredVideo, arrays: tuple[()], key: None) -> tuple[jax.Array, jax.Array]:
    single = np.eye(scored.video.shape[0], dtype=bool)
    return scored.worths(scored.video, single) - scored.empty[None], scored.empty

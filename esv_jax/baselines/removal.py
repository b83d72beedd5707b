"""Baselines that look at a coalition or a few a frame."""

import functools

import jax
import numpy as np

from esv_jax import checks
from esv_jax.baselines.call import Baseline, ScoredVideo
from esv_jax.precise import matmul


def leave_one_out() -> Baseline:
    """Class-score delta: values[i] = v(all frames) - v(all but frame i)."""
    return Baseline(_leave_one_out)


def frame_alone() -> Baseline:
    """values[i] = v(frame i) - v(no frames)."""
    return Baseline(_frame_alone)


def occlusion(width: int = 3) -> Baseline:
    """Occlusion by a window that slides (Zeiler & Fergus, 2014): what a frame is worth in the windows that hide it.

    values[i] = mean over windows W of `width` frames in a row, i among them, of (v(all frames) - v(all but W)) / width

    Args:
      width: frames of a window; a window of the whole video where there are fewer frames.
    """
    checks.check_positive("width", width)
    return Baseline(_occlusion(width))


def _leave_one_out(scored: ScoredVideo, arrays: tuple[()], key: None) -> tuple[jax.Array, jax.Array]:
    num_frames = scored.video.shape[0]
    full = scored.full(scored.video)[None]
    if num_frames == 1:
        return full - scored.empty[None], scored.empty
    return full - scored.worths(scored.video, ~np.eye(num_frames, dtype=bool)), scored.empty


def _frame_alone(scored: ScoredVideo, arrays: tuple[()], key: None) -> tuple[jax.Array, jax.Array]:
    single = np.eye(scored.video.shape[0], dtype=bool)
    return scored.worths(scored.video, single) - scored.empty[None], scored.empty


@functools.lru_cache(maxsize=16)
def _occlusion(width: int):
    def values(scored: ScoredVideo, arrays: tuple[()], key: None) -> tuple[jax.Array, jax.Array]:
        num_frames = scored.video.shape[0]
        at_once = min(width, num_frames)
        first = np.arange(num_frames - at_once + 1)[:, None]
        hidden = (np.arange(num_frames) >= first) & (np.arange(num_frames) < first + at_once)
        full = scored.full(scored.video)[None]
        # Nobody is left where a window hides all.
        left = scored.empty[None] if at_once == num_frames else scored.worths(scored.video, ~hidden)
        share = (hidden / hidden.sum(axis=0) / at_once).astype(scored.empty.dtype)
        return matmul(share.T, full - left), scored.empty

    return values

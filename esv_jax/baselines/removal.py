"""Baselines that look at one or two coalitions a frame."""

import jax
import numpy as np

from esv_jax.baselines.call import Asked, Baseline


def leave_one_out() -> Baseline:
    """Class-score delta: values[i] = v(all frames) - v(all but frame i)."""
    return Baseline(_leave_one_out)


def frame_alone() -> Baseline:
    """values[i] = v(frame i) - v(no frames)."""
    return Baseline(_frame_alone)


def _leave_one_out(asked: Asked, arrays: tuple[()], key: None) -> tuple[jax.Array, jax.Array]:
    num_frames = asked.video.shape[0]
    full = asked.full(asked.video)[None]
    if num_frames == 1:
        return full - asked.empty[None], asked.empty
    frames = np.arange(num_frames, dtype=np.int32)
    others = np.array([np.delete(frames, i) for i in frames], np.int32)
    return full - asked.worths(asked.video, others), asked.empty


def _frame_alone(asked: Asked, arrays: tuple[()], key: None) -> tuple[jax.Array, jax.Array]:
    frames = np.arange(asked.video.shape[0], dtype=np.int32)[:, None]
    return asked.worths(asked.video, frames) - asked.empty[None], asked.empty

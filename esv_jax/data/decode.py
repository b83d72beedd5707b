"""Moved to `esv_jax.video.decode`; this name of version 0.1 goes with the next one."""

import os
from typing import NamedTuple

from esv_jax.video.decode import iter_frames as iter_frames
from esv_jax.video.decode import read_frames as read_frames
from esv_jax.video.decode import sample_frames as read_clip  # noqa: F401 (its name then)


class Probe(NamedTuple):
    """What is known of a video without its pictures."""

    num_frames: int


def probe(path: str | os.PathLike) -> Probe:
    """How many frames a video has; raises as `read_frames`."""
    return Probe(read_frames(path, [0]).num_frames_in_video)

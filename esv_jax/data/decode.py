"""Moved to `esv_jax.video.decode`; this name of version 0.1 goes with the next one."""

from esv_jax.video.decode import iter_frames as iter_frames
from esv_jax.video.decode import read_frames as read_frames
from esv_jax.video.decode import sample_frames as read_clip  # noqa: F401 (its name then)

"""Moved to `esv_jax.data.annotations`; this name of version 0.1 goes with the next one."""

from esv_jax.data.annotations import read_labelled_clips as read_labelled_clips

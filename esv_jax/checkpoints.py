"""Moved to `esv_jax.saved.model_folder`; this name of version 0.1 goes with the next one."""

from esv_jax.saved.model_folder import *  # noqa: F403

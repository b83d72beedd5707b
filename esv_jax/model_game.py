"""Moved to `esv_jax.saved.game`; this name of version 0.1 goes with the next one."""

from esv_jax.saved.game import game_of as game_of

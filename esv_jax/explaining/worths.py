"""Worths of chosen coalitions of many videos: what all that removes frames is made of."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array, Game, Level

# Videos worked on at a time: a multi-scale game holds the logits of all subsets of each.
VIDEOS_AT_ONCE = 16
_NOT_HELD: Any = None


def worths(game: Game, params: Any, videos: Array, inside: Array) -> jax.Array:
    """v(S) of N coalitions of every video, float [B, N, C]; the game's `empty` for coalitions of no frames.

    Compiled once for the shapes at hand.

    Args:
      game: one that takes coalitions of any sizes together: `tsn_game`, `frame_mean_game`, or a multi-scale game made
        with all_subsets=True.
      params: what the game's functions take first.
      videos: float [B, T, D].
      inside: bool or int [B, N, T], which frames are in each coalition.

    Raises:
      InputError: the shapes do not fit, or the game cannot.
    """
    checks.check_shape("videos", videos, ("B", "T", "D"))
    num_videos, num_frames = jnp.shape(videos)[:2]
    checks.check_shape("inside", inside, (num_videos, "N", num_frames))
    if game.own_program != 0:
        raise checks.InputError(
            "game should take coalitions of any sizes together: tsn_game, frame_mean_game, or a multi-scale game made "
            "with all_subsets=True"
        )
    return _worths(game._replace(empty=_NOT_HELD), game.empty, params, videos, inside)


@functools.partial(jax.jit, static_argnames=("functions",))
def _worths(functions: Game, empty: Array, params: Any, videos: Array, inside: Array) -> jax.Array:
    def of_one(video_and_rows: tuple[jax.Array, jax.Array]) -> jax.Array:
        video, rows = video_and_rows
        rows = rows.astype(jnp.int32)
        nobody = rows.sum(axis=1, keepdims=True) == 0
        level = Level(_NOT_HELD, _NOT_HELD, jnp.where(nobody, 1, rows))
        found = functions.link(functions.logits(functions.prepare(params, video), level, None)[0])
        return jnp.where(nobody, jnp.asarray(empty, found.dtype)[None], found)

    # The last batch is filled up, or a program of its own would be compiled for it.
    num_videos = videos.shape[0]
    batch = min(VIDEOS_AT_ONCE, num_videos)
    row = np.minimum(np.arange(-(-num_videos // batch) * batch), num_videos - 1)
    every = jnp.asarray(videos)[row], jnp.asarray(inside)[row]
    return jax.lax.map(of_one, every, batch_size=batch)[:num_videos]

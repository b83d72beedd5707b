"""The game of any model that takes shorter clips."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array, Game, Level

Predict = Callable[[Any, jax.Array], jax.Array]


def clip_game(predict: Predict, *, empty: Array, clips_at_once: int | None = None) -> Game:
    """v(S) = predict(params, the frames of S in temporal order).

    Args:
      predict: (params, clips [N, k, D]) -> worths [N, C], for every k >= 1; JAX-traceable. Frames may have any shape in
        place of [D]. It is compiled for every k: 64 frames take some ten seconds, for the smallest of models.
      empty: float [C], the worth of no frames, as a rule the class prior.
      clips_at_once: the most clips handed to one call of `predict`, to bound memory (the last call is padded with
        repeats); None: all of a size at once.
    """
    if clips_at_once is not None:
        checks.check_positive("clips_at_once", clips_at_once)
    return Game(checks.scores("empty", empty), _prepare, _worths(predict, clips_at_once), _identity, None)


def _identity(worths: jax.Array) -> jax.Array:
    return worths


def _prepare(params: Any, video: jax.Array) -> Any:
    return params, video


# Cached, so that a game made again of the same function is the same to jit's cache.
@functools.lru_cache(maxsize=64)
def _worths(predict: Predict, clips_at_once: int | None):
    def worths(prepared: Any, level: Level, carry: None) -> tuple[jax.Array, None]:
        params, video = prepared

        def of_rows(members: jax.Array) -> jax.Array:
            return checks.model_output("what predict returns", predict(params, video[members]), members.shape[0])

        return in_chunks(of_rows, level.members, clips_at_once), None

    return worths


def in_chunks(function: Callable[[jax.Array], jax.Array], rows: Array, chunk: int | None) -> jax.Array:
    """function(rows) [N, ...] for a function that treats rows [N, k] one by one, at most `chunk` of them at a time."""
    rows = jnp.asarray(rows)
    num_rows = rows.shape[0]
    if chunk is None or num_rows <= chunk:
        return function(rows)
    num_chunks = -(-num_rows // chunk)
    filled = jnp.pad(rows, ((0, num_chunks * chunk - num_rows), (0, 0)), mode="edge")
    results = jax.lax.map(function, filled.reshape(num_chunks, chunk, -1))
    return results.reshape(num_chunks * chunk, *results.shape[2:])[:num_rows]

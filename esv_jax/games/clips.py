"""The games of any model that takes shorter clips."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from esv_jax import checks
from esv_jax.base import Array, Game, Subsets, identity
from esv_jax.batches import in_chunks

Predict = Callable[[Any, jax.Array], jax.Array]


def clip_game(predict: Predict, *, empty: Array, clips_at_once: int | None = None) -> Game:
    """v(S) = predict(params, the frames of S in temporal order).

    Args:
      predict: (params, clips [N, k, D]) -> worths [N, C], for every k >= 1; JAX-traceable. Frames may have any shape in
        place of [D]. It is compiled for every k: 64 frames take some ten seconds, for the smallest of models. What it
        reads besides its arguments is fixed when it is first compiled, so a function, method or object that holds
        arrays is refused: they belong into params. (Global variables and plain numbers are not looked at: they are
        as they were.)
      empty: float [C], the worth of no frames, as a rule the class prior.
      clips_at_once: the most clips handed to one call of `predict`, to bound memory (the last call is padded with
        repeats); None: all of a size at once.

    Raises:
      InputError: `empty` is no vector of finite scores, or `predict` holds arrays.
    """
    if clips_at_once is not None:
        checks.check_positive("clips_at_once", clips_at_once)
    checks.check_pure("predict", predict)
    empty = checks.scores("empty", empty, probabilities=False)
    return Game(empty, _params_and_video, _of_subsets(predict, clips_at_once), identity, Subsets())


def _params_and_video(params: Any, video: Any) -> Any:
    return params, video


# Cached, so that a game made again of the same function is the same to jit's cache.
@functools.lru_cache(maxsize=64)
def _of_subsets(predict: Predict, clips_at_once: int | None):
    def logits(prepared: Any, members: Array) -> jax.Array:
        params, video = prepared

        def of_rows(rows: jax.Array) -> jax.Array:
            return checks.call_model("predict", predict, params, video[rows], len(rows))

        return in_chunks(of_rows, members, clips_at_once)

    return logits

"""The game of TSN: a model that averages what it thinks of every frame."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from esv_jax import checks
from esv_jax.base import Array, Game, Level
from esv_jax.coalitions import lattice
from esv_jax.games import frame_mean_sums
from esv_jax.precise import matmul


def frame_mean_game(frame_logits: Callable[[Any, jax.Array], jax.Array], *, empty: Array) -> Game:
    """v(S) = softmax(mean over i in S of frame_logits(x_i)). Every frame goes through the model once a video.

    Args:
      frame_logits: (params, video [T, D]) -> logits [T, C] of the single frames, finite (one that is infinite makes the
        values of every class NaN).
      empty: float [C], the worth of no frames: probabilities, not logits.
    """
    return Game(
        checks.scores("empty", empty),
        _checked(frame_logits),
        _mean_logits,
        jax.nn.softmax,
        0,
        frame_mean_sums.sum_over_all,
    )


@functools.lru_cache(maxsize=64)
def _checked(frame_logits: Callable[[Any, jax.Array], jax.Array]):
    def prepare(params: Any, video: jax.Array) -> jax.Array:
        return checks.model_output("what frame_logits returns", frame_logits(params, video), video.shape[0])

    return prepare


def _mean_logits(logits: jax.Array, level: Level, carry: None) -> tuple[jax.Array, None]:
    # A product with the membership matrix beats gathering k rows of [C] for every coalition.
    inside = lattice.indicator(level, logits.shape[0], logits.dtype)
    total = matmul(inside, logits)
    return total / inside.sum(axis=1, keepdims=True), None


def tsn_game(model: Any, *, empty: Array) -> Game:
    """The game of an `esv_jax.models.TSN`: `frame_mean_game` of its frame logits.

    For `explain(estimator, game, variables, frames)` with the model's Flax variables and frames float [T, D].
    """
    return frame_mean_game(_frame_logits(model), empty=empty)


@functools.lru_cache(maxsize=64)
def _frame_logits(model: Any):
    def frame_logits(variables: Any, frames: jax.Array) -> jax.Array:
        checks.check_shape("frames", frames, ("T", "D"))
        checks.check_floating("frames", frames)
        return model.apply(variables, frames, method="frame_logits")

    return frame_logits

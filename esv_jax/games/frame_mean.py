"""The game of TSN: a model that averages what it thinks of every frame."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from esv_jax import checks, temperature
from esv_jax.base import Array, Game, Masks, one_player_a_frame
from esv_jax.coalitions import masks
from esv_jax.games import frame_mean_sums
from esv_jax.precise import matmul

FrameLogits = Callable[[Any, jax.Array], jax.Array]
# (params, T, dtype) -> float [T].
Temperatures = Callable[[Any, int, jax.typing.DTypeLike], jax.Array]


def frame_mean_game(frame_logits: FrameLogits, *, empty: Array) -> Game:
    """v(S) = softmax(mean over i in S of frame_logits(x_i)). Every frame goes through the model once a video.

    Args:
      frame_logits: (params, video [T, D]) -> logits [T, C] of the single frames, finite (one that is infinite makes the
        values of every class NaN). As for `clip_game`, arrays belong into params.
      empty: float [C], the worth of no frames: probabilities, not logits.

    Raises:
      InputError: `empty` is no vector of probabilities, or `frame_logits` holds arrays.
    """
    return _game(frame_logits, None, empty)


def _game(frame_logits: FrameLogits, temperatures: Temperatures | None, empty: Array) -> Game:
    checks.check_pure("frame_logits", frame_logits)
    empty = checks.scores("empty", empty, probabilities=True)
    prepare, exact = _functions(frame_logits, temperatures)
    return Game(empty, prepare, _mean_logits, jax.nn.softmax, Masks(), one_player_a_frame, exact)


@functools.lru_cache(maxsize=64)
def _functions(frame_logits: FrameLogits, temperatures: Temperatures | None):
    def prepare(params: Any, video: jax.Array) -> Frames:
        logits = checks.call_model("frame_logits", frame_logits, params, video, video.shape[0])
        return Frames(logits, temperatures and temperatures(params, len(logits), logits.dtype))

    def exact(params: Any, video: jax.Array, with_player: Any, without_player: Any) -> tuple[jax.Array, jax.Array]:
        frames = prepare(params, video)
        mean_logits = functools.partial(_mean_logits, frames)
        return frame_mean_sums.sum_over_all(
            frames.logits, mean_logits, (with_player, without_player), frames.temperature
        )

    return prepare, exact


class Frames(NamedTuple):
    """What is prepared of a video: logits [T, C] of its frames, and what means of 1..T of them are divided by, [T]."""

    logits: jax.Array
    temperature: jax.Array | None


def _mean_logits(frames: Frames, mask: Array) -> jax.Array:
    # A product with the mask beats gathering k rows of [C] for every coalition.
    size = jnp.asarray(mask).sum(axis=1, dtype=jnp.int32)
    mask = masks.as_float(mask, frames.logits.dtype)
    mean = matmul(mask, frames.logits) / mask.sum(axis=1, keepdims=True)
    return mean if frames.temperature is None else mean / frames.temperature[size - 1][:, None]


def tsn_game(model: Any, *, empty: Array) -> Game:
    """The game of an `esv_jax.models.TSN`: `frame_mean_game` of its frame logits, with the model's temperatures.

    For `explain(estimator, game, variables, frames)` with the model's Flax variables and frames float [T, D].
    """
    return _game(_frame_logits(model), temperature.by_frames if model.num_temperatures else None, empty)


@functools.lru_cache(maxsize=64)
def _frame_logits(model: Any):
    def frame_logits(variables: Any, frames: jax.Array) -> jax.Array:
        checks.check_shape("frames", frames, ("T", "D"))
        checks.check_floating("frames", frames)
        return model.apply(variables, frames, method="frame_logits")

    return frame_logits

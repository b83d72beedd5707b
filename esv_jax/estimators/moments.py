"""Mean and variance of worths in the cells (frame, size) of the Element Shapley Value's sums."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from esv_jax.base import Level
from esv_jax.coalitions import lattice


class Moments(NamedTuple):
    """Of the coalitions of one size in a plan that hold frame i (or that do not), for every frame and class.

    Attributes:
      count: float [T, 1], how many coalitions.
      mean: float [T, C], mean worth; 0 where there are none.
      variance: float [T, C], sample variance (n - 1); 0 where there are fewer than two.
    """

    count: jax.Array
    mean: jax.Array
    variance: jax.Array


def with_and_without(level: Level, worths: jax.Array, num_frames: int) -> tuple[Moments, Moments]:
    """Moments of worths [N_k, C] over the coalitions with frame i, and over those without it."""
    inside = lattice.membership(level.members, num_frames, worths.dtype).T
    centre = worths.mean(axis=0, keepdims=True)
    centred = worths - centre
    return _moments(inside, centred, centre), _moments(1 - inside, centred, centre)


def _moments(inside: jax.Array, centred: jax.Array, centre: jax.Array) -> Moments:
    """Centred on the level's mean, so that the variance does not suffer from cancellation."""
    count = inside.sum(axis=1, keepdims=True)
    shift = _matmul(inside, centred) / jnp.maximum(count, 1)
    squares = _matmul(inside, centred**2)
    variance = jnp.maximum(squares - count * shift**2, 0) / jnp.maximum(count - 1, 1)
    return Moments(count, jnp.where(count > 0, centre + shift, 0), variance)


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    # The values are small differences of means: reduced precision on accelerators would show.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)

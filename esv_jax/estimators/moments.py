"""Mean and variance of worths in the cells (frame, size) of the Element Shapley Value's sums."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from esv_jax.base import Array
from esv_jax.coalitions import lattice
from esv_jax.precise import matmul


class Moments(NamedTuple):
    """Of the coalitions of one size in a plan that hold frame i (or that do not), for every frame and class.

    Attributes:
      samples: float [T, 1], how many coalitions.
      mean: float [T, C], mean worth; 0 where there are none.
      variance: float [T, C], sample variance (n - 1); 0 where there are fewer than two.
    """

    samples: jax.Array
    mean: jax.Array
    variance: jax.Array


def with_and_without(members: Array, worths: jax.Array, num_frames: int) -> tuple[Moments, Moments]:
    """Moments of worths [N_k, C] over the coalitions with frame i, and over those without it."""
    inside = lattice.membership(members, num_frames, worths.dtype)
    # Centred on the level's mean, so that the variance does not suffer from cancellation.
    centre = worths.mean(axis=0, keepdims=True)
    centred = worths - centre
    powers = jnp.concatenate([centred, centred**2], axis=1)
    # The values are small differences of means: reduced precision on accelerators would show.
    sums = matmul(inside.T, powers)
    count = inside.sum(axis=0)[:, None]
    rest = powers.sum(axis=0, keepdims=True) - sums
    return _moments(count, sums, centre), _moments(worths.shape[0] - count, rest, centre)


def _moments(count: jax.Array, sums: jax.Array, centre: jax.Array) -> Moments:
    """From counts [T, 1] and sums of the first and second power of the centred worths [T, 2 C]."""
    first, second = jnp.split(sums, 2, axis=1)
    shift = first / jnp.maximum(count, 1)
    variance = jnp.maximum(second - count * shift**2, 0) / jnp.maximum(count - 1, 1)
    return Moments(count, jnp.where(count > 0, centre + shift, 0), variance)

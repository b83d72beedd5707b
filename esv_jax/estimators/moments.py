"""Mean and variance of worths in the cells (player, size) of the Element Shapley Value's sums."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from esv_jax.precise import matmul


class Moments(NamedTuple):
    """Of the coalitions of one size in a plan that hold player i (or that do not), for every player and class.

    Attributes:
      samples: float [P, 1], how many coalitions.
      mean: float [P, C], mean worth; 0 where there are none.
      variance: float [P, C], sample variance (n - 1); 0 where there are fewer than two.
    """

    samples: jax.Array
    mean: jax.Array
    variance: jax.Array


def with_and_without(mask: jax.Array, worths: jax.Array) -> tuple[Moments, Moments]:
    """Moments of worths [N, C] over the coalitions of one size, mask float [N, P], with player i, and without it."""
    # Centred on the size's mean, so that the variance does not suffer from cancellation.
    centre = worths.mean(axis=0, keepdims=True)
    centred = worths - centre
    powers = jnp.concatenate([centred, centred**2], axis=1)
    # The values are small differences of means: reduced precision on accelerators would show.
    sums = matmul(mask.T, powers)
    count = mask.sum(axis=0)[:, None]
    rest = powers.sum(axis=0, keepdims=True) - sums
    return _moments(count, sums, centre), _moments(worths.shape[0] - count, rest, centre)


def _moments(count: jax.Array, sums: jax.Array, centre: jax.Array) -> Moments:
    """From counts [P, 1] and sums of the first and second power of the centred worths [P, 2 C]."""
    first, second = jnp.split(sums, 2, axis=1)
    shift = first / jnp.maximum(count, 1)
    variance = jnp.maximum(second - count * shift**2, 0) / jnp.maximum(count - 1, 1)
    return Moments(count, jnp.where(count > 0, centre + shift, 0), variance)

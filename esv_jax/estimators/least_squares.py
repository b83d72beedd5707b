"""The additive game nearest to the odd parts of worths, and its errors from sampling theory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Array, Plan
from esv_jax.coalitions import paired, plans
from esv_jax.precise import matmul

# So many random pairs a frame decide the additive game, or else one plan in some million does not.
SURELY_ENOUGH = 3


class Design(NamedTuple):
    """What pairs of coalitions, whatever they are worth, say about T values that sum to a given total.

    Attributes:
      size: float [P, 1], how many frames the smaller parts hold.
      centred: float [P, T], their indicators less the row's mean.
      influence: float [T, P], what a unit of a pair's odd part adds to the values.
    """

    size: Array
    centred: Array
    influence: Array


def strata(num_frames: int, max_evaluations: int) -> paired.Strata:
    """As many pairs of every size as `max_evaluations` allows, in proportion to 1 / (s (T - s))."""
    return paired.allocate(num_frames, (max_evaluations - 1) // 2, size_weights(num_frames))


def plan(num_frames: int, max_evaluations: int, key: Any) -> Plan:
    """A plan of pairs by `strata` that decides the additive game: it is drawn anew where it leaves two frames together.

    Raises:
      InputError: no key, or a traced key.
    """
    drawn, rng = strata(num_frames, max_evaluations), plans.host_generator(key)
    inside = paired.draw(num_frames, drawn, rng)
    while len(inside) < SURELY_ENOUGH * num_frames and not decides(inside):
        inside = paired.draw(num_frames, drawn, rng)
    return paired.of_pairs(inside)


def decides(inside: np.ndarray) -> bool:
    """Whether pairs, bool [P, T], and the total decide an additive game: their rows and the full one have rank T."""
    gram = inside.T.astype(np.float64) @ inside + 1.0
    try:
        pivots = np.diag(np.linalg.cholesky(gram))
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() > 1e-6 * pivots.max())


def size_weights(num_frames: int) -> np.ndarray:
    """Weight in the least squares of all pairs of a size, by the size 1..floor(T/2) of the smaller part."""
    size = np.arange(1, num_frames // 2 + 1)
    return (2.0 - (2 * size == num_frames)) / (size * (num_frames - size))


def pair_weights(num_frames: int, strata: paired.Strata) -> tuple[np.ndarray, np.ndarray]:
    """For every pair: its weight, which sum to 1, and the share of its size that was not drawn; float64 [P] each."""
    total = size_weights(num_frames)
    seen = strata.drawn > 0
    weight = np.divide(total, strata.drawn, out=np.zeros_like(total), where=seen) / total[seen].sum()
    return np.repeat(weight, strata.drawn), np.repeat(1 - strata.drawn / strata.population, strata.drawn)


def design(inside: jax.Array, weight: jax.Array) -> Design:
    """For indicators [P, T] of the smaller parts of pairs, and their weights [P] (sum about 1)."""
    num_frames = inside.shape[1]
    size = inside.sum(axis=1, keepdims=True)
    centred = inside - size / num_frames
    weighted = weight[:, None] * centred
    gram = matmul(centred.T, weighted)
    # Rows of `centred` sum to 0, so gram is singular in the one direction that the total decides.
    constant = jnp.full_like(gram, jnp.trace(gram) / num_frames**2)
    return Design(size, centred, jnp.linalg.solve(gram + constant, weighted.T))


def values(design: Design, odd: jax.Array, total: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Values [T, C] that sum to total [C] and fit odd [P, C] best, and what they leave unexplained [P, C].

    `odd` is (v(S) - v(the rest)) / 2.
    """
    num_frames = design.centred.shape[1]
    even = total / num_frames
    target = odd - (design.size - num_frames / 2) * even[None]
    deviation = matmul(design.influence, target)
    return even[None] + deviation, target - matmul(design.centred, deviation)


def solve(inside: jax.Array, odd: jax.Array, total: jax.Array, strata: paired.Strata) -> tuple[jax.Array, jax.Array]:
    """Values and standard errors [T, C] from pairs drawn by `strata`.

    Args:
      inside: float [P, T], indicators of the smaller parts S of pairs.
      odd: float [P, C], (v(S) - v(the rest)) / 2.
      total: float [C], what the values sum to.
      strata: how many pairs of each size were drawn, and of how many.
    """
    num_frames = inside.shape[1]
    if num_frames == 1:
        return total[None], jnp.zeros_like(total)[None]
    weight, unseen = (jnp.asarray(a, odd.dtype) for a in pair_weights(num_frames, strata))
    pairs = design(inside, weight)
    found, residual = values(pairs, odd, total)
    leverage = (pairs.influence.T * pairs.centred).sum(axis=1)
    # A pair that alone decides a direction leaves no residual: the floor keeps that from being 0 / 0.
    left_out = residual / jnp.maximum(1 - leverage, 1e-3)[:, None]
    return found, jnp.sqrt(matmul(pairs.influence**2 * unseen[None], left_out**2))

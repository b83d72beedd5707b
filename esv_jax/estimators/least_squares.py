"""The additive game nearest to the odd parts of worths, and its errors from sampling theory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import CERTAIN, Array, Estimate, Plan, exactly
from esv_jax.coalitions import masks, paired, plans
from esv_jax.precise import matmul

# Pairs that may leave players together have a ridge, a share of the mean eigenvalue.
FEW = 1e-3
# With so many pairs an unknown, sizes are put under control.
CONTROLLED = 3


class Design(NamedTuple):
    """What pairs of coalitions, whatever they are worth, say about P values that sum to a given total.

    Attributes:
      size: float [pairs, 1], how many players the smaller parts hold.
      centred: float [pairs, P], their masks less the row's mean, and less the mean of their size under control.
      influence: float [P, pairs], what a unit of a pair's odd part adds to the values.
      leverage: float [pairs], how much of a pair's own odd part is in what is fitted to it.
      sizes: float [pairs, sizes], 1 where a pair is of a size that is under control, over the square root of how many
        are; no sizes: none is.
    """

    size: Array
    centred: Array
    influence: Array
    leverage: Array
    sizes: Array


def strata(num_players: int, max_evaluations: int) -> paired.Strata:
    """As many pairs of every size as `max_evaluations` allows, in proportion to 1 / (s (P - s))."""
    return paired.allocate(num_players, (max_evaluations - 1) // 2, size_weights(num_players))


def plan(num_players: int, max_evaluations: int, key: Any, made_by: str) -> Plan:
    """A plan of pairs by `strata`, which holds all coalitions of one with fewer evaluations of the same key.

    With those of `least_pairs` it decides the additive game: the orders of which plans are the beginning are drawn anew
    where so many leave two players together.

    Raises:
      InputError: no key, or a traced key; or more coalitions than a plan may hold.
    """
    drawn, least = (strata(num_players, n) for n in (max_evaluations, 2 * least_pairs(num_players) + 1))
    plans.check_size(2 * int(drawn.drawn.sum()) + 1, made_by)
    rng = plans.host_generator(key)
    while True:
        seed = rng.integers(2**63)
        if decides(paired.draw(num_players, least, np.random.default_rng(seed))):
            return paired.of_pairs(paired.draw(num_players, drawn, np.random.default_rng(seed)), made_by)


def decides(mask: np.ndarray) -> bool:
    """Whether pairs, bool [pairs, P], and the total decide an additive game: rows and the full one have rank P."""
    gram = mask.T.astype(np.float64) @ mask + 1.0
    try:
        pivots = np.diag(np.linalg.cholesky(gram))
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() > 1e-6 * pivots.max())


def size_weights(num_players: int) -> np.ndarray:
    """Weight in the least squares of all pairs of a size, by the size 1..floor(P/2) of the smaller part."""
    size = np.arange(1, num_players // 2 + 1)
    return (2.0 - (2 * size == num_players)) / (size * (num_players - size))


def pair_weights(num_players: int, strata: paired.Strata) -> tuple[np.ndarray, np.ndarray]:
    """For every pair its weight, which sum to 1, and its finite population correction (fpc): the share of its size that
    was not drawn; float64 [pairs] each."""
    total = size_weights(num_players)
    seen = strata.drawn > 0
    weight = np.divide(total, strata.drawn, out=np.zeros_like(total), where=seen) / total[seen].sum()
    return np.repeat(weight, strata.drawn), np.repeat(1 - strata.drawn / strata.population, strata.drawn)


def least_pairs(num_players: int) -> int:
    """How many pairs decide the additive game, by `plan`: those of the least budget of `regression`."""
    return (3 * num_players - 1) // 2


def design(mask: jax.Array, weight: jax.Array, strata: paired.Strata | None = None) -> Design:
    """For masks float [pairs, P] of the smaller parts of pairs, and their weights [pairs] (sum about 1).

    With `strata`, sizes are under control: whatever depends on the size of a coalition alone, which no player's value
    is made of but by an equal share, then leaves no trace. It takes an unknown a size.
    """
    num_players = mask.shape[1]
    size = mask.sum(axis=1, keepdims=True)
    sizes = jnp.asarray(np.zeros((len(mask), 0)) if strata is None else _sizes(num_players, strata), mask.dtype)
    centred = mask - size / num_players
    centred = centred - matmul(sizes, matmul(sizes.T, centred))
    weighted = weight[:, None] * centred
    gram = matmul(centred.T, weighted)
    # Rows of `centred` sum to 0, so gram is singular in the one direction that the total decides.
    constant = jnp.full_like(gram, jnp.trace(gram) / num_players**2)
    if len(mask) < min(least_pairs(num_players), 2 ** (num_players - 1) - 1):
        constant = constant + FEW * jnp.trace(gram) / num_players * jnp.eye(num_players, dtype=gram.dtype)
    influence = jnp.linalg.solve(gram + constant, weighted.T)
    leverage = (influence.T * centred).sum(axis=1) + (sizes**2).sum(axis=1)
    return Design(size, centred, influence, leverage, sizes)


def _sizes(num_players: int, strata: paired.Strata) -> np.ndarray:
    drawn = strata.drawn
    columns = np.repeat(np.eye(len(drawn)) / np.sqrt(np.maximum(drawn, 1)), drawn, axis=0)
    # Halves are as large as what they leave: their odd part has nothing of the size.
    return columns[:, : (num_players - 1) // 2]


def values(design: Design, odd: jax.Array, total: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Values [P, C] that sum to total [C] and fit odd [pairs, C] best, and what they leave unexplained [pairs, C].

    `odd` is (v(S) - v(the rest)) / 2.
    """
    num_players = design.centred.shape[1]
    even = total / num_players
    target = odd - (design.size - num_players / 2) * even[None]
    target = target - matmul(design.sizes, matmul(design.sizes.T, target))
    deviation = matmul(design.influence, target)
    return even[None] + deviation, target - matmul(design.centred, deviation)


def left_out(design: Design, residual: jax.Array) -> jax.Array:
    """What a fit without a pair leaves of it, from the `residual` [pairs, C] of the fit with it."""
    # A pair that alone decides a direction leaves no residual: the floor keeps that from being 0 / 0.
    return residual / jnp.maximum(1 - design.leverage, 1e-3)[:, None]


def regress(plan: Plan, worths: jax.Array, empty: jax.Array, strata: paired.Strata) -> Estimate:
    """`solve` for the pairs of a plan by `strata` and the worths [N, C] of its coalitions.

    Raises:
      InputError: the plan holds another number of coalitions. Static.
    """
    mask = masks.as_float(plan.mask[: len(worths) // 2], worths.dtype)
    return solve(mask, paired.odd_parts(worths, strata), worths[-1] - empty, strata)


def solve(mask: jax.Array, odd: jax.Array, total: jax.Array, strata: paired.Strata) -> Estimate:
    """Values [P, C] from pairs drawn by `strata`, their errors and what these are made of.

    Args:
      mask: float [pairs, P], the smaller parts S of pairs.
      odd: float [pairs, C], (v(S) - v(the rest)) / 2.
      total: float [C], what the values sum to.
      strata: how many pairs of each size were drawn, and of how many.
    """
    num_players = mask.shape[1]
    if num_players == 1:
        return exactly(total[None])
    weight, fpc = (jnp.asarray(a, odd.dtype) for a in pair_weights(num_players, strata))
    unknowns = num_players + (num_players - 1) // 2
    pairs = design(mask, weight, strata if len(mask) >= CONTROLLED * unknowns else None)
    found, residual = values(pairs, odd, total)
    deviation = jnp.sqrt(fpc)[:, None] * left_out(pairs, residual)
    std_error = jnp.sqrt(matmul(pairs.influence**2, deviation**2))
    # What the fit leaves of the pairs that were drawn: at least their number less P - 1.
    degrees = jnp.where(fpc > 0, 1 - pairs.leverage, 0).sum()
    degrees = jnp.where((fpc > 0).any(), jnp.maximum(degrees, 1), CERTAIN)
    return Estimate(found, std_error, found, degrees, jnp.asarray(pairs.influence), deviation)


def solve_all(mask: jax.Array, odd: Callable[[jax.Array], jax.Array], total: jax.Array, at_once: int) -> jax.Array:
    """Values [P, C] by `solve` where the pairs float [pairs, P] are all that there are, `at_once` of them at a time.

    `odd` gives the odd parts [n, C] of some of them.
    """
    num_pairs, num_players = mask.shape
    if num_players == 1:
        return total[None]
    population = paired.allocate(num_players, num_pairs, size_weights(num_players))
    pairs = design(mask, jnp.asarray(pair_weights(num_players, population)[0], mask.dtype))
    fill = -num_pairs % at_once
    # What fills up has no influence.
    influence = jnp.pad(pairs.influence, ((0, 0), (0, fill))).T.reshape(-1, at_once, num_players)
    rows = jnp.pad(mask, ((0, fill), (0, 0)), mode="edge").reshape(-1, at_once, num_players)
    even = total / num_players

    def add(deviation: jax.Array, some: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        rows, influence = some
        size = rows.sum(axis=1, keepdims=True)
        return deviation + matmul(influence.T, odd(rows) - (size - num_players / 2) * even[None]), None

    deviation, _ = jax.lax.scan(add, jnp.zeros((num_players, len(total)), total.dtype), (rows, influence))
    return even[None] + deviation

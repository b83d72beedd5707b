"""The paper's sums over sizes from a sound sample."""

import bisect
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import CERTAIN, Estimate, Estimator, Link, Plan, check_maker, exactly, samples
from esv_jax.coalitions import masks, paired


@functools.lru_cache(maxsize=64, typed=True)
def stratified_paired(*, per_size: int) -> Estimator:
    """The paper's sum over sizes of differences of means, from coalitions drawn independently of one another.

    What `stratified` leaves to be wished for: coalitions of a size are drawn independently, without repeats, and with
    their complements (small and large sizes are exhausted, being few); a (player, size) cell without a sample takes the
    mean of its size instead of 0; what is missing to full - empty is divided evenly, so the values are efficient. With
    d(S) = v(S) - v(the rest), the pairs of a size add ( mean of d over S with i - mean of d over S without i ) / T to
    the value of player i. Exact where per_size holds all coalitions of every size.

    `std_error` is that of the means of a sample without repeats; a cell without a sample counts the variance of its
    size. Infinite where a size has one pair of several.

    Args:
      per_size: m, the most coalitions of each size; at least 4 is sensible.
    """
    checks.check_budget("per_size", per_size)
    name = f"stratified_paired(per_size={per_size})"

    def plan(num_players: int, *, key: Any = None) -> Plan:
        checks.check_positive("num_players", num_players)
        return paired.plan(num_players, _strata(num_players, per_size), key, name)

    def estimate(plan: Plan, worths: jax.Array, logits: jax.Array, empty: jax.Array, link: Link) -> Estimate:
        check_maker(plan, name)
        strata = _strata(plan.mask.shape[1], per_size)
        mask = masks.as_float(plan.mask[: len(worths) // 2], worths.dtype)
        return _sums(mask, 2 * paired.odd_parts(worths, strata), worths[-1] - empty, strata)

    return Estimator(name, plan, estimate, samples, grown=_grown)


def _grown(num_players: int, max_evaluations: int) -> Estimator:
    def evaluations(per_size: int) -> int:
        return 2 * int(_strata(num_players, per_size).drawn.sum()) + 1

    fitting = bisect.bisect_right(range(1, max_evaluations + 1), max_evaluations, key=evaluations)
    return stratified_paired(per_size=max(1, fitting))


def _strata(num_players: int, per_size: int) -> paired.Strata:
    strata = paired.up_to(num_players, per_size)
    if num_players % 2 == 0 and num_players > 0:
        # Both parts of these pairs are of the same size.
        strata.drawn[-1] = min(strata.population[-1], max(1, per_size // 2))
    return strata


def _sums(mask: jax.Array, difference: jax.Array, total: jax.Array, strata: paired.Strata) -> Estimate:
    """Values and standard errors [P, C] from pairs' masks [pairs, P] and differences [pairs, C]."""
    num_players = mask.shape[1]
    dtype = difference.dtype
    if num_players == 1:
        return exactly(total[None])
    # Sizes side by side, [sizes, rows, ...], filled up with rows that count 0.
    starts = np.cumsum(strata.drawn) - strata.drawn
    position = np.arange(strata.drawn.max())
    rows = np.minimum(starts[:, None] + position[None], len(mask) - 1)
    real = jnp.asarray(position[None] < strata.drawn[:, None], dtype)[:, :, None]
    held, differences = mask[rows] * real, difference[rows] * real
    count = jnp.asarray(strata.drawn, dtype)[:, None, None]
    mean = differences.sum(axis=1, keepdims=True) / count
    centred = (differences - mean) * real
    spread = (centred**2).sum(axis=1, keepdims=True) / jnp.maximum(count - 1, 1)
    spread = jnp.where(count > 1, spread, jnp.inf)

    def cell(members: jax.Array, population: np.ndarray) -> tuple[jax.Array, jax.Array]:
        """Mean and its squared error [sizes, P, C] over the pairs with player i, of `population` [sizes] such pairs."""
        powers = jnp.concatenate([centred, centred**2], axis=2)
        first, second = jnp.split(
            jnp.einsum("spt,spc->stc", members, powers, precision=jax.lax.Precision.HIGHEST), 2, 2
        )
        n = members.sum(axis=1)[:, :, None]
        shift = first / jnp.maximum(n, 1)
        variance = jnp.maximum(second - n * shift**2, 0) / jnp.maximum(n - 1, 1)
        variance = jnp.where(n > 1, variance, spread)
        fpc = 1 - n / jnp.asarray(population, dtype)[:, None, None]
        error = jnp.where(fpc > 1e-6, variance * fpc, 0) / jnp.maximum(n, 1)
        return mean + shift, error

    size = np.arange(1, num_players // 2 + 1)
    population = strata.population
    with_player, error_with = cell(held, population * size / num_players)
    without_player, error_without = cell(real - held, population * (num_players - size) / num_players)
    values, error = with_player - without_player, error_with + error_without
    if num_players % 2 == 0:
        # In halves a pair holds every player on one side: its difference counts with a sign, and there is one cell.
        signed = (2 * held[-1] - real[-1])[:, :, None] * differences[-1][:, None, :]
        n = int(strata.drawn[-1])
        halves = signed.sum(axis=0) / n
        variance = (((signed - halves[None]) * real[-1][:, :, None]) ** 2).sum(axis=0) / max(n - 1, 1)
        fpc = float(1 - n / population[-1])
        variance = variance * (fpc / n) if n > 1 or fpc == 0 else jnp.full_like(variance, jnp.inf)
        values, error = values.at[-1].set(halves), error.at[-1].set(variance)
    ends = total / num_players
    values = values.sum(axis=0) / num_players
    values = values - values.mean(axis=0, keepdims=True) + ends[None]
    std_error = jnp.sqrt(error.sum(axis=0)) / num_players
    return Estimate(values, std_error, values, jnp.asarray(CERTAIN, values.dtype))

"""The paper's approximation, whose cost grows linearly with the number of frames."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import CERTAIN, Estimate, Estimator, Link, Plan, check_maker, samples
from esv_jax.coalitions import masks, plans, weights
from esv_jax.estimators import moments


@functools.lru_cache(maxsize=64, typed=True)
def stratified(*, per_size: int, iterations: int = 1) -> Estimator:
    """The paper's estimator: every (player, size) cell's mean from at most `per_size` coalitions of each size.

    The coalitions come from the constructive sampler (`coalitions.plans.constructive`); `iterations` repeats it
    independently and pools the cells. Faithful to the authors' code, with the weak points that this brings:

    - A mean without a sample counts as 0, so values need not sum to full - empty. At P=64, per_size=16 about 40 % of
      the (player, size) cells lack one of their two means, and the efficiency gap is seven to nine times the score.
      Take per_size of at least 4 P (at per_size=256 the gap is still a sixth of it), or `stratified_paired`.
    - Coalitions of one lineage share most of their players, and multi-scale games made with all_subsets=False see only
      the sampled children.

    `std_error` takes the coalitions of a cell as drawn independently without repeats (finite population correction);
    an empty cell adds the square of the size's mean worth, the size of what it leaves out. It does not see the
    correlation within lineages. It is infinite where a size holds one of several coalitions.

    A plan of more iterations holds those of fewer with the same key; one with a larger per_size draws anew, as what a
    size can hold grows out of the size below.

    Args:
      per_size: m, the most coalitions of each size in an iteration.
      iterations: independent repetitions.
    """
    checks.check_budget("per_size", per_size)
    checks.check_positive("iterations", iterations)
    name = f"stratified(per_size={per_size}, iterations={iterations})"

    def plan(num_players: int, *, key: Any = None) -> Plan:
        return plans.constructive(num_players, per_size, iterations, key, name)

    def estimate(plan: Plan, worths: jax.Array, logits: jax.Array, empty: jax.Array, link: Link) -> Estimate:
        check_maker(plan, name)
        num_players = plan.mask.shape[1]
        population = jnp.asarray(weights.binomial_row(num_players - 1), worths.dtype)

        def add(sums: Any, of_size: Any) -> tuple[Any, None]:
            size, mask, worths = of_size
            present = masks.as_float(mask, worths.dtype)
            with_player, without_player = moments.with_and_without(present, worths)
            # How many coalitions of this size hold a given player, and how many do not.
            error = _squared_error(with_player, worths, population[size - 1], iterations)
            error = error + _squared_error(without_player, worths, population[size], iterations)
            values, squared_error = sums
            return (
                values + (with_player.mean - without_player.mean) / num_players,
                squared_error + error / num_players**2,
            ), None

        start = jnp.tile(-empty / num_players, (num_players, 1))
        sums = start, jnp.zeros_like(start)
        # Sizes with equally many coalitions share a compiled loop.
        size, row = 1, 0
        for count, same in itertools.groupby(plan.sizes):
            length = len(list(same))
            rows = slice(row, row + length * count)
            of_sizes = (
                np.arange(size, size + length, dtype=np.int32),
                jnp.asarray(plan.mask[rows]).reshape(length, count, num_players),
                worths[rows].reshape(length, count, -1),
            )
            sums, _ = jax.lax.scan(add, sums, of_sizes)
            size, row = size + length, rows.stop
        values, squared_error = sums
        return Estimate(values, jnp.sqrt(squared_error), values, jnp.asarray(CERTAIN, values.dtype))

    def grown(num_players: int, max_evaluations: int) -> Estimator:
        of_iteration = sum(min(per_size, math.comb(num_players, size)) for size in range(1, num_players + 1))
        return stratified(per_size=per_size, iterations=max(1, max_evaluations // of_iteration))

    return Estimator(name, plan, estimate, samples, grown=grown)


def _squared_error(cell: moments.Moments, worths: jax.Array, population: jax.Array, iterations: int) -> jax.Array:
    """Expected squared error [P, C] of a cell's mean over `population` coalitions; 0 where there are none to sample.

    A cell with one sample of several borrows the variance of the whole size.
    """
    num_rows = worths.shape[0]
    size_variance = worths.var(axis=0, ddof=1) if num_rows > 1 else jnp.full_like(worths[0], jnp.inf)
    variance = jnp.where(cell.samples > 1, cell.variance, size_variance[None, :])
    everything = iterations * jnp.maximum(population, 1)
    fpc = (everything - cell.samples) / everything
    sampled = jnp.where(fpc > 0, variance * fpc / jnp.maximum(cell.samples, 1), 0)
    missing = worths.mean(axis=0)[None, :] ** 2 + size_variance[None, :]
    return jnp.where(cell.samples > 0, sampled, jnp.where(population > 0, missing, 0))

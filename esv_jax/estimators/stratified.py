"""The paper's approximation, whose cost grows linearly with the number of frames."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array, Estimator, Plan
from esv_jax.coalitions import plans, weights
from esv_jax.estimators import moments


class State(NamedTuple):
    """Sums so far: values float [T, C] and their squared standard errors float [T, C]."""

    values: jax.Array
    squared_error: jax.Array


@functools.lru_cache(maxsize=64, typed=True)
def stratified(*, per_size: int, iterations: int = 1) -> Estimator:
    """The paper's estimator: every (frame, size) cell's mean from at most `per_size` coalitions of each size.

    The coalitions come from the constructive sampler (`coalitions.plans.constructive`); `iterations` repeats it
    independently and pools the cells. Faithful to the authors' code, with the weak points that this brings:

    - A mean without a sample counts as 0, so values need not sum to full - empty. At T=64, per_size=16 about 40 % of
      the (frame, size) cells lack one of their two means, and the efficiency gap is seven to nine times the score.
      Take per_size of at least 4 T (at per_size=256 the gap is still a sixth of it), or `stratified_paired`.
    - Coalitions of one lineage share most of their frames, and multi-scale games see only the sampled children.

    `std_error` takes the coalitions of a cell as drawn independently without repeats (finite population correction);
    an empty cell adds the square of the level's mean worth, the size of what it leaves out. It does not see the
    correlation within lineages. It is infinite where a level holds one of several coalitions.

    Args:
      per_size: m, the most coalitions of each size in an iteration.
      iterations: independent repetitions.
    """
    checks.check_positive("per_size", per_size)
    checks.check_positive("iterations", iterations)

    def plan(num_frames: int, *, key: Any = None) -> Plan:
        return plans.constructive(num_frames, per_size, iterations, key)

    def init(num_frames: int, empty: jax.Array) -> State:
        values = jnp.tile(-empty / num_frames, (num_frames, 1))
        return State(values, jnp.zeros_like(values))

    def update(state: State, members: Array, worths: jax.Array, logits: jax.Array) -> State:
        num_frames = state.values.shape[0]
        with_frame, without_frame = moments.with_and_without(members, worths, num_frames)
        # How many coalitions of this size hold a given frame, and how many do not.
        size = (jnp.asarray(members)[0] >= 0).sum()
        population = jnp.asarray(weights.binomial_row(num_frames - 1), worths.dtype)
        error = _squared_error(with_frame, worths, population[size - 1], iterations)
        error = error + _squared_error(without_frame, worths, population[size], iterations)
        values = state.values + (with_frame.mean - without_frame.mean) / num_frames
        return State(values, state.squared_error + error / num_frames**2)

    def finish(state: State, empty: jax.Array, full: jax.Array, link: Any) -> tuple[jax.Array, jax.Array]:
        return state.values, jnp.sqrt(state.squared_error)

    return Estimator(plan, init, update, finish)


def _squared_error(cell: moments.Moments, worths: jax.Array, population: jax.Array, iterations: int) -> jax.Array:
    """Expected squared error [T, C] of a cell's mean over `population` coalitions; 0 where there are none to sample.

    A cell with one sample of several borrows the variance of the whole level.
    """
    num_rows = worths.shape[0]
    level_variance = worths.var(axis=0, ddof=1) if num_rows > 1 else jnp.full_like(worths[0], jnp.inf)
    variance = jnp.where(cell.samples > 1, cell.variance, level_variance[None, :])
    unseen = 1 - cell.samples / (iterations * jnp.maximum(population, 1))
    sampled = jnp.where(unseen > 0, variance * unseen / jnp.maximum(cell.samples, 1), 0)
    missing = worths.mean(axis=0)[None, :] ** 2 + level_variance[None, :]
    return jnp.where(cell.samples > 0, sampled, jnp.where(population > 0, missing, 0))

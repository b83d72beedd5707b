"""Weighted least squares on paired coalitions (KernelSHAP), with what sampling theory can add to it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Estimator, Plan
from esv_jax.coalitions import paired
from esv_jax.estimators import evaluated


@functools.lru_cache(maxsize=64, typed=True)
def regression(*, max_evaluations: int) -> Estimator:
    """The additive game closest to the worths, by weighted least squares under the efficiency constraint (KernelSHAP).

    With the weights w(s) = (T-1) / (C(T,s) s (T-s)) on all coalitions, the solution is the Element Shapley Value. Here
    coalitions come in pairs with their complements, which leaves only the odd part of the game to be fitted; sizes are
    drawn in proportion to their total weight, without repeats, the smallest and largest exhausted as far as the budget
    goes. One factorisation serves all C classes. Exact where the budget holds all coalitions; consistent, with a bias
    far below its standard error.

    `std_error` is that of a stratified sample: from residuals corrected for leverage, 0 for exhausted sizes.

    Args:
      max_evaluations: how many coalitions to evaluate at most, the whole video among them; at least 3 T.
    """
    checks.check_positive("max_evaluations", max_evaluations)

    def plan(num_frames: int, *, key: Any = None) -> Plan:
        paired.check_budget(num_frames, max_evaluations, 3 * num_frames)
        return paired.plan(num_frames, strata(num_frames, max_evaluations), key)

    def finish(state: evaluated.Evaluated, empty: jax.Array, full: jax.Array, link: Any) -> tuple[jax.Array, jax.Array]:
        drawn = strata(state.inside.shape[1], max_evaluations)
        inside, odd = evaluated.pairs(state, int(drawn.drawn.sum()))
        return solve(inside, odd, full - empty, drawn)

    return Estimator(plan, evaluated.none, evaluated.add, finish)


def strata(num_frames: int, max_evaluations: int) -> paired.Strata:
    """As many pairs of every size as `max_evaluations` allows, in proportion to 1 / (s (T - s))."""
    size = np.arange(1, num_frames // 2 + 1)
    share = (2.0 - (2 * size == num_frames)) / (size * (num_frames - size))
    return paired.allocate(num_frames, (max_evaluations - 1) // 2, share)


def solve(inside: jax.Array, odd: jax.Array, total: jax.Array, strata: paired.Strata) -> tuple[jax.Array, jax.Array]:
    """Values and standard errors [T, C] of the additive game nearest to odd parts of worths.

    Args:
      inside: float [P, T], indicators of the smaller parts S of pairs, as drawn by `strata`.
      odd: float [P, C], (v(S) - v(the rest)) / 2.
      total: float [C], what the values sum to.
      strata: how many pairs of each size were drawn, and of how many.
    """
    num_frames = inside.shape[1]
    if num_frames == 1:
        return total[None], jnp.zeros_like(total)[None]
    weight, unseen = (jnp.asarray(a, odd.dtype) for a in _row_constants(num_frames, strata))
    # Values are total / T plus something that sums to 0, fitted in that subspace.
    design = inside - inside.mean(axis=1, keepdims=True)
    even = total / num_frames
    target = odd - (inside.sum(axis=1, keepdims=True) - num_frames / 2) * even[None]
    gram = _product(design.T, weight[:, None] * design)
    constant = jnp.full_like(gram, jnp.trace(gram) / num_frames**2)
    influence = jnp.linalg.solve(gram + constant, (weight[:, None] * design).T)
    deviation = _product(influence, target)
    leverage = (influence.T * design).sum(axis=1)
    residual = target - _product(design, deviation)
    # A pair that alone decides a direction leaves no residual: the floor keeps that from being 0 / 0.
    left_out = residual / jnp.maximum(1 - leverage, 1e-3)[:, None]
    variance = _product(influence**2 * unseen[None], left_out**2)
    return even[None] + deviation, jnp.sqrt(variance)


def _row_constants(num_frames: int, strata: paired.Strata) -> tuple[np.ndarray, np.ndarray]:
    """For every pair: its weight, which sum to 1, and the share of its size that was not drawn."""
    size = np.arange(1, num_frames // 2 + 1)
    total = (2.0 - (2 * size == num_frames)) / (size * (num_frames - size))
    seen = strata.drawn > 0
    weight = np.divide(total, strata.drawn, out=np.zeros_like(total), where=seen)
    return np.repeat(weight / total[seen].sum(), strata.drawn), np.repeat(
        1 - strata.drawn / strata.population, strata.drawn
    )


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)

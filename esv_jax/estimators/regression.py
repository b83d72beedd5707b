"""Weighted least squares on paired coalitions (KernelSHAP)."""

import functools
from typing import Any

import jax

from esv_jax import checks
from esv_jax.base import Estimator, Plan
from esv_jax.coalitions import paired
from esv_jax.estimators import evaluated, least_squares


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
        return least_squares.plan(num_frames, max_evaluations, key)

    def finish(state: evaluated.Evaluated, empty: jax.Array, full: jax.Array, link: Any) -> tuple[jax.Array, jax.Array]:
        drawn = least_squares.strata(state.inside.shape[1], max_evaluations)
        inside, odd = evaluated.pairs(state, int(drawn.drawn.sum()))
        return least_squares.solve(inside, odd, full - empty, drawn)

    return Estimator(plan, evaluated.none, evaluated.add, finish)

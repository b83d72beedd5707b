"""Weighted least squares on paired coalitions (KernelSHAP)."""

import functools
from typing import Any

import jax

from esv_jax import checks
from esv_jax.base import Estimate, Estimator, Link, Plan, check_maker, samples
from esv_jax.coalitions import paired
from esv_jax.estimators import least_squares


@functools.lru_cache(maxsize=64, typed=True)
def regression(*, max_evaluations: int) -> Estimator:
    """The additive game closest to the worths, by weighted least squares under the efficiency constraint (KernelSHAP).

    With the weights w(s) = (P-1) / (C(P,s) s (P-s)) on all coalitions, the solution is the Element Shapley Value. Here
    coalitions come in pairs with their complements, which leaves only the odd part of the game to be fitted; sizes are
    drawn in proportion to their total weight, without repeats, the smallest and largest exhausted as far as the budget
    goes. One factorisation serves all C classes. Exact where the budget holds all coalitions; consistent, with a bias
    far below its standard error.

    `std_error` is that of a stratified sample: from residuals corrected for leverage, 0 for exhausted sizes.

    Args:
      max_evaluations: how many coalitions to evaluate at most, everyone among them; at least 3 P.
    """
    checks.check_budget("max_evaluations", max_evaluations)
    name = f"regression(max_evaluations={max_evaluations})"

    def plan(num_players: int, *, key: Any = None) -> Plan:
        paired.check_budget(num_players, max_evaluations, 3 * num_players)
        return least_squares.plan(num_players, max_evaluations, key, name)

    def estimate(plan: Plan, worths: jax.Array, logits: jax.Array, empty: jax.Array, link: Link) -> Estimate:
        check_maker(plan, name)
        strata = least_squares.strata(plan.mask.shape[1], max_evaluations)
        return least_squares.regress(plan, worths, empty, strata)

    return Estimator(name, plan, estimate, samples, grown=_grown)


def _grown(num_players: int, max_evaluations: int) -> Estimator:
    return regression(max_evaluations=max_evaluations)

"""Sampling until the standard errors are small enough."""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Attribution, Estimator, Game
from esv_jax.explaining import growing
from esv_jax.explaining.explain import explain, is_exact


class Progress(NamedTuple):
    """How far sampling is: evaluations made, the largest standard error [P, C], seconds since the start."""

    evaluations: int
    largest_std_error: float
    seconds: float


def explain_until(
    estimator: Estimator,
    game: Game,
    params: Any,
    video: Any,
    *,
    key: Any,
    max_evaluations: int,
    target_std_error: float | None = None,
    archive: str | os.PathLike | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Attribution:
    """Samples more and more coalitions until no standard error exceeds the target, or evaluations run out.

    One plan that grows, never several: it is looked at with the estimator's own number of evaluations, then with twice
    as many and so on, at last with max_evaluations, and every look asks the game only for coalitions that are new. The
    values are those of `explain` with the last plan. Intervals (`Attribution.interval`) are widened so that they hold
    at all looks that there might have been, however many there were; `std_error` is not.

    `subset_sums`, and lineages in games of `Scales` made with all_subsets=False, are asked for their whole plan anew at
    every look: up to twice max_evaluations together. An exact estimator is run once, without a plan.

    Args:
      estimator, game, params, video: as for `explain`; the first look is the estimator's own number of evaluations.
      key: PRNG key of the plan.
      max_evaluations: coalitions of the last look, at least those of the first.
      target_std_error: stop when all [P, C] standard errors are at most this; None: use up max_evaluations.
      archive: for host games, as for `explain`.
      callback: called with a `Progress` after every look.

    Raises:
      InputError: the first look takes more than max_evaluations; a target that is not positive; an estimator that
        samples and cannot grow.
    """
    checks.check_positive("max_evaluations", max_evaluations)
    if target_std_error is not None and not target_std_error > 0:
        raise checks.InputError(f"target_std_error should be positive, found {target_std_error}")
    start = time.perf_counter()

    def tell(found: Attribution) -> float:
        largest = float(np.max(found.std_error))
        if callback is not None:
            callback(Progress(int(found.num_evaluations), largest, time.perf_counter() - start))
        return largest

    num_players = game.num_players(video)
    if is_exact(estimator, game, num_players):
        _check_first(2**num_players - 1, max_evaluations)
        found = explain(estimator, game, params, video, archive=archive)
        tell(found)
        return found
    if estimator.grown is None:
        raise checks.InputError(f"{estimator.name} cannot go on with a larger plan")
    first = len(estimator.plan(num_players, key=key).mask)
    _check_first(first, max_evaluations)
    budgets = growing.budgets(first, max_evaluations)
    # Without a target nothing depends on what is seen.
    widened = 1.0 if target_std_error is None else growing.widening(len(budgets), 0.95)
    estimators = [estimator, *(estimator.grown(num_players, budget) for budget in budgets[1:])]
    if target_std_error is None and callback is None:
        estimators = estimators[-1:]
    for look in growing.looks(estimators, game, params, video, key, archive):
        found = look.attribution
        largest = tell(found)
        # Not larger than 0 is NaN too, which more evaluations do not mend.
        if not largest > 0 or (target_std_error is not None and largest <= target_std_error):
            break
    return found._replace(widened=jnp.asarray(widened, found.values.dtype))


def _check_first(evaluations: int, max_evaluations: int) -> None:
    if evaluations > max_evaluations:
        raise checks.InputError(
            f"max_evaluations should be at least {evaluations}, which one run takes, found {max_evaluations}"
        )

"""Sampling until the standard errors are small enough."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Attribution, Estimator, Game
from esv_jax.coalitions import plans
from esv_jax.explaining.explain import explain, is_exact


class Progress(NamedTuple):
    """How far `explain_until` is: evaluations made, the largest standard error [P, C], seconds since the start."""

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
    callback: Callable[[Progress], None] | None = None,
) -> Attribution:
    """Repeats an estimator with independent plans until no standard error exceeds the target, or evaluations run out.

    Values are the mean over the runs, and standard errors those of this mean, from the errors that the runs tell. Runs
    whose plans have the same sizes share a program, which most do. The mean of unbiased runs is unbiased, an efficient
    estimator stays so, and a bias (that of `surrogate` and `regression`) is that of one run: for
    as many evaluations, one run with a larger budget has less error, and is better where the target is not near.
    Stopping looks at standard errors, which themselves scatter: with few runs the errors told are a little too small.
    An exact estimator is run once, without a plan.

    Args:
      estimator, game, params, video: as for `explain`; one run is the estimator's own number of evaluations.
      key: PRNG key; every run draws its plan with a key split off it.
      max_evaluations: coalitions in all runs together, at least those of one run.
      target_std_error: stop when all [P, C] standard errors are at most this; None: use up max_evaluations.
      callback: called with a `Progress` after every run.

    Raises:
      InputError: a run takes more than max_evaluations; a target that is not positive.
    """
    checks.check_positive("max_evaluations", max_evaluations)
    if target_std_error is not None and not target_std_error > 0:
        raise checks.InputError(f"target_std_error should be positive, found {target_std_error}")
    start = time.perf_counter()
    num_players = game.num_players(video)
    every_coalition = is_exact(estimator, game, num_players)
    if not every_coalition:
        plans.host_generator(key)  # raises what is wrong with it
    values: Any = 0
    variance: Any = 0
    result: Any = None
    evaluations = runs = 0
    while True:
        plan = None if every_coalition else estimator.plan(num_players, key=jax.random.fold_in(key, runs))
        of_run = 2**num_players - 1 if plan is None else len(plan.mask)
        if evaluations + of_run > max_evaluations:
            if runs > 0:
                return result
            raise checks.InputError(
                f"max_evaluations should be at least {of_run}, which one run takes, found {max_evaluations}"
            )
        found = explain(estimator, game, params, video, plan=plan)
        runs, evaluations = runs + 1, evaluations + of_run
        values, variance = values + found.values, variance + found.std_error**2
        std_error = jnp.sqrt(variance) / runs
        largest = float(np.max(std_error))
        if callback is not None:
            callback(Progress(evaluations, largest, time.perf_counter() - start))
        result = found._replace(
            values=values / runs,
            middle=values / runs,
            std_error=std_error,
            degrees=found.degrees * runs,
            num_evaluations=jnp.asarray(evaluations),
        )
        # Not larger than 0 is NaN too, which more runs do not mend.
        if not largest > 0 or (target_std_error is not None and largest <= target_std_error):
            return result

"""The estimator to take when there is no reason for another."""

import functools
from typing import Any

import jax

from esv_jax import checks
from esv_jax.base import Estimate, Estimator, Link, Plan, WeightsBySize, check_maker
from esv_jax.estimators.exact import MAX_PLAYERS_OF_A_PLAN, exact
from esv_jax.estimators.regression import regression
from esv_jax.estimators.surrogate import MOST_EVALUATIONS, surrogate

MAX_EVALUATIONS = 4096
MAX_EXACT_FRAMES = 16


@functools.lru_cache(maxsize=64, typed=True)
def recommended(*, max_evaluations: int = MAX_EVALUATIONS, max_exact_frames: int = MAX_EXACT_FRAMES) -> Estimator:
    """`exact` where that is cheap, else the best of those that sample. The one rule, of the library and its commands:

    - `exact` where max_evaluations allows all 2^P - 1 coalitions of at most 20 players;
    - `exact` up to max_exact_frames for games that can sum over all coalitions for far less than an evaluation each
      (`Game.exact`: those of TSN and TRN);
    - else `surrogate`, or, with a budget too large to fit a model, `regression`.

    The one to take without a reason for another: `explain(recommended(), game, params, video, key=key)`. Chosen by
    `experiments/benchmark_estimators.py`: `surrogate` has the least error of all that were tried in every game there.

    Args:
      max_evaluations: how many coalitions to evaluate at most; at least P + 1.
      max_exact_frames: up to how many players a game that can is asked for all coalitions.
    """
    checks.check_budget("max_evaluations", max_evaluations)
    checks.check_positive("max_exact_frames", max_exact_frames)
    name = f"recommended(max_evaluations={max_evaluations}, max_exact_frames={max_exact_frames})"

    def choice(num_players: int) -> Estimator:
        checks.check_positive("num_players", num_players)
        if num_players <= MAX_PLAYERS_OF_A_PLAN and 2**num_players - 1 <= max_evaluations:
            return exact()
        if max_evaluations <= num_players:
            raise checks.InputError(
                f"max_evaluations should be at least {num_players + 1} for {num_players} frames, "
                f"found {max_evaluations}"
            )
        maker = surrogate if max_evaluations <= MOST_EVALUATIONS else regression
        return maker(max_evaluations=max_evaluations)

    def plan(num_players: int, *, key: Any = None) -> Plan:
        return choice(num_players).plan(num_players, key=key).made_for(name)

    def estimate(plan: Plan, worths: jax.Array, logits: jax.Array, empty: jax.Array, link: Link) -> Estimate:
        check_maker(plan, name)
        chosen = choice(plan.mask.shape[1])
        return chosen.estimate(plan.made_for(chosen.name), worths, logits, empty, link)

    def weights(num_players: int, sums: bool) -> WeightsBySize | None:
        if sums and num_players <= max_exact_frames:
            return exact().weights(num_players, sums)
        return choice(num_players).weights(num_players, sums)

    def grown(num_players: int, max_evaluations: int) -> Estimator:
        return recommended(max_evaluations=max_evaluations, max_exact_frames=max_exact_frames)

    return Estimator(name, plan, estimate, weights, grown=grown)

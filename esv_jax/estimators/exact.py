"""Exact Element Shapley Values from all 2^P coalitions."""

import functools
from typing import Any

import jax

from esv_jax import checks
from esv_jax.base import Estimate, Estimator, Link, Plan, WeightsBySize, check_maker, exactly
from esv_jax.coalitions import plans, weights
from esv_jax.precise import matmul

# A plan's tables hold 2^P rows; without a plan, coalitions are made on the device and numbered by an int32.
MAX_PLAYERS_OF_A_PLAN = 20
MAX_PLAYERS = 30
NAME = "exact()"


@functools.lru_cache(maxsize=1)
def exact() -> Estimator:
    """The Element Shapley Value itself (the paper's eq. 3), by evaluating every coalition.

        esv[i] = mean over k = 1..P of ( mean of v(S) over |S| = k, i in S - mean of v(S) over |S| = k-1, i not in S )

    Needs no key; `std_error` is 0; values.sum(0) = full - empty up to rounding. `explain` streams the coalitions and
    needs no plan: time doubles with every player, memory only for multi-scale games (which keep two sizes' logits, at
    P=20 and C=174 about 0.4 GB, four times that for two more players). At most 30 players.
    """
    return Estimator(NAME, _plan, _estimate, _weights)


def _plan(num_players: int, *, key: Any = None) -> Plan:
    return plans.exhaustive(_at_most(MAX_PLAYERS_OF_A_PLAN, num_players), NAME)


def _weights(num_players: int, sums: bool) -> WeightsBySize:
    return weights.shapley(_at_most(MAX_PLAYERS, num_players))


def _at_most(limit: int, num_players: int) -> int:
    checks.check_positive("num_players", num_players)
    if num_players > limit:
        raise checks.InputError(
            f"exact() evaluates all 2^P coalitions and takes at most {limit} frames here, found {num_players}: "
            "use a sampling estimator or fewer frames"
        )
    return num_players


def _estimate(plan: Plan, worths: jax.Array, logits: jax.Array, empty: jax.Array, link: Link) -> Estimate:
    check_maker(plan, NAME)
    num_players = plan.mask.shape[1]
    if len(worths) != 2**num_players - 1:
        raise checks.InputError(f"plan should hold all {2**num_players - 1} coalitions, found {len(worths)}")
    coefficient = weights.of_players(weights.shapley(num_players))(plan.mask, worths.dtype)
    return exactly(matmul(coefficient.T, worths) - (empty / num_players)[None])

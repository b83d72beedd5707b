"""Permutation sampling: the average of what players add when they join in random order."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Estimate, Estimator, Link, Plan, check_maker, exactly, samples
from esv_jax.coalitions import plans

LEAST_PAIRS = 16
# In the standard error of a player the spread of all players counts as much as this many pairs of its own.
BORROWED = 4


@functools.lru_cache(maxsize=64, typed=True)
def orderings(*, max_evaluations: int) -> Estimator:
    """Random orderings of the players, each with its reverse; a player's value is the mean of what it adds as it joins.

        esv[i] = mean over orderings of ( v(the players up to i) - v(the players before i) )

    Unbiased in the worths, and efficient whatever the draw. It is the slowest to converge of the estimators here: use
    it as an independent check.

    `std_error` comes from the spread between pairs of orderings, of the player and in part of all: where a game jumps
    once in an ordering, most players add nothing in a few of them. Infinite for a single pair. What a player adds is as
    a rule far from normally distributed: with fewer than 16 pairs intervals are infinite rather than too narrow.

    Args:
      max_evaluations: how many coalitions to evaluate at most; a pair of orderings takes 2 (P - 1).
    """
    checks.check_budget("max_evaluations", max_evaluations)
    name = f"orderings(max_evaluations={max_evaluations})"

    def plan(num_players: int, *, key: Any = None) -> Plan:
        checks.check_positive("num_players", num_players)
        num_pairs = (max_evaluations - 1) // (2 * max(1, num_players - 1)) if num_players > 1 else 1
        if num_pairs < 1:
            raise checks.InputError(
                f"max_evaluations should be at least {2 * num_players - 1} for a pair of orderings of {num_players} "
                f"frames, found {max_evaluations}"
            )
        return plans.orderings(num_players, num_pairs, key, name)

    def estimate(plan: Plan, worths: jax.Array, logits: jax.Array, empty: jax.Array, link: Link) -> Estimate:
        check_maker(plan, name)
        return _means(plan.mask, worths, empty)

    return Estimator(name, plan, estimate, samples, grown=_grown)


def _grown(num_players: int, max_evaluations: int) -> Estimator:
    return orderings(max_evaluations=max_evaluations)


def _means(mask: Any, worths: jax.Array, empty: jax.Array) -> Estimate:
    num_players, num_classes = mask.shape[1], worths.shape[1]
    if num_players == 1:
        return exactly(worths - empty[None])
    num_orderings = (len(worths) - 1) // (num_players - 1)
    prefixes = worths[:-1].reshape(num_players - 1, num_orderings, num_classes)
    ends = (jnp.broadcast_to(end[None, None], (1, num_orderings, num_classes)) for end in (empty, worths[-1]))
    first, last = ends
    gain = jnp.diff(jnp.concatenate([first, prefixes, last]), axis=0)
    # A player is in as many prefixes as come after it: who joins n-th is in P - 1 - n of them.
    joins = (
        num_players
        - 1
        - jnp.asarray(mask[:-1]).reshape(num_players - 1, num_orderings, -1).sum(axis=0, dtype=jnp.int32)
    )
    added = gain[joins, jnp.arange(num_orderings, dtype=jnp.int32)[:, None]]
    pairs = (added[: num_orderings // 2] + added[num_orderings // 2 :]) / 2
    values = pairs.mean(axis=0)
    count = len(pairs)
    degrees = jnp.asarray(count - 1 if count >= LEAST_PAIRS else 0, values.dtype)
    if count == 1:
        return Estimate(values, jnp.full_like(values, jnp.inf), values, degrees)
    own = pairs.var(axis=0, ddof=1) / count
    variance = (count * own + BORROWED * own.mean(axis=0, keepdims=True)) / (count + BORROWED)
    return Estimate(values, jnp.sqrt(variance), values, degrees)

"""Permutation sampling: the average of what frames add when they join in random order."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array, Estimator, Plan
from esv_jax.coalitions import plans


class State(NamedTuple):
    """Of R orderings, the last prefix's sum of frame indices int32 [R] (the next one tells by it which frame joins) and
    worths [R, C]; and what every frame added so far [R, T, C]."""

    total: jax.Array
    worths: jax.Array
    added: jax.Array


@functools.lru_cache(maxsize=64, typed=True)
def orderings(*, max_evaluations: int) -> Estimator:
    """Random orderings of the frames, each with its reverse; a frame's value is the mean of what it adds as it joins.

        esv[i] = mean over orderings of ( v(the frames up to i) - v(the frames before i) )

    Unbiased, and efficient whatever the draw. Every prefix has its predecessor in the plan, so any game will do. It is
    the slowest to converge of the estimators here: use it where `recommended` cannot be (a multi-scale game with more
    subsets than can be evaluated), or as an independent check.

    `std_error` comes from the spread between pairs of orderings; infinite for a single pair.

    Args:
      max_evaluations: how many coalitions to evaluate at most; a pair of orderings takes 2 (T - 1).
    """
    checks.check_positive("max_evaluations", max_evaluations)

    def plan(num_frames: int, *, key: Any = None) -> Plan:
        checks.check_positive("num_frames", num_frames)
        num_pairs = (max_evaluations - 1) // (2 * max(1, num_frames - 1)) if num_frames > 1 else 1
        if num_pairs < 1:
            raise checks.InputError(
                f"max_evaluations should be at least {2 * num_frames - 1} for a pair of orderings of {num_frames} "
                f"frames, found {max_evaluations}"
            )
        return plans.orderings(num_frames, num_pairs, key)

    return Estimator(plan, _init, _update, _finish)


def _init(num_frames: int, empty: jax.Array) -> State:
    # One row stands for all orderings until the first level tells how many there are.
    return State(jnp.zeros(1, jnp.int32), empty[None], jnp.zeros((1, num_frames, 1), empty.dtype))


def _update(state: State, members: Array, worths: jax.Array, logits: jax.Array) -> State:
    total = jnp.maximum(jnp.asarray(members), 0).sum(axis=1, dtype=jnp.int32)
    gain = worths - state.worths
    num_orderings, num_classes = gain.shape
    added = jnp.broadcast_to(state.added, (num_orderings, state.added.shape[1], num_classes))
    # One frame joins an ordering at each level: to write its row alone keeps the cost linear in the frames.
    row = jnp.arange(num_orderings, dtype=jnp.int32)
    added = added.at[row, total - state.total].set(gain)
    return State(total, worths, added)


def _finish(state: State, empty: jax.Array, full: jax.Array, link: Any) -> tuple[jax.Array, jax.Array]:
    num_orderings, num_frames, _ = state.added.shape
    if num_frames == 1:
        values = (full - empty)[None]
        return values, jnp.zeros_like(values)
    pairs = (state.added[: num_orderings // 2] + state.added[num_orderings // 2 :]) / 2
    values = pairs.mean(axis=0)
    if len(pairs) == 1:
        return values, jnp.full_like(values, jnp.inf)
    return values, pairs.std(axis=0, ddof=1) / jnp.sqrt(jnp.asarray(len(pairs), values.dtype))

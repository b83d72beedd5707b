"""Exact Element Shapley Values from all 2^T coalitions."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array, Estimator, Plan
from esv_jax.coalitions import lattice, plans

# 2^20 coalitions; beyond, the tables of the plan no longer fit in memory comfortably.
MAX_FRAMES = 20


@functools.lru_cache(maxsize=1)
def exact() -> Estimator:
    """The Element Shapley Value itself (the paper's eq. 3), by evaluating every coalition.

        esv[i] = mean over k = 1..T of ( mean of v(S) over |S| = k, i in S - mean of v(S) over |S| = k-1, i not in S )

    Needs no key; `std_error` is 0; values.sum(0) = full - empty up to rounding. At most 20 frames.
    """
    return Estimator(_plan, _init, _update, _finish)


def _plan(num_frames: int, *, key: Any = None) -> Plan:
    checks.check_positive("num_frames", num_frames)
    if num_frames > MAX_FRAMES:
        raise checks.InputError(
            f"exact() evaluates all 2^T coalitions and takes at most {MAX_FRAMES} frames, found {num_frames}: "
            "use stratified(per_size=...) or sample fewer frames"
        )
    return plans.exhaustive(num_frames)


def _init(num_frames: int, empty: jax.Array) -> jax.Array:
    return jnp.tile(-empty / num_frames, (num_frames, 1))


def _update(values: jax.Array, members: Array, worths: jax.Array, logits: jax.Array) -> jax.Array:
    """Adds mean_with / T and takes away mean_without / T; the counts are known: C(T-1, k-1) and C(T-1, k)."""
    num_frames, size = values.shape[0], members.shape[1]
    inside = lattice.membership(members, num_frames, worths.dtype)
    total_with = jnp.matmul(inside.T, worths, precision=jax.lax.Precision.HIGHEST)
    values = values + total_with / (num_frames * math.comb(num_frames - 1, size - 1))
    if size < num_frames:
        total_without = worths.sum(axis=0)[None, :] - total_with
        values = values - total_without / (num_frames * math.comb(num_frames - 1, size))
    return values


def _finish(values: jax.Array, empty: jax.Array, full: jax.Array, link: Any) -> tuple[jax.Array, jax.Array]:
    return values, jnp.zeros_like(values)

"""The estimator to take when there is no reason for another."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array, Estimator, Plan, exact_weights
from esv_jax.estimators.exact import MAX_FRAMES_OF_A_PLAN, exact
from esv_jax.estimators.regression import regression
from esv_jax.estimators.stratified_paired import stratified_paired
from esv_jax.estimators.surrogate import surrogate

# The number of frames, in the shape of an array [T, 0], and the state of the estimator taken for it.
State = tuple[jax.Array, Any]


@functools.lru_cache(maxsize=64, typed=True)
def recommended(*, max_evaluations: int = 4096) -> Estimator:
    """`exact` where max_evaluations allows all 2^T - 1 coalitions of at most 20 frames, else `surrogate`.

    The one to take without a reason for another: `explain(recommended(), game, params, video, key=key)`. A budget below
    4 T is too small to fit a model: then it is `regression` (from 3 T on), or else `stratified_paired`.

    Chosen by `experiments/benchmark_estimators.py`: `surrogate` has the least error of all that were tried in every
    game there. Multi-scale games evaluate all their subsets for it, or where these are too many, random ones.

    Args:
      max_evaluations: how many coalitions to evaluate at most; at least T + 1.
    """
    checks.check_positive("max_evaluations", max_evaluations)

    def choice(num_frames: int) -> Estimator:
        checks.check_positive("num_frames", num_frames)
        fits = num_frames <= MAX_FRAMES_OF_A_PLAN and 2**num_frames - 1 <= max_evaluations
        if fits:
            return exact()
        if max_evaluations >= 4 * num_frames:
            return surrogate(max_evaluations=max_evaluations)
        if max_evaluations >= 3 * num_frames:
            return regression(max_evaluations=max_evaluations)
        if max_evaluations <= num_frames:
            raise checks.InputError(
                f"max_evaluations should be at least {num_frames + 1} for {num_frames} frames, found {max_evaluations}"
            )
        return stratified_paired(per_size=(max_evaluations - 2) // (num_frames - 1))

    def plan(num_frames: int, *, key: Any = None) -> Plan:
        return choice(num_frames).plan(num_frames, key=key)

    def init(num_frames: int, empty: jax.Array) -> State:
        return jnp.zeros((num_frames, 0), empty.dtype), choice(num_frames).init(num_frames, empty)

    def update(state: State, members: Array, worths: jax.Array, logits: jax.Array) -> State:
        frames, inner = state
        return frames, choice(len(frames)).update(inner, members, worths, logits)

    def finish(state: State, empty: jax.Array, full: jax.Array, link: Any) -> tuple[jax.Array, jax.Array]:
        frames, inner = state
        return choice(len(frames)).finish(inner, empty, full, link)

    def weights(num_frames: int) -> tuple[np.ndarray, np.ndarray] | None:
        return exact_weights(choice(num_frames), num_frames)

    return Estimator(plan, init, update, finish, weights)

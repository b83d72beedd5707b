"""The game of multi-scale models: heads of fixed length k = 1..M, joined by averaging over subsets (the paper's TRN).

With f_k the logits of the head for k frames, a coalition S has the joint logits

    A(S) = mean over sizes s <= min(|S|, M) of the mean of f_s over the size-s subsets of S,    v(S) = softmax(A(S)),

which obey a recurrence over the subset lattice, so that each f_k is evaluated once a coalition:

    A(S) = ( f_k(S) + (k - 1) * mean_{i in S} A(S - i) ) / k     for k = |S| <= M
    A(S) =                      mean_{i in S} A(S - i)           for k > M

Where a plan holds only some children of S, the mean is over those (as in the paper's approximation).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array, Game, Level

# Sums over so few children are compiled as one pass; longer ones as a loop, which compiles faster and runs slower.
UNROLLED_CHILDREN = 20
ScaleLogits = Callable[[Any, Level], jax.Array]


def multiscale_game(fns: Sequence[Callable[[Any, jax.Array], jax.Array]], *, empty: Array) -> Game:
    """The joint game of single-scale models.

    Args:
      fns: fns[k-1]: (params, clips [N, k, D]) -> logits [N, C] for k = 1..M, all given the same params.
      empty: float [C], the worth of no frames: probabilities, not logits.

    The game needs plans in which every coalition of two frames or more has a child (exhaustive, constructive,
    orderings); a coalition without one has worths NaN.
    """
    if not fns:
        raise checks.InputError("fns should hold a function for every scale 1..M, found none")
    return Game(checks.scores("empty", empty), _pair, _logits_of_fns(tuple(fns)), jax.nn.softmax, own_program=len(fns))


def trn_game(model: Any, *, empty: Array) -> Game:
    """The game of an `esv_jax.models.MultiscaleTRN`.

    The first layer is linear in the concatenated frames, so each frame's share of it at each position is computed once
    a video, and a coalition of k frames costs k additions of [H] and the layers behind.
    For `explain(estimator, game, variables, frames)` with the model's Flax variables and frames float [T, D].
    """
    prepare, logits = _trn_functions(model)
    return Game(checks.scores("empty", empty), prepare, logits, jax.nn.softmax, own_program=model.num_scales)


def _pair(params: Any, video: jax.Array) -> Any:
    return params, video


@functools.lru_cache(maxsize=64)
def _logits_of_fns(fns: tuple[Callable[[Any, jax.Array], jax.Array], ...]):
    def scale_logits(prepared: Any, level: Level) -> jax.Array:
        params, video = prepared
        return fns[level.members.shape[1] - 1](params, video[level.members])

    return _joint_logits(scale_logits, len(fns))


@functools.lru_cache(maxsize=64)
def _trn_functions(model: Any):
    def prepare(variables: Any, frames: jax.Array) -> Any:
        checks.check_shape("frames", frames, ("T", "D"))
        checks.check_floating("frames", frames)
        scales = range(1, min(model.num_scales, frames.shape[0]) + 1)
        return variables, tuple(model.apply(variables, frames, scale, method="project") for scale in scales)

    def scale_logits(prepared: Any, level: Level) -> jax.Array:
        variables, projections = prepared
        scale = level.members.shape[1]
        shares = projections[scale - 1]
        first_layer = sum(shares[level.members[:, p], p] for p in range(scale))
        return model.apply(variables, first_layer, scale, method="after_first")

    return prepare, _joint_logits(scale_logits, model.num_scales)


def _joint_logits(scale_logits: ScaleLogits, num_scales: int):
    """The lattice recurrence; the carry is A of the level below, [N_{k-1}, C]."""

    def logits(prepared: Any, level: Level, below: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        size = level.members.shape[1]
        if below is None:
            joint = scale_logits(prepared, level)
        elif size <= num_scales:
            joint = (scale_logits(prepared, level) + (size - 1) * _mean_of_children(level, below)) / size
        else:
            joint = _mean_of_children(level, below)
        return joint, joint

    return logits


def _mean_of_children(level: Level, below: jax.Array) -> jax.Array:
    """Mean of `below` [N_{k-1}, C] over the children that the plan holds, [N_k, C]; NaN where it holds none."""
    children = jnp.asarray(level.children)
    held = (children >= 0).astype(below.dtype)
    rows = jnp.maximum(children, 0)

    def add(position: int | jax.Array, total: jax.Array) -> jax.Array:
        here = below.at[rows[:, position]].get(mode="promise_in_bounds")
        return total + held[:, position][:, None] * here

    total = jnp.zeros((rows.shape[0], below.shape[1]), below.dtype)
    if rows.shape[1] <= UNROLLED_CHILDREN:
        for position in range(rows.shape[1]):
            total = add(position, total)
    else:
        # Held children come first, so the loop ends with the longest row of them.
        most = (children >= 0).any(axis=0).sum()
        total = jax.lax.fori_loop(0, most, add, total)
    return total / held.sum(axis=1, keepdims=True)

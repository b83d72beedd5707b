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
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array, Game, Level
from esv_jax.games import any_coalition, position_sums, score_average
from esv_jax.games.any_coalition import ScaleLogits
from esv_jax.precise import matmul

# Sums over so few children are compiled as one pass; longer ones as a loop, which compiles faster and runs slower.
UNROLLED_CHILDREN = 8
# Known children are summed by a product with a matrix where level k-1 has at most this times k rows.
DENSE_CHILDREN = 16
NO_CARRY: Any = None


def multiscale_game(
    fns: Sequence[Callable[[Any, jax.Array], jax.Array]],
    *,
    empty: Array,
    all_subsets: bool = False,
    average: Literal["logits", "scores"] = "logits",
) -> Game:
    """The joint game of single-scale models.

    Args:
      fns: fns[k-1]: (params, clips [N, k, D]) -> logits [N, C] for k = 1..M, all given the same params.
      empty: float [C], the worth of no frames: probabilities, not logits.
      all_subsets: how A(S) is known. True: every f_s is evaluated on all C(T, s) subsets first, and A(S) is exact.
        False: from the children of S in the plan, as in the paper; exact for exhaustive plans, otherwise A(S) is itself
        an estimate. Plans drawn without regard to children (those of `recommended` and `regression`) take all
        subsets in either case, if there are at most 2^20; if more, A(S) is estimated from 32 random subsets of S of
        each size, without bias before the softmax.
      average: "logits": v(S) = softmax(A(S)), as above. "scores": softmax(f_s) takes the place of f_s and v(S) = A(S);
        then exact values need only the sum_{s<=M} C(T, s) evaluations (`games.score_average`). Not with all_subsets.

    Raises:
      InputError: no functions; more than 2^20 subsets to evaluate; another `average`.
    """
    if not fns:
        raise checks.InputError("fns should hold a function for every scale 1..M, found none")
    empty = checks.scores("empty", empty)
    scale_logits = _scale_logits_of_fns(tuple(fns), len(empty))
    if average == "scores" and not all_subsets:
        scale_scores = _softmax_of(scale_logits)
        logits = _joint_logits(scale_scores, len(fns))
        sums = score_average.shortcut(_pair, scale_scores, len(fns))
        return Game(empty, _pair, logits, _identity, len(fns), sums, scale_scores)
    if average != "logits":
        raise checks.InputError(f'average should be "logits", or "scores" without all_subsets, found {average!r}')
    return _game(_pair, scale_logits, len(fns), empty, all_subsets, None)


def trn_game(model: Any, *, empty: Array, all_subsets: bool = False) -> Game:
    """The game of an `esv_jax.models.MultiscaleTRN`.

    The first layer is linear in the concatenated frames, so each frame's share of it at each position is computed once
    a video, and a coalition of k frames costs k additions of [H] and the layers behind.
    For `explain(estimator, game, variables, frames)` with the model's Flax variables and frames float [T, D].
    `empty` and `all_subsets` as for `multiscale_game`.
    """
    prepare, prepare_for_all, scale_logits = _trn_functions(model)
    return _game(prepare, scale_logits, model.num_scales, empty, all_subsets, prepare_for_all)


def _game(
    prepare: Any, scale_logits: ScaleLogits, num_scales: int, empty: Array, all_subsets: bool, prepare_for_all: Any
) -> Game:
    empty = checks.scores("empty", empty)
    if all_subsets:
        prepare, logits = _joint_of_all_subsets(prepare_for_all or prepare, scale_logits, num_scales)
        return Game(empty, prepare, logits, jax.nn.softmax, own_program=0)
    logits = _joint_logits(scale_logits, num_scales)
    return Game(empty, prepare, logits, jax.nn.softmax, num_scales, prepare_for_all=prepare_for_all)


def _pair(params: Any, video: jax.Array) -> Any:
    return params, video


@functools.lru_cache(maxsize=64)
def _scale_logits_of_fns(fns: tuple[Callable[[Any, jax.Array], jax.Array], ...], num_classes: int):
    def scale_logits(prepared: Any, level: Level) -> jax.Array:
        params, video = prepared
        num_rows, scale = level.members.shape
        logits = fns[scale - 1](params, video[level.members])
        return checks.model_output(f"what fns[{scale - 1}] returns", logits, num_rows, num_classes)

    return scale_logits


@functools.lru_cache(maxsize=64)
def _softmax_of(scale_logits: ScaleLogits) -> ScaleLogits:
    return lambda prepared, level: jax.nn.softmax(scale_logits(prepared, level))


def _identity(scores: jax.Array) -> jax.Array:
    return scores


@functools.lru_cache(maxsize=64)
def _trn_functions(model: Any):
    def prepare(variables: Any, frames: jax.Array) -> Any:
        checks.check_shape("frames", frames, ("T", "D"))
        checks.check_floating("frames", frames)
        scales = range(1, min(model.num_scales, frames.shape[0]) + 1)
        shares = tuple(model.apply(variables, frames, scale, method="project_in_order") for scale in scales)
        return variables, shares, None

    def prepare_for_all(variables: Any, frames: jax.Array) -> Any:
        variables, shares, _ = prepare(variables, frames)
        return variables, shares, tuple(position_sums.tables(of_scale) for of_scale in shares)

    def scale_logits(prepared: Any, level: Level) -> jax.Array:
        variables, shares, tables = prepared
        scale = level.members.shape[1]
        of_scale = shares[scale - 1]
        if tables is None:
            first_layer = sum(of_scale[p, level.members[:, p] - p] for p in range(scale))
        else:
            first_layer = position_sums.look_up(tables[scale - 1], level.members, of_scale.shape[1])
        return model.apply(variables, first_layer, scale, method="after_first")

    return prepare, prepare_for_all, scale_logits


@functools.lru_cache(maxsize=64)
def _joint_logits(scale_logits: ScaleLogits, num_scales: int):
    """The lattice recurrence; the carry is A of the level below, [N_{k-1}, C]."""

    def logits(prepared: Any, level: Level, below: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        size = level.members.shape[1]
        if level.children.shape[1] == 0:
            num_frames = level.members.shape[1]
            if any_coalition.number_of_subsets(num_frames, num_scales) > any_coalition.MAX_SUBSETS:
                return any_coalition.from_random_subsets(scale_logits, prepared, level, num_scales), NO_CARRY
            of_sizes = any_coalition.tables(scale_logits, prepared, num_frames, num_scales)
            return any_coalition.from_tables(of_sizes, level), NO_CARRY
        if below is None:
            joint = scale_logits(prepared, level)
        elif size <= num_scales:
            joint = (scale_logits(prepared, level) + (size - 1) * _mean_of_children(level, below)) / size
        else:
            joint = _mean_of_children(level, below)
        # Read twice, computed once; and done with the table of the level below before that is written to.
        joint = jax.lax.optimization_barrier(joint)
        return joint, joint

    return logits


@functools.lru_cache(maxsize=64)
def _joint_of_all_subsets(prepare: Any, scale_logits: ScaleLogits, num_scales: int):
    """(prepare, logits) of the game that has f_s of all subsets at hand: A(S) is a product with which are in S."""

    def prepare_all(params: Any, video: jax.Array) -> tuple[jax.Array, ...]:
        return any_coalition.tables(scale_logits, prepare(params, video), video.shape[0], num_scales)

    def logits(tables: tuple[jax.Array, ...], level: Level, carry: None) -> tuple[jax.Array, None]:
        return any_coalition.from_tables(tables, level), None

    return prepare_all, logits


def _mean_of_children(level: Level, below: jax.Array) -> jax.Array:
    """Mean of `below` [N_{k-1}, C] over the children that the plan holds, [N_k, C]; NaN where it holds none."""
    few = len(below) <= DENSE_CHILDREN * level.children.shape[1]
    if few and isinstance(level.children, np.ndarray) and (level.children >= 0).all():
        return matmul(_mean_matrix(level.children, below), below)
    children = jnp.asarray(level.children)
    held = (children >= 0).astype(below.dtype)
    width = children.shape[1]
    if width > UNROLLED_CHILDREN:
        children = jnp.pad(children, ((0, 0), (0, -width % UNROLLED_CHILDREN)), constant_values=-1)

    def add(columns: jax.Array, total: jax.Array) -> jax.Array:
        for position in range(columns.shape[1]):
            column = columns[:, position]
            row = below.at[jnp.maximum(column, 0)].get(mode="promise_in_bounds")
            total = total + (column >= 0).astype(below.dtype)[:, None] * row
        return total

    total = jnp.zeros((children.shape[0], below.shape[1]), below.dtype)
    if width <= UNROLLED_CHILDREN:
        total = add(children, total)
    else:
        # Held children come first, so the loop ends with the longest row of them.
        most = (children >= 0).any(axis=0).sum()

        def add_some(turn: jax.Array, total: jax.Array) -> jax.Array:
            start = turn * UNROLLED_CHILDREN
            return add(jax.lax.dynamic_slice_in_dim(children, start, UNROLLED_CHILDREN, axis=1), total)

        total = jax.lax.fori_loop(0, -(-most // UNROLLED_CHILDREN), add_some, total)
    return total / held.sum(axis=1, keepdims=True)


def _mean_matrix(children: np.ndarray, below: jax.Array) -> np.ndarray:
    """[N_k, N_{k-1}]: the mean over `children` int [N_k, k], none of them missing."""
    matrix = np.zeros((len(children), len(below)), below.dtype)
    np.put_along_axis(matrix, children, 1 / children.shape[1], axis=1)
    return matrix

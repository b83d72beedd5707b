"""The one loop that joins a game and an estimator: up the lattice, level by level."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array, Attribution, Estimator, Game, Level, Plan, exact_weights
from esv_jax.coalitions import walk as whole_lattice


def explain(
    estimator: Estimator, game: Game, params: Any, video: Array, *, key: Any = None, plan: Plan | None = None
) -> Attribution:
    """Splits the model's scores for a video fairly over its frames.

    Compiled on first use for the shapes at hand; new params, videos and plans of the same shapes reuse the program.
    Works under jax.jit and jax.vmap; sampling estimators then need `plan`. NaN in the data shows as NaN in the result.

    Args:
      estimator: of `esv_jax.estimators`, for example exact().
      game: of `esv_jax.games`, for example clip_game(predict, empty=prior).
      params: what the game's functions take first, any pytree.
      video: [T, D] (or [T, ...] where the game takes it), T >= 1.
      key: PRNG key, for estimators that sample.
      plan: the coalitions to evaluate, as of estimator.plan(num_frames=T, key=key); then no key is needed.

    Returns:
      Attribution(values [T, C], std_error [T, C], full [C], empty [C]).

    Raises:
      InputError: shapes or dtypes do not fit, or no key for an estimator that samples.
    """
    shape = jnp.shape(video)
    if not shape or shape[0] < 1:
        raise checks.InputError(f"video should have shape [T, ...] with at least one frame, found {list(shape)}")
    if plan is None and exact_weights(estimator, shape[0]) is not None:
        return _walk_everything(estimator.weights, _functions(game), game.empty, params, video)
    if plan is None:
        plan = estimator.plan(shape[0], key=key)
    elif key is not None:
        raise checks.InputError("key and plan were both given: the plan already holds what the key decides, pass one")
    check_plan(plan, shape[0])
    if estimator.of_subsets is not None:
        if game.subset_scores is None or game.own_program is None:
            raise checks.InputError('this estimator is for games of multiscale_game(..., average="scores")')
        levels = tuple(level for level in plan.levels[: game.own_program] if len(level.members))
        return _walk_subsets(estimator.of_subsets, _functions(game), game.empty, params, video, levels)
    return _walk(estimator, _functions(game), game.empty, params, video, plan)


def check_plan(plan: Plan, num_frames: int) -> None:
    """Raises InputError unless `plan` is one for `num_frames` frames. Static."""
    if not isinstance(plan, Plan):
        raise checks.InputError(f"plan should be what estimator.plan(num_frames=T, key=key) gives, found {type(plan)}")
    if len(plan.levels) != num_frames:
        raise checks.InputError(f"plan should be for the video's {num_frames} frames, found one for {len(plan.levels)}")
    for size, level in enumerate(plan.levels, start=1):
        checks.check_shape(f"members of the plan's level {size}", level.members, ("N", size))
        checks.check_shape(f"children of the plan's level {size}", level.children, jnp.shape(level.members))


def _functions(game: Game) -> Game:
    """The game without its array, so that it can be the key of a compiled program."""
    no_array: Any = None
    return game._replace(empty=no_array)


@functools.partial(jax.jit, static_argnames=("weights_of", "functions"))
def _walk_everything(weights_of: Any, functions: Game, empty: Array, params: Any, video: Array) -> Attribution:
    """All coalitions, streamed without a plan."""
    num_frames = jnp.shape(video)[0]
    prepared = (functions.prepare_for_all or functions.prepare)(params, jnp.asarray(video))
    by_size = weights_of(num_frames)
    values, full = whole_lattice.sum_over_all(functions, prepared, num_frames, *by_size)
    _check_worths(full[None], empty, 1)
    empty = jnp.asarray(empty, full.dtype)
    values = values + jnp.asarray(by_size[1][0], full.dtype) * empty[None, :]
    return Attribution(values, jnp.zeros_like(values), full, empty)


@functools.partial(jax.jit, static_argnames=("estimator", "functions"))
def _walk(estimator: Estimator, functions: Game, empty: Array, params: Any, video: Array, plan: Plan) -> Attribution:
    """The coalitions of a plan."""
    num_frames = jnp.shape(video)[0]
    prepared = functions.prepare(params, jnp.asarray(video))

    def step(state: Any, carry: Any, level: Level) -> tuple[Any, Any, jax.Array]:
        logits, carry = functions.logits(prepared, level, carry)
        worths = functions.link(logits)
        _check_worths(worths, empty, level.members.shape[0])
        if state is None:
            state = estimator.init(num_frames, jnp.asarray(empty, worths.dtype))
        return estimator.update(state, level.members, worths, logits), carry, worths

    state: Any = None
    carry: Any = None
    worths: Any = None
    for level, stacked in _steps(plan, functions.own_program):
        if stacked:
            (state, carry), _ = jax.lax.scan(lambda c, row: (step(*c, row)[:2], None), (state, carry), level)
        else:
            state, carry, worths = step(state, carry, level)
    full = worths[-1]
    empty = jnp.asarray(empty, full.dtype)
    values, std_error = estimator.finish(state, empty, full, functions.link)
    return Attribution(values, std_error, full, empty)


@functools.partial(jax.jit, static_argnames=("of_subsets", "functions"))
def _walk_subsets(
    of_subsets: Any, functions: Game, empty: Array, params: Any, video: Array, levels: tuple[Level, ...]
) -> Attribution:
    """The subsets of a plan, each for itself."""
    prepared = functions.prepare(params, jnp.asarray(video))
    scores: list[jax.Array] = [functions.subset_scores(prepared, level) for level in levels]  # type: ignore[misc]
    _check_worths(scores[0], empty, len(levels[0].members))
    return of_subsets(jnp.shape(video)[0], levels, scores, empty, functions.own_program)


def _check_worths(worths: jax.Array, empty: Array, num_coalitions: int) -> None:
    checks.check_shape("the game's worths", worths, (num_coalitions, empty.shape[0]))
    checks.check_floating("the game's worths", worths)


def _steps(plan: Plan, own_program: int | None) -> Iterator[tuple[Level, bool]]:
    """The plan as levels for a program each, and stacks of levels (True) for one compiled loop; last comes a level."""
    if own_program is None:
        yield from ((level, False) for level in plan.levels)
        return
    size = 0
    for run in plan.runs:
        length = run.members.shape[0]
        if run.children.shape[2] == 0:
            yield Level(run.members[0], run.children[0]), False
            continue
        size += length
        # The first of a run takes its carry from a level with another number of rows.
        alone = min(length, max(1, own_program - (size - length)))
        last = length - 1 if size == len(plan.levels) else length
        for position in range(length):
            width = size - length + position + 1
            if position < alone or position >= last:
                yield Level(run.members[position, :, :width], run.children[position, :, :width]), False
            elif position == alone:
                yield Level(run.members[alone:last], run.children[alone:last]), True

"""The question put to a game by an estimator: a plan's coalitions, their worths, what they say of every player."""

import functools
import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks, threads
from esv_jax.base import Array, Attribution, Estimate, Estimator, Game, Host, Link, Plan, Scales, check_maker, exactly
from esv_jax.coalitions import weights
from esv_jax.explaining import answers as host
from esv_jax.explaining import beforehand
from esv_jax.explaining import worths as asking

_OF_SCALES = '{} is for games of multiscale_game(..., average="scores"), found another'


def explain(
    estimator: Estimator,
    game: Game,
    params: Any,
    video: Any,
    *,
    key: Any = None,
    plan: Plan | None = None,
    archive: str | os.PathLike | None = None,
    callback: Callable[[host.Asked], None] | None = None,
    max_seconds: float | None = None,
    max_cost: float | None = None,
    cost_per_evaluation: float | None = None,
) -> Attribution:
    """Splits the model's scores for a video fairly over its frames (or whatever the game's players are).

    Compiled on first use for the shapes at hand; new params, videos and plans of the same shapes reuse the program.
    Works under jax.jit and jax.vmap; sampling estimators then need `plan`. NaN in the data shows as NaN in the result.
    Accelerators are not waited for, nor the CPU where all coalitions are taken; NumPy arrays are copied first, so they
    may be changed at once.

    Args:
      estimator: of `esv_jax.estimators`, for example exact().
      game: of `esv_jax.games`, for example clip_game(predict, empty=prior).
      params: what the game's functions take first, any pytree (a host game's model, whatever it is).
      video: [T, D] (or [T, ...] where the game takes it), T >= 1.
      key: PRNG key, for estimators that sample.
      plan: the coalitions to evaluate, as of estimator.plan(num_players=T, key=key); then no key is needed.
      archive: for host games: a file that keeps what the model says of each coalition, as it comes. With it a call that
        was stopped, by whatever, goes on; and one with another estimator or more evaluations asks for what is new.
      callback: for host games: called with an `Asked` after every call of the model.
      max_seconds, max_cost, cost_per_evaluation: for host games: asking stops after so long, or before the evaluations
        of this call cost more. The result is then that of the largest plan the estimator has among half as many
        coalitions, a quarter and so on: see its `num_evaluations`.

    Returns:
      Attribution(values [P, C], std_error [P, C], full [C], empty [C], num_evaluations [], sampled []).

    Raises:
      InputError: shapes or dtypes do not fit, the plan is another estimator's, or no key for one that samples; a limit
        was reached before there were enough coalitions for the estimator.
      Exception: whatever the model of a host game raises, with a note that names the coalition.
    """
    if isinstance(game.form, Host):
        limits = host.Limits(max_seconds, max_cost, cost_per_evaluation)
        return _explain_host(estimator, game, params, video, key, plan, archive, callback, limits)
    checks.check_for_host(archive=archive, callback=callback, max_seconds=max_seconds, max_cost=max_cost)
    game = game._replace(empty=checks.own("empty", game.empty))
    video = checks.own_video("video", video)
    params = checks.own("params", params)
    num_players = game.num_players(video)
    if plan is None and is_exact(estimator, game, num_players):
        return _explain_all(estimator.weights, asking.without_empty(game), game.empty, params, video)
    plan = _planned(estimator, num_players, key, plan)
    if estimator.of_scales and not isinstance(game.form, Scales):
        raise checks.InputError(_OF_SCALES.format(estimator.name))
    all_of_them = every_coalition(plan)
    functions, plan = asking.without_empty(game), on_device(plan)
    return threads.run(_explain_plan, estimator, functions, game.empty, params, video, plan, all_of_them)


def _planned(estimator: Estimator, num_players: int, key: Any, plan: Plan | None) -> Plan:
    if plan is None:
        plan = estimator.plan(num_players, key=key)
    elif key is not None:
        raise checks.InputError("key and plan were both given: the plan already holds what the key decides, pass one")
    check_plan(estimator, plan, num_players)
    return plan


def _explain_host(
    estimator: Estimator,
    game: Game,
    model: Any,
    video: Any,
    key: Any,
    plan: Plan | None,
    archive: str | os.PathLike | None,
    callback: Callable[[host.Asked], None] | None,
    limits: host.Limits,
) -> Attribution:
    """The model is asked first, in batches, then its answers are estimated from."""
    if limits.cost is not None and limits.cost_per_evaluation is None:
        raise checks.InputError("max_cost should come with cost_per_evaluation, what one coalition costs; found none")
    if limits.cost_per_evaluation is not None and not limits.cost_per_evaluation > 0:
        raise checks.InputError(f"cost_per_evaluation should be positive, found {limits.cost_per_evaluation}")
    game = game._replace(empty=checks.own("empty", game.empty))
    video = checks.own_modalities(video)
    num_players = game.num_players(video)
    plan = _planned(estimator, num_players, key, plan)
    if estimator.of_scales:
        raise checks.InputError(_OF_SCALES.format(estimator.name))
    # Only where it may end early does it matter what is asked first.
    may_end = limits != host.Limits()
    smaller = list(_smaller(estimator, num_players, key, len(plan.mask))) if may_end else []
    with host.asking(game, model, video, archive=archive, limits=limits, callback=callback) as answers:
        compiling = _compiling(estimator, game.link, answers, plan)
        try:
            for _, first in smaller:
                answers.of(first.mask)
            logits = answers.of(plan.mask)
        except host.Stopped:
            done = [of for of in smaller if answers.holds(of[1].mask)]
            if not done:
                raise checks.InputError(
                    f"{estimator.name} should have more coalitions to say anything: stopped by its limit after "
                    f"{answers.num_asked} of {len(plan.mask)}"
                    + ("" if archive is None else f", which are kept in {archive}: call again to go on")
                ) from None
            estimator, plan = done[-1]
            logits = answers.of(plan.mask)
        empty = answers.game.empty
    compiling.join()
    return threads.run(estimated, estimator, game.link, empty, plan, logits, logits[-1:], every_coalition(plan))[0]


def _compiling(estimator: Estimator, link: Link, answers: host.Answers, plan: Plan) -> threading.Thread:
    """`estimated` is compiled meanwhile, for as many coalitions and classes."""
    empty, whole = answers.game.empty, every_coalition(plan)
    logits = np.zeros((len(plan.mask), empty.shape[0]), answers.dtype)
    shapes = plan.sizes, tuple(rows.shape for rows in plan.lineage), logits.shape, logits.dtype, empty.dtype
    return beforehand.begun(
        (estimator, link, shapes, jax.dtypes.canonicalize_dtype(float)),
        lambda: estimated.lower(estimator, link, empty, plan, logits, logits[-1:], whole).compile(),
    )


def _smaller(estimator: Estimator, num_players: int, key: Any, num_coalitions: int) -> Iterator[tuple[Estimator, Plan]]:
    """The same estimator with plans that this one's holds, smallest first; none where it cannot grow."""
    budgets = [num_coalitions]
    while budgets[-1] > 1:
        budgets.append(budgets[-1] // 2)
    for budget in reversed(budgets[1:]):
        if estimator.grown is None or key is None:
            return
        try:
            smaller = estimator.grown(num_players, budget)
            plan = smaller.plan(num_players, key=key)
        except checks.InputError:  # too few for it
            continue
        yield smaller, plan


def is_exact(estimator: Estimator, game: Game, num_players: int) -> bool:
    """Whether `explain` would evaluate all coalitions of so many players, and so needs neither key nor plan."""
    sums = game.exact is not None and not isinstance(game.form, Host)
    return estimator.weights(num_players, sums) is not None


def every_coalition(plan: Plan) -> bool:
    """Whether a plan holds all coalitions of its players. Static."""
    num_players = plan.mask.shape[1]
    # The first test spares almost every plan the second, which takes milliseconds for a thousand players.
    return sum(plan.sizes) == 2**num_players - 1 and plan.sizes == tuple(
        math.comb(num_players, size) for size in range(1, num_players + 1)
    )


def on_device(plan: Plan | None) -> Plan | None:
    """The plan with its arrays on the device, moved openly, as `jax.transfer_guard` wants it, if they are not."""
    on_host = any(not isinstance(array, jax.Array) for array in jax.tree.leaves(plan))
    return jax.device_put(checks.own("plan", plan)) if on_host else plan


def check_plan(estimator: Estimator, plan: Plan, num_players: int) -> None:
    """Raises InputError unless `plan` was made by the estimator for so many players. Static."""
    check_maker(plan, estimator.name)
    found = plan.mask.shape[1]
    if found != num_players:
        raise checks.InputError(f"plan should be for the video's {num_players} frames, found one for {found}")
    checks.check_shape("the plan's mask", plan.mask, (sum(plan.sizes), num_players))


@functools.partial(jax.jit, static_argnames=("weights_of", "functions"))
def _explain_all(weights_of: Any, functions: Game, empty: Array, params: Any, video: Any) -> Attribution:
    """All coalitions, streamed without a plan."""
    num_players = functions.num_players(video)
    by_size = weights_of(num_players, functions.exact is not None)
    if functions.exact is not None:
        values, full = functions.exact(params, video, *by_size)
    else:
        values, full = asking.sum_over_all(functions, params, video, weights.of_players(by_size))
    asking.check_worths(full[None], empty, 1)
    empty = jnp.asarray(empty, full.dtype)
    values = values + jnp.asarray(by_size[1][0], full.dtype) * empty[None, :]
    return _told(exactly(values), full, empty, 2**num_players - 1, True)


@functools.partial(jax.jit, static_argnames=("estimator", "functions", "every_coalition"))
def _explain_plan(
    estimator: Estimator,
    functions: Game,
    empty: Array,
    params: Any,
    video: Any,
    plan: Plan,
    every_coalition: bool,
) -> Attribution:
    """The coalitions of a plan."""
    prepared = functions.prepare(params, video)
    if estimator.of_scales:
        logits = asking.logits_of_heads(functions, prepared, plan)
    else:
        logits = asking.logits_of_plan(functions, prepared, plan)
    everyone = logits[-1:]
    if isinstance(functions.form, Scales) and plan.lineage and not functions.form.all_subsets:
        # Of the plan's worths that one is an estimate, as all are.
        everyone = asking.logits_of_everyone(functions, prepared, plan.mask.shape[1])
    return estimated(estimator, functions.link, empty, plan, logits, everyone, every_coalition)[0]


@functools.partial(jax.jit, static_argnames=("estimator", "link", "every_coalition"))
def estimated(
    estimator: Estimator,
    link: Link,
    empty: Array,
    plan: Plan,
    logits: jax.Array,
    everyone: jax.Array,
    every_coalition: bool,
) -> tuple[Attribution, Estimate]:
    """What the logits [N, C] of a plan's coalitions, and the model's own [1, C] of everyone, say."""
    worths = link(logits)
    asking.check_worths(worths, empty, len(plan.mask))
    empty = jnp.asarray(empty, worths.dtype)
    estimate = estimator.estimate(plan, worths, logits, empty, link)
    return _told(estimate, link(everyone)[0], empty, len(worths), every_coalition), estimate


def _told(estimate: Estimate, full: jax.Array, empty: Array, num_evaluations: int, is_exact: bool) -> Attribution:
    return Attribution(
        estimate.values,
        estimate.std_error,
        full,
        jnp.asarray(empty),
        jnp.asarray(num_evaluations, jnp.int32),
        jnp.asarray(not is_exact),
        estimate.middle,
        estimate.degrees,
        jnp.ones((), estimate.values.dtype),
    )

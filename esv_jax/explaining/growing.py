"""One plan that grows, looked at again and again: every look asks the game only for coalitions that are new."""

import os
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks, threads
from esv_jax.base import Attribution, Estimate, Estimator, Game, Host, Scales
from esv_jax.coalitions import plans
from esv_jax.explaining import answers
from esv_jax.explaining import worths as asking
from esv_jax.explaining.explain import estimated, every_coalition, explain


class Look(NamedTuple):
    """What is known at a look.

    Attributes:
      attribution: as `explain` gives it for the plan; its `num_evaluations` are those of this and all looks before.
      estimate: what it comes from; None where the whole plan was asked for anew.
      logits: float [N, C], of the plan's coalitions; None likewise.
    """

    attribution: Attribution
    estimate: Estimate | None
    logits: Any


def budgets(start: int, most: int) -> list[int]:
    """How many evaluations each look has: `start`, doubled again and again, at last `most`; none just before that."""
    found = [start]
    while 3 * found[-1] <= most:
        found.append(2 * found[-1])
    return [*found, most] if found[-1] < most else found


def widening(num_looks: int, level: float) -> float:
    """How much wider than for one look intervals have to be, so that those of all looks hold with a chance of `level`.

    By Sidak's inequality, which holds however looks are correlated. For looks that double, and whose variance falls as
    the number of evaluations grows, exact constants (Pocock's) would be 2 to 4 % less.
    """
    quantile = NormalDist().inv_cdf
    return quantile((1 + level ** (1 / num_looks)) / 2) / quantile((1 + level) / 2)


def looks(
    estimators: Sequence[Estimator],
    game: Game,
    params: Any,
    video: Any,
    key: Any,
    archive: str | os.PathLike | None = None,
) -> Iterator[Look]:
    """A look by every estimator, one grown from another, at plans of the same key.

    Coalitions that were asked for are not again, nor are those that the archive of a host game holds. But where logits
    are those of the heads (`Estimator.of_scales`) or are joined from the children in a plan (`Scales`), every look asks
    for its whole plan.
    """
    game = game._replace(empty=checks.own("empty", game.empty))
    if isinstance(game.form, Host):
        yield from _looks_at_host(estimators, game, params, checks.own_modalities(video), key, archive)
        return
    checks.check_for_host(archive=archive)
    video = checks.own_video("video", video)
    params = checks.own("params", params)
    num_players = game.num_players(video)
    of_children = isinstance(game.form, Scales) and not game.form.all_subsets
    codes = plans.player_codes(num_players)
    asked, evaluations = np.zeros(0, np.uint64), 0
    logits: Any = None
    for estimator in estimators:
        plan = estimator.plan(num_players, key=key)
        if estimator.of_scales or (of_children and plan.lineage):
            found = explain(estimator, game, params, video, plan=plan)
            evaluations += len(plan.mask)
            yield Look(found._replace(num_evaluations=jnp.asarray(evaluations)), None, None)
            continue
        mask = np.asarray(plan.mask)
        code = (mask * codes).sum(axis=1, dtype=np.uint64)
        _, first = np.unique(code, return_index=True)
        new = np.sort(first[~np.isin(code[first], asked)])
        if len(new):
            sizes = np.bincount(mask[new].sum(axis=1), minlength=num_players + 1)[1:]
            more = asking.logits_of_coalitions(game, params, video, mask[new], tuple(sizes.tolist()))
            logits = more if logits is None else jnp.concatenate([logits, more])
            asked = np.concatenate([asked, code[new]])
        order = np.argsort(asked)
        rows = order[np.searchsorted(asked[order], code)]
        of_plan = logits[jax.device_put(rows)]
        attribution, estimate = threads.run(
            estimated, estimator, game.link, game.empty, plan, of_plan, of_plan[-1:], every_coalition(plan)
        )
        yield Look(attribution._replace(num_evaluations=jnp.asarray(len(asked))), estimate, of_plan)


def _looks_at_host(
    estimators: Sequence[Estimator],
    game: Game,
    model: Any,
    video: Any,
    key: Any,
    archive: str | os.PathLike | None,
) -> Iterator[Look]:
    with answers.asking(game, model, video, archive=archive) as asked:
        for estimator in estimators:
            plan = estimator.plan(game.num_players(video), key=key)
            logits, empty = asked.of(plan.mask), asked.game.empty
            attribution, estimate = threads.run(
                estimated, estimator, game.link, empty, plan, logits, logits[-1:], every_coalition(plan)
            )
            distinct = len(np.unique(plan.mask, axis=0))
            yield Look(attribution._replace(num_evaluations=jnp.asarray(distinct)), estimate, logits)

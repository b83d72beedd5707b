"""The estimator with the least error for the time, where models are cheap beside what estimators themselves do."""

import time
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax.base import Game
from esv_jax.estimators import recommended, regression
from esv_jax.estimators.exact import MAX_PLAYERS_OF_A_PLAN
from esv_jax.explaining.batch import explain_batch
from esv_jax.explaining.explain import is_exact

# What `surrogate` takes for its own work on a video for each evaluation, from 128 to 1024 of them, on two cores.
SECONDS_OF_A_FIT = 0.001
# So many times its evaluations `regression` needs for the error of `surrogate`, as benchmark_estimators shows.
TIMES_THE_EVALUATIONS = 8
MOST_OF_REGRESSION = 2**16
ROWS_OF_A_PLAYER = 4


class Choice(NamedTuple):
    """What to take: the name of an estimator, what it is made with, and a sentence that says why."""

    name: str
    options: dict[str, int]
    said: str


def choose(
    game: Game, params: Any, videos: Any, *, max_evaluations: int, seconds_per_evaluation: float | None = None
) -> Choice:
    """The most exact of what takes no longer than `recommended(max_evaluations=...)`:

    - `exact`, where evaluating all coalitions takes no longer, or `recommended` is exact itself;
    - `regression`, where it can evaluate so many more that its error is less;
    - else `recommended`.

    Times are rough: the model is measured, once, and depends on what else the machine does. Keep the choice with the
    results, and do not choose again to go on with them.

    Args:
      game, params, videos: as for `explain_batch`; the first are as good as any, as many as are worked on at once.
      max_evaluations: of `recommended`.
      seconds_per_evaluation: of a coalition of one video; None: measured, which compiles a program and runs it twice.

    Raises:
      InputError: as `recommended` and `explain_batch`.
    """
    num_players = game.num_players(videos[0])
    of_default = recommended(max_evaluations=max_evaluations)
    if is_exact(of_default, game, num_players):
        return Choice("exact", {}, "exact, which recommended takes itself")
    if seconds_per_evaluation is None:
        seconds_per_evaluation = measure(game, params, videos)
    seconds = max_evaluations * (SECONDS_OF_A_FIT + seconds_per_evaluation)
    beside = f"recommended(max_evaluations={max_evaluations}) would take about {_told(seconds)}"
    num_coalitions = 2**num_players - 1
    if num_players <= MAX_PLAYERS_OF_A_PLAN and num_coalitions * seconds_per_evaluation <= seconds:
        all_of_them = _told(num_coalitions * seconds_per_evaluation)
        said = f"exact: all {num_coalitions} coalitions of a video take about {all_of_them}, {beside}"
        return Choice("exact", {}, said)
    times = int(min(seconds / seconds_per_evaluation, MOST_OF_REGRESSION) // max_evaluations)
    if times >= TIMES_THE_EVALUATIONS:
        # A power of two, so that measuring again seldom says something else.
        evaluations = max_evaluations * 2 ** (times.bit_length() - 1)
        taking = _told(evaluations * seconds_per_evaluation)
        said = f"regression: {evaluations} evaluations of a video take about {taking}, {beside}"
        return Choice("regression", {"max_evaluations": evaluations}, said)
    said = f"recommended: in its time, about {_told(seconds)} a video, others would make too few evaluations more"
    return Choice("recommended", {"max_evaluations": max_evaluations}, said)


def measure(game: Game, params: Any, videos: Any) -> float:
    """Seconds per coalition of one video, of `regression`, whose own work is little; when its program is compiled."""
    num_players = game.num_players(videos[0])
    estimator = regression(max_evaluations=ROWS_OF_A_PLAYER * num_players)
    plan = estimator.plan(num_players, key=jax.random.key(0))
    for _ in range(2):
        start = time.perf_counter()
        np.asarray(explain_batch(estimator, game, params, videos, plan=plan).values)
    return (time.perf_counter() - start) / (len(videos) * len(plan.mask))


def _told(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"

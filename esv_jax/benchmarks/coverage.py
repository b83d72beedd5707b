"""How often intervals hold the exact values, over many runs of an estimator on one video."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import esv_jax
from esv_jax.base import Array, Attribution, Estimator, Game, Masks, Plan
from esv_jax.benchmarks.games import GAMES, Instance
from esv_jax.coalitions import masks
from esv_jax.explaining.worths import logits_of_masks, without_empty

# Cells (frame, class) whose error is smaller, of the largest one of all cells, are left out: nobody looks at them.
NEGLIGIBLE = 0.01
# Float32's, of worths: an interval that misses by less is right.
ROUNDING = 1e-6
NORMAL = 1.96
# Coalitions of the first round of `explain_until`.
FIRST_ROUND = 64


# (frames, evaluations) -> the estimator.
ESTIMATORS: dict[str, Callable[[int, int], Estimator]] = {
    "recommended": lambda frames, budget: esv_jax.recommended(max_evaluations=budget),
    "regression": lambda frames, budget: esv_jax.regression(max_evaluations=budget),
    "orderings": lambda frames, budget: esv_jax.orderings(max_evaluations=budget),
    "stratified_paired": lambda frames, budget: esv_jax.stratified_paired(per_size=(budget - 2) // (frames - 1)),
}
UNTIL = "explain_until"


class Cell(NamedTuple):
    """What is measured: the name of a game, T, evaluations, the name of an estimator or `UNTIL`, and how many runs."""

    game: str
    frames: int
    evaluations: int
    estimator: str
    runs: int


class Runs(NamedTuple):
    """What R runs found: values and the ends of 95 % intervals, float [R, T, C] each."""

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Coverage(NamedTuple):
    """Figures of many runs. The first four are of the cells (frame, class) that have an error worth the name.

    Attributes:
      cells: how many they are; where there are none the other three are NaN.
      mean, worst: the share of intervals that hold the exact value, over all of these cells and in the worst one.
      width: mean half-width of intervals over that of the interval that knew the true error, 1.96 root mean squared
        errors of the cell.
      nmse: median over runs of the mean squared error over the mean squared value.
    """

    cells: int
    mean: float
    worst: float
    width: float
    nmse: float


def measured(cell: Cell) -> Callable[[], dict[str, Any]]:
    """A `runner.Start`: the line of a cell, its fields and those of its `Coverage`, and the seconds it took."""
    return functools.partial(_measured, cell)


def _measured(cell: Cell) -> dict[str, Any]:
    case, exact = _case(cell.game, cell.frames)
    start = time.perf_counter()
    if cell.estimator == UNTIL:
        runs = of_until(case, cell.evaluations, cell.runs)
    else:
        runs = of_plans(ESTIMATORS[cell.estimator](cell.frames, cell.evaluations), case, cell.runs)
    found = coverage(runs, exact)
    return {**cell._asdict(), **found._asdict(), "seconds": time.perf_counter() - start}


@functools.lru_cache(maxsize=1)
def _case(game: str, num_frames: int) -> tuple[Instance, np.ndarray]:
    """The game from a table of all its worths, and its exact values [T, C]."""
    case = GAMES[game](0, num_frames)
    exact = np.asarray(esv_jax.explain(esv_jax.exact(), *case).values, np.float64)
    return tabulated(case), exact


def coverage(runs: Runs, exact: np.ndarray) -> Coverage:
    """Of runs against exact values [T, C]."""
    error = np.asarray(runs.values, np.float64) - exact[None]
    rms = np.sqrt((error**2).mean(axis=0))
    counted = (rms > ROUNDING) & (rms >= NEGLIGIBLE * rms.max())
    nmse = float(np.median((error**2).mean(axis=(1, 2))) / (exact**2).mean())
    if not counted.any():
        return Coverage(0, np.nan, np.nan, np.nan, nmse)
    held = (runs.low - ROUNDING <= exact[None]) & (exact[None] <= runs.high + ROUNDING)
    share = held.mean(axis=0)[counted]
    half = ((runs.high - runs.low) / 2).mean(axis=0)[counted]
    width = (half / (NORMAL * rms[counted])).mean()
    return Coverage(int(counted.sum()), float(share.mean()), float(share.min()), float(width), nmse)


def tabulated(case: Instance) -> Instance:
    """The same game with all its logits worked out, for many runs: estimators see what they would see. T <= 16."""
    functions = without_empty(case.game)
    somebody = masks.every(len(case.video))[1:]

    @jax.jit
    def of_everybody(params: Any, video: jax.Array) -> jax.Array:
        return logits_of_masks(functions, functions.prepare(params, video), somebody)

    logits = np.asarray(of_everybody(case.params, case.video))
    table = np.concatenate([np.zeros_like(logits[:1]), logits])  # nobody's are never asked for
    return Instance(Game(case.game.empty, _table, _rows, case.game.link, Masks()), table, case.video)


def _table(params: Any, video: Any) -> Any:
    return params


def _rows(table: jax.Array, mask: Array) -> jax.Array:
    bits = 1 << jnp.arange(mask.shape[1], dtype=jnp.int32)
    return table[(masks.as_float(mask, jnp.int32) * bits[None]).sum(axis=1)]


def of_plans(estimator: Estimator, case: Instance, num_runs: int) -> Runs:
    """A run for every key 0..R-1. Plans of the same sizes, as a rule all, share a program and are one call."""
    num_players = case.game.num_players(case.video)
    plans = [estimator.plan(num_players, key=jax.random.key(seed)) for seed in range(num_runs)]
    alike: dict[Any, list[Plan]] = {}
    for plan in plans:
        alike.setdefault((jax.tree.structure(plan), *(np.shape(array) for array in jax.tree.leaves(plan))), []).append(
            plan
        )
    found = []
    for group in alike.values():
        stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *group)
        found.append(_of_plans(estimator, without_empty(case.game), case.game.empty, case.params, case.video, stacked))
    return Runs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


@functools.partial(jax.jit, static_argnames=("estimator", "functions"))
def _of_plans(estimator: Estimator, functions: Game, empty: Array, params: Any, video: Any, plans: Plan) -> Any:
    game = functions._replace(empty=jnp.asarray(empty))
    return jax.lax.map(lambda plan: _told(esv_jax.explain(estimator, game, params, video, plan=plan)), plans)


def of_until(case: Instance, max_evaluations: int, num_runs: int) -> Runs:
    """Runs of `explain_until` that use up all evaluations."""
    estimator = esv_jax.recommended(max_evaluations=FIRST_ROUND)
    found = []
    for seed in range(num_runs):
        key = jax.random.key(seed)
        found.append(_told(esv_jax.explain_until(estimator, *case, key=key, max_evaluations=max_evaluations)))
    return Runs(*(np.stack(parts) for parts in zip(*found, strict=True)))


def _told(found: Attribution) -> Any:
    return found.values, *found.interval()

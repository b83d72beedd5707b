"""Error against evaluations of the sampling estimators, ours and those of other packages.

    esv-jax benchmark_estimators --out=out/estimators --quick
    esv-jax benchmark_estimators --out=out/estimators

NMSE is the mean squared error over the mean squared Element Shapley Value of the class that scores highest (other
packages see that class alone, which favours them). Prints the median over instances and seeds, and `recommended`
against the best of the other packages in every cell, with a 95 % interval (paired bootstrap over runs); writes
runs.csv, table.md and errors.png to --out. runs.csv holds a line a run: a run that is in it is not repeated, so that a
benchmark can be stopped and taken up again. Other packages come with the extra `bench`; it says which are missing,
what they warn of and where they fail. None may ask for more coalitions than the budget.
"""

import functools
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from absl import flags

import esv_jax
from esv_jax.base import Estimator
from esv_jax.benchmarks import black_box, peers, run_table
from esv_jax.benchmarks import games as benchmark_games
from esv_jax.benchmarks import report as estimator_report
from esv_jax.benchmarks.games import Instance
from esv_jax.checks import InputError

from . import cli

OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)
QUICK = flags.DEFINE_bool("quick", False, "Games of 12 frames at 48 and 256 evaluations, one instance, one seed.")
GAMES = flags.DEFINE_multi_enum(
    "game",
    ["tsn", "trn", "order", "transformer", "demo", "step"],
    sorted(benchmark_games.GAMES),
    "Games; repeatable.",
)
FRAMES = flags.DEFINE_multi_integer("frames", [12, 16, 32], "Numbers of frames; repeatable.")
EVALUATIONS = flags.DEFINE_multi_integer(
    "evaluations", [], "Evaluations; repeatable. By default 2, 3 and 4 for each frame, and 128 to 2048."
)
INSTANCES = flags.DEFINE_integer("instances", 1, "How many videos of each game and number of frames.")
SEEDS = flags.DEFINE_integer("seeds", 15, "How many runs on each video.")
ESTIMATORS = flags.DEFINE_multi_string("estimator", [], "Run these alone, by the names in the table; repeatable.")
REFERENCE = flags.DEFINE_integer("reference_evaluations", 2**22, "Coalitions for the reference beyond 16 frames.")

EXACT_FRAMES = 16
LEAST = {"regression": 3, "orderings": 2}  # evaluations for each frame, without which the estimator cannot be had
MOST = {"shapiq ShaplEIG": 128}  # evaluations, beyond which a run takes minutes
COLUMNS = (
    "game",
    "frames",
    "evaluations",
    "estimator",
    "instance",
    "seed",
    "asked",
    "seconds",
    "values",
    "low",
    "high",
)
CaseKey = tuple[str, int, int]  # game, instance, number of frames


class Found(NamedTuple):
    """What a run found, of the class that scores highest: values [T], the ends of 95 % intervals [T] where it has them,
    and for how many coalitions it asked."""

    values: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    asked: int


# (case, evaluations, seed) -> what was found, None where a peer failed.
Run = Callable[[CaseKey, int, int], Found | None]


def main() -> None:
    out = cli.output_folder(OUT.value)
    runs, missing = _runs()
    for line in missing:
        print(f"not measured: {line}")
    frames = [12] if QUICK.value else FRAMES.value
    instances, seeds = (1, 1) if QUICK.value else (INSTANCES.value, SEEDS.value)
    table = out / "runs.csv"
    done = {row[:6] for row in run_table.read(table, COLUMNS)}
    # Every cell is visited once before any is visited again.
    for seed, instance, num_frames, game in itertools.product(range(seeds), range(instances), frames, GAMES.value):
        for budget, (name, run) in itertools.product(_budgets(num_frames), runs.items()):
            cell = (game, str(num_frames), str(budget), name, str(instance), str(seed))
            if cell in done or not LEAST.get(name, 0) * num_frames <= budget <= MOST.get(name, budget):
                continue
            case = (game, instance, num_frames)
            _worths(*case)  # beforehand, and the case with them: no run's seconds hold that
            start = time.perf_counter()
            found = run(case, budget, seed)
            seconds = f"{time.perf_counter() - start:.3f}"
            if found is not None:
                numbers = (_joined(found.values), _joined(found.low), _joined(found.high))
                run_table.append(table, COLUMNS, (*cell, str(found.asked), seconds, *numbers))
        print(f"seed {seed}, instance {instance}, {num_frames} frames, {game}: done", flush=True)
    types = {"frames": int, "evaluations": int, "seconds": float}
    measured = pd.DataFrame(run_table.read(table, COLUMNS), columns=COLUMNS).astype(types)
    cases = sorted(set(measured[["game", "frames", "instance"]].itertuples(index=False, name=None)))
    references = {(game, count, instance): _reference(game, count, instance, out) for game, count, instance in cases}
    estimator_report.write(estimator_report.measured(measured, references), out)


def _budgets(num_frames: int) -> list[int]:
    """Evaluations to run with: fewer than there are coalitions."""
    default = {2 * num_frames, 3 * num_frames, 4 * num_frames, 128, 256, 512, 1024, 2048}
    asked = [48, 256] if QUICK.value else EVALUATIONS.value or sorted(default)
    return [budget for budget in asked if budget < 2**num_frames - 1]


def _runs() -> tuple[dict[str, Run], list[str]]:
    """The estimators to run, and what is missing of other packages."""
    found, missing = peers.available()
    listener = peers.Listener(functools.partial(print, flush=True))
    runs = {
        "recommended": _run_of_ours(lambda frames, budget: esv_jax.recommended(max_evaluations=budget)),
        "regression": _run_of_ours(lambda frames, budget: esv_jax.regression(max_evaluations=budget)),
        "stratified_paired": _run_of_ours(
            lambda frames, budget: esv_jax.stratified_paired(per_size=max(1, budget // (frames - 1)))
        ),
        "orderings": _run_of_ours(lambda frames, budget: esv_jax.orderings(max_evaluations=budget)),
        **{name: _run_of_peer(name, peer, listener) for name, peer in found.items()},
    }
    unknown = [name for name in ESTIMATORS.value if name not in runs]
    if unknown:
        raise InputError(f"--estimator should be one of {', '.join(runs)}, found {unknown[0]!r}")
    return {name: run for name, run in runs.items() if name in (ESTIMATORS.value or runs)}, missing


def _run_of_ours(make: Callable[[int, int], Estimator]) -> Run:
    def run(key: CaseKey, evaluations: int, seed: int) -> Found:
        case = _case(*key)
        num_frames = len(case.video)
        estimator = make(num_frames, evaluations)
        plan = estimator.plan(num_frames, key=jax.random.key(seed))
        found = esv_jax.explain(estimator, case.game, case.params, case.video, plan=plan)
        target = int(np.argmax(found.full))
        values, low, high = (np.asarray(numbers)[:, target] for numbers in (found.values, *found.interval()))
        return Found(values, low, high, int(found.num_evaluations))

    return run


def _run_of_peer(name: str, peer: Callable[..., np.ndarray], listener: peers.Listener) -> Run:
    def run(key: CaseKey, evaluations: int, seed: int) -> Found | None:
        worths = black_box.Counted(_worths(*key), evaluations)
        values = listener.run(name, peer, worths, key[2], evaluations, seed)
        return None if values is None else Found(values, None, None, worths.evaluations)

    return run


@functools.lru_cache(maxsize=1)
def _case(game: str, instance: int, num_frames: int) -> Instance:
    return benchmark_games.GAMES[game](instance, num_frames)


@functools.lru_cache(maxsize=32)
def _worths(game: str, instance: int, num_frames: int) -> peers.Worths:
    """Of the class that the whole video scores highest."""
    case = _case(game, instance, num_frames)
    return black_box.worths_of(case, black_box.top_class(case))


def _reference(game: str, num_frames: int, instance: str, out: Path) -> np.ndarray:
    """Values [T] of the top class: exact up to 16 frames, else the mean of many long runs; kept in --out."""
    path = out / f"reference_{game}_{num_frames}_{instance}.npz"
    runs = np.load(path)["runs"] if path.exists() else np.zeros((0, num_frames))
    wanted = 1 if num_frames <= EXACT_FRAMES else max(2, REFERENCE.value // benchmark_games.REFERENCE_RUN)
    if len(runs) < wanted:
        case = _case(game, int(instance), num_frames)
        if num_frames <= EXACT_FRAMES:
            found = esv_jax.explain(esv_jax.exact(), case.game, case.params, case.video)
            runs = np.asarray(found.values, np.float64)[:, int(np.argmax(found.full))][None]
        else:
            target = black_box.top_class(case)
            more = [benchmark_games.reference_run(case, seed)[:, target] for seed in range(len(runs), wanted)]
            runs = np.concatenate([runs, np.array(more, np.float64)])
        np.savez(path, runs=runs)
    return runs.mean(axis=0)


def _joined(numbers: np.ndarray | None) -> str:
    return "" if numbers is None else " ".join(f"{x:.7g}" for x in numbers)


if __name__ == "__main__":
    cli.run(main)

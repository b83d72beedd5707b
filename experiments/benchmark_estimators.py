"""Error against evaluations of the sampling estimators, ours and those of other packages.

    esv-jax benchmark_estimators --out=out/estimators --quick
    esv-jax benchmark_estimators --out=out/estimators --seeds=20

NMSE is the mean squared error over the mean squared Element Shapley Value of the class that scores highest (other
packages see that class alone, which favours them). Prints the geometric mean over instances and seeds, and
`recommended` against the best of the other packages in every cell, with a 95 % interval (paired bootstrap over
runs); writes runs.csv, table.md and errors.png to --out. runs.csv holds a line a run: a run that is in it is not
repeated, so that a benchmark can be stopped and taken up again. Other packages come with the extra `bench`; it says
which are missing.
"""

import csv
import itertools
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from absl import flags

import esv_jax
from esv_jax import batches
from esv_jax.base import Estimator
from esv_jax.benchmarks import games as benchmark_games
from esv_jax.benchmarks import peers
from esv_jax.benchmarks import report as estimator_report
from esv_jax.benchmarks.games import Instance
from esv_jax.checks import InputError

from . import cli

OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)
QUICK = flags.DEFINE_bool("quick", False, "Games of 12 frames at 256 and 1024 evaluations, one instance, one seed.")
GAMES = flags.DEFINE_multi_enum("game", ["tsn", "trn", "order"], ["tsn", "trn", "order"], "Games; repeatable.")
FRAMES = flags.DEFINE_multi_integer("frames", [12, 16, 32, 64], "Numbers of frames; repeatable.")
EVALUATIONS = flags.DEFINE_multi_integer("evaluations", [256, 1024, 4096, 8192], "Evaluations; repeatable.")
INSTANCES = flags.DEFINE_integer("instances", 3, "How many videos of each game and number of frames.")
SEEDS = flags.DEFINE_integer("seeds", 20, "How many runs on each video.")
ESTIMATORS = flags.DEFINE_multi_string("estimator", [], "Run these alone, by the names in the table; repeatable.")
REFERENCE = flags.DEFINE_integer("reference_evaluations", 2**22, "Coalitions for the reference beyond 16 frames.")

EXACT_FRAMES = 16
LEAST = {"regression": 3, "orderings": 2}  # evaluations for each frame, without which the estimator cannot be had
COLUMNS = ("game", "frames", "evaluations", "estimator", "instance", "seed", "seconds", "values", "low", "high")
# (case, evaluations, seed) -> values [T], and low and high [T] where known, of the class that scores highest.
Run = Callable[[Instance, int, int], tuple[np.ndarray, ...]]


def main() -> None:
    out = cli.output_folder(OUT.value)
    runs, missing = _runs()
    for line in missing:
        print(f"not measured: {line}")
    frames = [12] if QUICK.value else FRAMES.value
    evaluations = [256, 1024] if QUICK.value else EVALUATIONS.value
    instances, seeds = (1, 1) if QUICK.value else (INSTANCES.value, SEEDS.value)
    table = out / "runs.csv"
    done = {row[:6] for row in _read(table)}
    # Every cell is visited once before any is visited again.
    for seed, instance, num_frames, game in itertools.product(range(seeds), range(instances), frames, GAMES.value):
        for budget, (name, run) in itertools.product(evaluations, runs.items()):
            cell = (game, str(num_frames), str(budget), name, str(instance), str(seed))
            if cell in done or LEAST.get(name, 0) * num_frames > budget:
                continue
            case = benchmark_games.GAMES[game](instance, num_frames)
            start = time.perf_counter()
            values, *interval = run(case, budget, seed)
            low, high = map(_joined, interval or (np.array([]), np.array([])))
            _append(table, (*cell, f"{time.perf_counter() - start:.3f}", _joined(values), low, high))
        print(f"seed {seed}, instance {instance}, {num_frames} frames, {game}: done", flush=True)
    measured = pd.DataFrame(_read(table), columns=COLUMNS).astype({"frames": int, "evaluations": int, "seconds": float})
    cases = sorted(set(measured[["game", "frames", "instance"]].itertuples(index=False, name=None)))
    references = {(game, count, instance): _reference(game, count, instance, out) for game, count, instance in cases}
    estimator_report.write(estimator_report.measured(measured, references), out)


def _runs() -> tuple[dict[str, Run], list[str]]:
    """The estimators to run, and what is missing of other packages."""
    found, missing = peers.available()
    runs = {
        "recommended": _run_of_ours(lambda frames, budget: esv_jax.recommended(max_evaluations=budget)),
        "regression": _run_of_ours(lambda frames, budget: esv_jax.regression(max_evaluations=budget)),
        "stratified_paired": _run_of_ours(
            lambda frames, budget: esv_jax.stratified_paired(per_size=max(1, budget // (frames - 1)))
        ),
        "orderings": _run_of_ours(lambda frames, budget: esv_jax.orderings(max_evaluations=budget)),
        **{name: _run_of_peer(peer) for name, peer in found.items()},
    }
    unknown = [name for name in ESTIMATORS.value if name not in runs]
    if unknown:
        raise InputError(f"--estimator should be one of {', '.join(runs)}, found {unknown[0]!r}")
    return {name: run for name, run in runs.items() if name in (ESTIMATORS.value or runs)}, missing


def _run_of_ours(make: Callable[[int, int], Estimator]) -> Run:
    def run(case: Instance, evaluations: int, seed: int) -> tuple[np.ndarray, ...]:
        num_frames = len(case.video)
        estimator = make(num_frames, evaluations)
        plan = estimator.plan(num_frames, key=jax.random.key(seed))
        found = esv_jax.explain(estimator, case.game, case.params, case.video, plan=plan)
        target = int(np.argmax(found.full))
        return tuple(np.asarray(of)[:, target] for of in (found.values, *found.interval()))

    return run


def _run_of_peer(peer: Callable[..., np.ndarray]) -> Run:
    def run(case: Instance, evaluations: int, seed: int) -> tuple[np.ndarray, ...]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (peer(_worths_of_top_class(case), len(case.video), evaluations, seed),)

    return run


def _worths_of_top_class(case: Instance) -> peers.Worths:
    """bool [N, T] -> float64 [N]: worths of the class that the whole video scores highest; rows may be empty."""
    target = _top_class(case)

    def of(mask: np.ndarray) -> np.ndarray:
        rows = np.atleast_2d(np.asarray(mask, bool))
        # Few different numbers of rows, so that little is compiled.
        filled = batches.filled(len(rows), 1 << max(0, len(rows) - 1).bit_length())[0]
        found = esv_jax.worths(case.game, case.params, case.video, rows[filled])
        return np.asarray(found, np.float64)[: len(rows), target]

    return of


def _top_class(case: Instance) -> int:
    """The class that the whole video scores highest."""
    everyone = np.ones((1, len(case.video)), bool)
    return int(np.argmax(esv_jax.worths(case.game, case.params, case.video, everyone)))


def _reference(game: str, num_frames: int, instance: str, out: Path) -> np.ndarray:
    """Values [T] of the top class: exact up to 16 frames, else the mean of many long runs; kept in --out."""
    path = out / f"reference_{game}_{num_frames}_{instance}.npz"
    runs = np.load(path)["runs"] if path.exists() else np.zeros((0, num_frames))
    wanted = 1 if num_frames <= EXACT_FRAMES else max(2, REFERENCE.value // benchmark_games.REFERENCE_RUN)
    if len(runs) < wanted:
        case = benchmark_games.GAMES[game](int(instance), num_frames)
        if num_frames <= EXACT_FRAMES:
            found = esv_jax.explain(esv_jax.exact(), case.game, case.params, case.video)
            runs = np.asarray(found.values, np.float64)[:, int(np.argmax(found.full))][None]
        else:
            target = _top_class(case)
            more = [benchmark_games.reference_run(case, seed)[:, target] for seed in range(len(runs), wanted)]
            runs = np.concatenate([runs, np.array(more, np.float64)])
        np.savez(path, runs=runs)
    return runs.mean(axis=0)


def _joined(numbers: np.ndarray) -> str:
    return " ".join(f"{x:.7g}" for x in numbers)


def _read(table: Path) -> list[tuple[str, ...]]:
    """The rows of runs.csv so far."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)]
    if rows and rows[0] != COLUMNS:
        raise InputError(f"{table} has other columns than this benchmark's: give another --out")
    return [row for row in rows[1:] if len(row) == len(COLUMNS)]


def _append(table: Path, row: tuple[str, ...]) -> None:
    new = not table.exists()
    with table.open("a", newline="") as file:
        csv.writer(file).writerows([COLUMNS, row] if new else [row])


if __name__ == "__main__":
    cli.run(main)

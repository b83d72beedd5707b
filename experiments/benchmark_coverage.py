"""How often 95 % intervals of the sampling estimators hold the exact value.

    esv-jax benchmark_coverage --out=out/coverage --quick
    esv-jax benchmark_coverage --out=out/coverage

Of cells (frame, class) with at least 1 % of the largest error: the mean coverage and that of the worst cell, and the
mean half-width over that of the interval that knew the true error; NMSE is the median over runs of the mean squared
error over the mean squared value, of all classes. Prints a table; writes coverage.csv and table.md to --out. A line
that is in coverage.csv is not measured again, so that a benchmark can be stopped and taken up again.
"""

import itertools
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from absl import flags

import esv_jax
from esv_jax.base import Estimator
from esv_jax.benchmarks import coverage, games
from esv_jax.checks import InputError

from . import cli

ESTIMATORS: dict[str, Callable[[int, int], Estimator]] = {
    "recommended": lambda frames, budget: esv_jax.recommended(max_evaluations=budget),
    "regression": lambda frames, budget: esv_jax.regression(max_evaluations=budget),
    "orderings": lambda frames, budget: esv_jax.orderings(max_evaluations=budget),
    "stratified_paired": lambda frames, budget: esv_jax.stratified_paired(per_size=(budget - 2) // (frames - 1)),
}
UNTIL = "explain_until"

OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)
QUICK = flags.DEFINE_bool("quick", False, "20 runs on games of 12 frames at 64 and 128 evaluations.")
GAMES = flags.DEFINE_multi_enum(
    "game",
    ["trn", "tsn", "transformer", "order", "pair", "triple"],
    sorted(games.GAMES),
    "Games; repeatable.",
)
FRAMES = flags.DEFINE_multi_integer("frames", [12, 16], "Numbers of frames, 16 at most; repeatable.")
EVALUATIONS = flags.DEFINE_multi_integer("evaluations", [64, 128, 256, 512], "Evaluations; repeatable.")
NAMES = flags.DEFINE_multi_enum("estimator", [*ESTIMATORS, UNTIL], [*ESTIMATORS, UNTIL], "Estimators; repeatable.")
RUNS = flags.DEFINE_integer("runs", 200, "How many runs.", lower_bound=2)

CELL = ["game", "frames", "evaluations", "estimator", "runs"]


def main() -> None:
    out = cli.output_folder(OUT.value)
    frames, evaluations = ([12], [64, 128]) if QUICK.value else (FRAMES.value, EVALUATIONS.value)
    runs = 20 if QUICK.value else RUNS.value
    if max(frames) > 16:
        raise InputError(f"--frames should be at most 16, so that exact values are to be had, found {max(frames)}")
    path = out / "coverage.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {tuple(row[name] for name in CELL) for row in rows}
    for game, num_frames in itertools.product(GAMES.value, frames):
        cells = [(game, num_frames, *rest, runs) for rest in itertools.product(evaluations, NAMES.value)]
        if done.issuperset(cells):
            continue
        case = games.GAMES[game](0, num_frames)
        exact = np.asarray(esv_jax.explain(esv_jax.exact(), *case).values, np.float64)
        case = coverage.tabulated(case)
        for cell in cells:
            if cell not in done:
                start = time.perf_counter()
                found = coverage.coverage(_runs(case, *cell[1:]), exact)
                rows.append(
                    {**dict(zip(CELL, cell, strict=True)), **found._asdict(), "seconds": time.perf_counter() - start}
                )
                pd.DataFrame(rows).to_csv(path, index=False)
        print(f"{game}, {num_frames} frames: done", flush=True)
    text = "\n".join(_table(rows))
    print(f"\n{text}")
    (out / "table.md").write_text(text + "\n", encoding="utf-8")


def _runs(case: games.Instance, num_frames: int, budget: int, name: str, runs: int) -> coverage.Runs:
    if name == UNTIL:
        return coverage.of_until(case, budget, runs)
    return coverage.of_plans(ESTIMATORS[name](num_frames, budget), case, runs)


def _table(rows: list[dict]) -> list[str]:
    head = ["game", "T", "evaluations", "estimator", "runs", "mean", "worst", "width", "NMSE", "cells"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        shares = ("-" if np.isnan(row[name]) else f"{row[name]:.1%}" for name in ("mean", "worst"))
        width = "-" if np.isnan(row["width"]) else f"{row['width']:.2f}"
        cell = (str(row[name]) for name in CELL)
        lines.append("| " + " | ".join([*cell, *shares, width, f"{row['nmse']:.2g}", str(row["cells"])]) + " |")
    return lines


if __name__ == "__main__":
    cli.run(main)

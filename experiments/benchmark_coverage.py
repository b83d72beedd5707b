"""How often 95 % intervals of the sampling estimators hold the exact value.

    esv-jax benchmark_coverage --out=out/coverage --quick
    esv-jax benchmark_coverage --out=out/coverage

Of cells (frame, class) with at least 1 % of the largest error: the mean coverage and that of the worst cell, and the
mean half-width over that of the interval that knew the true error; NMSE is the median over runs of the mean squared
error over the mean squared value, of all classes. Prints a table; writes coverage.csv and table.md to --out. A line
that is in coverage.csv is not measured again, so that a benchmark can be stopped and taken up again; --workers=8
measures as many at a time.
"""

import itertools

import numpy as np
import pandas as pd
from absl import flags

from esv_jax import progress
from esv_jax.benchmarks import coverage, games
from esv_jax.checks import InputError
from esv_jax.explaining import runner

from . import cli, worker_flags

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
NAMES_OF_ALL = [*coverage.ESTIMATORS, coverage.UNTIL]
NAMES = flags.DEFINE_multi_enum("estimator", NAMES_OF_ALL, NAMES_OF_ALL, "Estimators; repeatable.")
RUNS = flags.DEFINE_integer("runs", 200, "How many runs.", lower_bound=2)


def main() -> None:
    out = cli.output_folder(OUT.value)
    frames, evaluations = ([12], [64, 128]) if QUICK.value else (FRAMES.value, EVALUATIONS.value)
    runs = 20 if QUICK.value else RUNS.value
    if max(frames) > 16:
        raise InputError(f"--frames should be at most 16, so that exact values are to be had, found {max(frames)}")
    path = out / "coverage.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {tuple(row[name] for name in coverage.Cell._fields) for row in rows}
    cases = itertools.product(GAMES.value, frames, evaluations, NAMES.value)
    cells = [cell for cell in (coverage.Cell(*case, runs) for case in cases) if cell not in done]
    bars = progress.bars("cells")
    with worker_flags.opened(bars) as workers, bars:
        task = bars.add_task("coverage", total=len(cells))
        executor = workers.executor or runner.one_by_one
        for row in runner.in_order(executor(coverage.measured, cells.__getitem__, range(len(cells)))):
            if isinstance(row, runner.Died):
                raise InputError(f"a cell was not measured: {row.said}")
            rows.append(row)
            pd.DataFrame(rows).to_csv(path, index=False)
            bars.update(task, advance=1, said=f"{row['game']}, {row['frames']} frames")
    text = "\n".join(_table(rows))
    print(f"\n{text}")
    (out / "table.md").write_text(text + "\n", encoding="utf-8")


def _table(rows: list[dict]) -> list[str]:
    head = ["game", "T", "evaluations", "estimator", "runs", "mean", "worst", "width", "NMSE", "cells"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        shares = ("-" if np.isnan(row[name]) else f"{row[name]:.1%}" for name in ("mean", "worst"))
        width = "-" if np.isnan(row["width"]) else f"{row['width']:.2f}"
        cell = (str(row[name]) for name in coverage.Cell._fields)
        lines.append("| " + " | ".join([*cell, *shares, width, f"{row['nmse']:.2g}", str(row["cells"])]) + " |")
    return lines


if __name__ == "__main__":
    cli.run(main)

"""Tables and a picture of how far estimators are off, from the values of many runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from esv_jax import checks
from esv_jax.results import pictures

RESAMPLES = 2000
ROUNDING = 1e-6
WORSE = 1.05  # of the best other's error: beyond it a cell is lost
# Float32's rounding is the floor of what can be told apart: of worths, some ten times larger than values.
FLOOR = 1e-11
OURS = ("recommended", "regression", "stratified_paired", "orderings")
CELL, RUN = ["game", "frames", "evaluations"], ["instance", "seed"]


def measured(runs: pd.DataFrame, references: Mapping[tuple[str, int, str], np.ndarray]) -> pd.DataFrame:
    """The runs with two more columns: `nmse`, and the share `covered` of 95 % intervals that hold the reference.

    Args:
      runs: with the columns game, frames, evaluations (int), estimator, instance, seed, seconds (float), and values,
        low and high, texts of numbers; where the latter are empty, `covered` is NaN.
      references: values [T] to compare with, by game, frames and instance.
    """
    nmse, covered = [], []
    for run in runs.itertuples():
        exact = references[run.game, run.frames, run.instance]
        error = np.array(run.values.split(), np.float64) - exact
        nmse.append(max(float((error**2).mean() / (exact**2).mean()), FLOOR))
        low, high = (np.array(text.split(), np.float64) for text in (run.low, run.high))
        held = (low - ROUNDING <= exact) & (exact <= high + ROUNDING) if len(low) else np.nan
        covered.append(np.mean(held))
    return runs.assign(nmse=nmse, covered=covered)


def write(runs: pd.DataFrame, out: Path) -> None:
    """Prints the tables of `measured` runs, and writes table.md and errors.png to `out`."""
    medians = runs.pivot_table("nmse", CELL, "estimator", aggfunc="median")
    names = sorted(medians, key=lambda name: (OURS.index(name) if name in OURS else len(OURS), name))
    text = "\n".join(_table(runs, medians[names]))
    print(f"\n{text}")
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    draw_errors(medians[names], out / "errors.png")


def _table(runs: pd.DataFrame, medians: pd.DataFrame) -> list[str]:
    head = ["game", "T", "evaluations", *medians, "recommended / best other [95 %]", "runs", "s", "95 % hold"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    found = []
    for cell, of_cell in runs.groupby(CELL):
        by_name, median = dict(list(of_cell.groupby("estimator"))), medians.loc[cell]
        cells = (f"**{value:.2g}**" if value == median.min() else f"{value:.2g}" for value in median)
        shown = ["-" if np.isnan(value) else cell for value, cell in zip(median, cells, strict=True)]
        theirs, summary = median.drop(list(OURS), errors="ignore").dropna(), [""] * 4
        if "recommended" in by_name:
            mine = by_name["recommended"]
            summary[1:] = str(len(mine)), f"{mine['seconds'].median():.2g}", f"{mine['covered'].mean():.0%}"
            if len(theirs):
                ratio, low, high = paired_ratio(mine, by_name[theirs.idxmin()])
                summary[0] = f"{ratio:.2g} [{low:.2g}, {high:.2g}] {theirs.idxmin()}"
                found.append((ratio, low))
        lines.append("| " + " | ".join([*map(str, cell), *shown, *summary]) + " |")
    if found:
        ratios = pd.DataFrame(found, columns=["ratio", "low"])
        lines += [
            "",
            f"{len(ratios)} cells: `recommended` has more than {WORSE} times the best other's error in "
            f"{(ratios['ratio'] > WORSE).sum()} ({(ratios['low'] > WORSE).sum()} of them beyond the noise), "
            f"at most half of it in {(ratios['ratio'] <= 0.5).sum()}.",
        ]
    return lines


def paired_ratio(ours: pd.DataFrame, theirs: pd.DataFrame, column: str = "nmse") -> tuple[float, float, float]:
    """Ratio of medians of a column over the runs that both have, with its 95 % interval by bootstrap over runs."""
    both = ours.merge(theirs, on=RUN).sort_values(RUN)
    if both.empty:
        return (np.nan,) * 3
    errors = both[[f"{column}_x", f"{column}_y"]].to_numpy()
    draws = np.random.default_rng(0).integers(len(errors), size=(RESAMPLES, len(errors)))
    drawn = np.median(errors[draws], axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    mine, other = np.median(errors, axis=0)
    return float(mine / other), float(low), float(high)


def draw_errors(medians: pd.DataFrame, path: Path) -> None:
    """A PNG of error against evaluations: a row a game, a column a number of frames, a line an estimator.

    Args:
      medians: NMSE by the levels `CELL`, a column an estimator.
      path: the file, replaced if it exists.
    """
    with pictures.drawing({}):
        pictures.save(_picture(medians), path, dpi=110)


def _picture(medians: pd.DataFrame) -> Any:
    games, frames = (medians.index.unique(name).sort_values() for name in ("game", "frames"))
    figure_module = checks.require("matplotlib.figure", extra="plots")
    colours = checks.require("matplotlib", extra="plots").colormaps["tab20"].colors
    figure = figure_module.Figure(figsize=(2.6 * len(frames) + 2.2, 2.5 * len(games)), layout="constrained")
    axes = figure.subplots(len(games), len(frames), squeeze=False, sharex="col", sharey="row")
    markers = "os^vDPX<>"
    lines = {}
    for axis, (game, num_frames) in zip(axes.flat, [(g, t) for g in games for t in frames], strict=True):
        of_panel = medians.query("game == @game and frames == @num_frames").droplevel(["game", "frames"])
        for position, name in enumerate(medians):
            points = of_panel[name].dropna()
            (lines[name],) = axis.loglog(
                points.index,
                points,
                "-" if name in OURS else "--",
                marker=markers[position % len(markers)],
                ms=4,
                lw=2.5 if name == "recommended" else 1.2,
                color="black" if name == "recommended" else colours[position % len(colours)],
            )
        axis.set_title(f"{game}, T = {num_frames}")
        axis.grid(alpha=0.3)
    for axis, num_frames in zip(axes[-1], frames, strict=True):
        axis.set_xlabel("evaluations")
        shown: list[int] = []
        for budget in medians.xs(num_frames, level="frames").index.unique("evaluations").sort_values():
            # Labels that are nearer would lie over one another.
            if not shown or budget >= 1.9 * shown[-1]:
                shown.append(budget)
        axis.set_xticks(shown, map(str, shown), rotation=45)
        axis.minorticks_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("NMSE")
    figure.legend(list(lines.values()), list(lines), loc="outside right center")
    return figure

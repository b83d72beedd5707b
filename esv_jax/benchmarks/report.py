"""Tables and a picture of how far estimators are off, from the values of many runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from esv_jax import checks
from esv_jax.results import pictures

RESAMPLES = 2000
# Float32's rounding is the floor of what can be told apart.
FLOOR = 1e-13
OURS = ("recommended", "regression", "stratified_paired", "orderings")
CELL, RUN = ["game", "frames", "evaluations"], ["instance", "seed"]


def measured(runs: pd.DataFrame, references: Mapping[tuple[str, int, str], np.ndarray]) -> pd.DataFrame:
    """The runs with two more columns: `nmse`, and the share `covered` of 95 % intervals that hold the reference.

    Args:
      runs: with the columns game, frames, evaluations (int), estimator, instance, seed, seconds (float), and values
        low and high (the ends of 95 % intervals), texts of numbers; where these are empty, `covered` is NaN.
      references: values [T] to compare with, by game, frames and instance.
    """
    nmse, covered = [], []
    for run in runs.itertuples():
        exact = references[run.game, run.frames, run.instance]
        error = np.array(run.values.split(), np.float64) - exact
        nmse.append(max(float((error**2).mean() / (exact**2).mean()), FLOOR))
        low, high = (np.array(end.split(), np.float64) for end in (run.low, run.high))
        holds = (low - 1e-6 <= exact) & (exact <= high + 1e-6) if len(low) else np.nan
        covered.append(np.mean(holds))
    return runs.assign(nmse=nmse, covered=covered)


def write(runs: pd.DataFrame, out: Path) -> None:
    """Prints the tables of `measured` runs, and writes table.md and errors.png to `out`."""
    means = np.exp(runs.assign(log=np.log(runs["nmse"])).pivot_table("log", CELL, "estimator"))
    names = sorted(means, key=lambda name: (OURS.index(name) if name in OURS else len(OURS), name))
    text = "\n".join(_table(runs, means[names]))
    print(f"\n{text}")
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    draw_errors(means[names], out / "errors.png")


def _table(runs: pd.DataFrame, means: pd.DataFrame) -> list[str]:
    head = ["game", "T", "evaluations", *means, "recommended / best other [95 %]", "runs", "s", "95 % hold"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    found = []
    for cell, of_cell in runs.groupby(CELL):
        by_name, mean = dict(list(of_cell.groupby("estimator"))), means.loc[cell]
        cells = (f"**{value:.2g}**" if value == mean.min() else f"{value:.2g}" for value in mean)
        shown = ["-" if np.isnan(value) else cell for value, cell in zip(mean, cells, strict=True)]
        theirs, summary = mean.drop(list(OURS), errors="ignore").dropna(), [""] * 4
        if "recommended" in by_name:
            mine = by_name["recommended"]
            summary[1:] = str(len(mine)), f"{mine['seconds'].median():.2g}", f"{mine['covered'].mean():.0%}"
            if len(theirs):
                ratio, low, high = paired_ratio(mine, by_name[theirs.idxmin()])
                summary[0] = f"{ratio:.2g} [{low:.2g}, {high:.2g}] {theirs.idxmin()}"
                found.append((cell[0], ratio, low))
        lines.append("| " + " | ".join([*map(str, cell), *shown, *summary]) + " |")
    if found:
        ratios = pd.DataFrame(found, columns=["game", "ratio", "low"])
        of_tsn = ratios.loc[ratios["game"] == "tsn", "ratio"]
        lines += [
            "",
            f"{len(ratios)} cells: `recommended` has more error than the best other in {(ratios['ratio'] > 1).sum()} "
            f"({(ratios['low'] > 1).sum()} of them beyond the noise), at most half of it in "
            f"{(ratios['ratio'] <= 0.5).sum()}; at most a tenth in {(of_tsn <= 0.1).sum()} of {len(of_tsn)} TSN cells.",
        ]
    return lines


def paired_ratio(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[float, float, float]:
    """Ratio of geometric means over the runs that both have, with its 95 % interval by bootstrap over runs."""
    both = ours.merge(theirs, on=RUN).sort_values(RUN)
    if both.empty:
        return (np.nan,) * 3
    logs = np.log(both["nmse_x"] / both["nmse_y"]).to_numpy()
    draws = np.random.default_rng(0).integers(len(logs), size=(RESAMPLES, len(logs)))
    low, high = np.exp(np.quantile(logs[draws].mean(axis=1), [0.025, 0.975]))
    return float(np.exp(logs.mean())), float(low), float(high)


def draw_errors(means: pd.DataFrame, path: Path) -> None:
    """A PNG of error against evaluations: a row a game, a column a number of frames, a line an estimator.

    Args:
      means: NMSE by the levels `CELL`, a column an estimator.
      path: the file, replaced if it exists.
    """
    with pictures.drawing({}):
        pictures.save(_picture(means), path, dpi=110)


def _picture(means: pd.DataFrame) -> Any:
    games, frames, budgets = (means.index.unique(name).sort_values() for name in CELL)
    figure_module = checks.require("matplotlib.figure", extra="plots")
    figure = figure_module.Figure(figsize=(2.6 * len(frames) + 2.2, 2.5 * len(games)), layout="constrained")
    axes = figure.subplots(len(games), len(frames), squeeze=False, sharex=True, sharey="row")
    markers = "os^vDPX<>"
    lines = {}
    for axis, (game, num_frames) in zip(axes.flat, [(g, t) for g in games for t in frames], strict=True):
        of_panel = means.query("game == @game and frames == @num_frames").droplevel(["game", "frames"])
        for position, name in enumerate(means):
            points = of_panel[name].dropna()
            (lines[name],) = axis.loglog(
                points.index,
                points,
                "-" if name in OURS else "--",
                marker=markers[position % len(markers)],
                ms=4,
                lw=2.5 if name == "recommended" else 1.2,
                color="black" if name == "recommended" else f"C{position}",
            )
        axis.set_title(f"{game}, T = {num_frames}")
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("evaluations")
        axis.set_xticks(budgets, map(str, budgets), rotation=45)
        axis.minorticks_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("NMSE")
    figure.legend(list(lines.values()), list(lines), loc="outside right center")
    return figure

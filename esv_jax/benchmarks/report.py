"""Tables and a picture of how far estimators are off, from the values of many runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from esv_jax import checks

RESAMPLES = 2000
# Float32's rounding is the floor of what can be told apart.
FLOOR = 1e-13
OURS = ("recommended", "regression", "stratified_paired", "orderings")


class Reference(NamedTuple):
    """Values [T] of a game to compare with, and their own NMSE (0 where exact)."""

    values: np.ndarray
    nmse: float


class Measured(NamedTuple):
    """A run: its cell, and its NMSE, seconds, and share of 95 % intervals that hold the reference (NaN: none)."""

    game: str
    frames: int
    evaluations: int
    estimator: str
    run: tuple[str, str]
    nmse: float
    seconds: float
    covered: float


Cell = tuple[str, int, int]


def measured(row: Sequence[str], references: Mapping[tuple[str, int, int], Reference]) -> Measured:
    """A line of runs.csv (game, frames, evaluations, estimator, instance, seed, seconds, values, std_errors)."""
    game, frames, evaluations, estimator, instance, seed, seconds, values, std_errors = row
    exact = references[game, int(frames), int(instance)].values
    error = np.array(values.split(), np.float64) - exact
    covered = np.nan
    if std_errors:
        covered = float((np.abs(error) <= 1.96 * np.array(std_errors.split(), np.float64) + 1e-6).mean())
    nmse = max(float((error**2).mean() / (exact**2).mean()), FLOOR)
    return Measured(game, int(frames), int(evaluations), estimator, (instance, seed), nmse, float(seconds), covered)


def write(rows: Sequence[Measured], out: Path) -> None:
    """Prints the tables, and writes table.md and errors.png to `out`."""
    cells: dict[Cell, dict[str, list[Measured]]] = {}
    for row in rows:
        cells.setdefault((row.game, row.frames, row.evaluations), {}).setdefault(row.estimator, []).append(row)
    names = sorted({row.estimator for row in rows}, key=lambda n: (n not in OURS, OURS.index(n) if n in OURS else 0, n))
    text = "\n".join(_table(cells, names))
    print(f"\n{text}")
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    _picture(cells, names, out / "errors.png")


def _mean(runs: Sequence[Measured]) -> float:
    return float(np.exp(np.mean([np.log(run.nmse) for run in runs])))


def _table(cells: dict[Cell, dict[str, list[Measured]]], names: Sequence[str]) -> list[str]:
    head = ["game", "T", "evaluations", *names, "recommended / best other [95 %]", "runs", "s", "95 % hold"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    ratios, tsn = [], []
    for (game, frames, evaluations), by_name in sorted(cells.items()):
        means = {name: _mean(runs) for name, runs in by_name.items()}
        best = min(means.values())
        shown = [
            f"{'**' if means[n] == best else ''}{means[n]:.2g}{'**' if means[n] == best else ''}" if n in means else "-"
            for n in names
        ]
        theirs = [name for name in means if name not in OURS]
        ratio, seconds, held, count = "", "", "", ""
        if "recommended" in means:
            mine = by_name["recommended"]
            count, seconds = str(len(mine)), f"{np.median([run.seconds for run in mine]):.2g}"
            held = f"{np.nanmean([run.covered for run in mine]):.0%}"
            if theirs:
                name = min(theirs, key=lambda n: means[n])
                found, low, high = paired_ratio(mine, by_name[name])
                ratio = f"{found:.2g} [{low:.2g}, {high:.2g}] {name}"
                ratios.append((found, low))
                tsn += [found] if game == "tsn" else []
        lines.append(
            "| " + " | ".join([game, str(frames), str(evaluations), *shown, ratio, count, seconds, held]) + " |"
        )
    if ratios:
        worse, beyond, half, tenth = (
            sum(chosen)
            for chosen in (
                [ratio > 1 for ratio, _ in ratios],
                [low > 1 for _, low in ratios],
                [ratio <= 0.5 for ratio, _ in ratios],
                [ratio <= 0.1 for ratio in tsn],
            )
        )
        lines.append("")
        lines.append(
            f"{len(ratios)} cells: `recommended` has more error than the best other in {worse} ({beyond} of them "
            f"beyond the noise), at most half of it in {half}; at most a tenth in {tenth} of {len(tsn)} TSN cells."
        )
    return lines


def paired_ratio(ours: Sequence[Measured], theirs: Sequence[Measured]) -> tuple[float, float, float]:
    """Ratio of geometric means over the runs that both have, with its 95 % interval by bootstrap over runs."""
    mine, other = ({run.run: run.nmse for run in runs} for runs in (ours, theirs))
    both = sorted(set(mine) & set(other))
    if not both:
        return (np.nan,) * 3
    logs = np.log([mine[run] / other[run] for run in both])
    draws = np.random.default_rng(0).integers(len(logs), size=(RESAMPLES, len(logs)))
    low, high = np.exp(np.quantile(logs[draws].mean(axis=1), [0.025, 0.975]))
    return float(np.exp(logs.mean())), float(low), float(high)


def _picture(cells: dict[Cell, dict[str, list[Measured]]], names: Sequence[str], path: Path) -> None:
    """Error against evaluations: a row a game, a column a number of frames, a line an estimator."""
    checks.require("matplotlib", extra="plots")
    from matplotlib.figure import Figure

    games, frames = sorted({k[0] for k in cells}), sorted({k[1] for k in cells})
    figure = Figure(figsize=(2.6 * len(frames) + 2.2, 2.5 * len(games)), layout="constrained")
    axes = figure.subplots(len(games), len(frames), squeeze=False, sharex=True, sharey="row")
    markers = "os^vDPX<>"
    lines = {}
    for axis, (game, num_frames) in zip(axes.flat, [(g, t) for g in games for t in frames], strict=True):
        for position, name in enumerate(names):
            points = [
                (k[2], _mean(by[name])) for k, by in sorted(cells.items()) if k[:2] == (game, num_frames) and name in by
            ]
            ours = name in OURS
            (lines[name],) = axis.loglog(
                [n for n, _ in points],
                [mean for _, mean in points],
                "-" if ours else "--",
                marker=markers[position % len(markers)],
                ms=4,
                lw=2.5 if name == "recommended" else 1.2,
                color="black" if name == "recommended" else f"C{position}",
            )
        axis.set_title(f"{game}, T = {num_frames}")
        axis.grid(alpha=0.3)
    budgets = sorted({k[2] for k in cells})
    for axis in axes[-1]:
        axis.set_xlabel("evaluations")
        axis.set_xticks(budgets, [str(n) for n in budgets], rotation=45)
        axis.minorticks_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("NMSE")
    figure.legend(list(lines.values()), list(lines), loc="outside right center")
    figure.savefig(path, dpi=110)

"""b. ESV against position."""

from typing import Any

import numpy as np
import pandas as pd

from esv_jax.analyses import charts, report
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject, short
from esv_jax.metrics import summary

_THIRDS = ("early", "middle", "late")
_SHOWN = (4, 8, 16)


def analyse(study: Study) -> Report:
    """Mean values for the true class by position, for every number of frames; by class, where positive ones lie."""
    rows = [
        (subject.name, count, i, *mean)
        for subject in study.subjects
        for count in subject.values
        for i, mean in enumerate(report.means(subject.esv_of(count, subject.label)))
    ]
    leanings = [row for subject in study.subjects for row in _leanings(subject, study.num_frames)]
    by_position = pd.DataFrame(rows, columns=["model", "num_frames", "position", *report.MEAN])
    by_class = pd.DataFrame(leanings, columns=["model", "class", *report.MEAN, *_THIRDS, "leans"])
    tables = {"b_position": by_position, "b_by_class": by_class}
    figures = {"b_position": lambda: _lines(by_position), "b_by_class": lambda: _places(by_class)}
    return Report(tables, figures, page(tables))


def page(tables: Tables) -> Tables:
    rows = []
    for model, mine in tables["b_by_class"].groupby("model", sort=False):
        for leaning in (*_THIRDS, "neither"):
            names = mine.loc[mine["leans"] == leaning, "class"]
            rows.append((model, leaning, len(names), "; ".join(names)))
    return {"leanings": pd.DataFrame(rows, columns=["model", "leans", "classes", "which"])}


def _leanings(subject: Subject, num_frames: int) -> list[tuple[Any, ...]]:
    """By class: the centre of the positive values, 0..1, and the share of positive values in each third of the clip.

    A class leans early or late where the interval of the centre is before or behind the middle; else to the middle,
    where that of the share in the middle third is above a third.
    """
    values = subject.esv_of(num_frames, subject.label)
    centre = summary.centre_of_mass(values)
    positive = np.maximum(values, 0).astype(np.float64)
    # How much of each frame's time lies in each third of the clip.
    edge, third = np.arange(num_frames + 1) / num_frames, np.arange(4) / 3
    begin, end = np.maximum(edge[:-1, None], third[None, :-1]), np.minimum(edge[1:, None], third[None, 1:])
    in_third = np.maximum(end - begin, 0) * num_frames
    total = positive.sum(axis=1, keepdims=True)
    of_clip = np.where(total > 0, positive @ in_third / np.where(total > 0, total, 1), 1 / 3)
    rows = []
    for c, name in enumerate(subject.classes):
        mine = subject.label == c
        if mine.any():
            found, shares = report.mean(centre[mine]), report.means(of_clip[mine])
            leans = "early" if found[2] < 0.5 else "late" if found[1] > 0.5 else "neither"
            leans = "middle" if leans == "neither" and shares[1][1] > 1 / 3 else leans
            rows.append((subject.name, name, *found, *(share[0] for share in shares), leans))
    return rows


def _lines(table: pd.DataFrame) -> Any:
    models = table.groupby("model", sort=False)
    counts = sorted(set(table["num_frames"]) & set(_SHOWN)) or sorted(set(table["num_frames"]))[-3:]
    figure, axes = charts.subplots(1, len(models), 2.6, sharey=True)
    for panel, (name, mine) in zip(axes[0], models, strict=True):
        for i, count in enumerate(counts):
            line = mine[mine["num_frames"] == count]
            x = (line["position"] + 0.5) / count
            panel.plot(x, line["mean"], label=f"{count} frames", **charts.style(i))
            charts.band(panel, x, line["low"], line["high"], i)
        panel.axhline(0, color=charts.INK, linewidth=0.5)
        panel.set(xlim=(0, 1), xlabel="position in the clip (0 start, 1 end)", title=name)
    axes[0, 0].set_ylabel("mean ESV for the true class\n(band: 95 % interval)")
    charts.legend(figure, axes)
    return figure


def _places(table: pd.DataFrame) -> Any:
    models = dict(list(table.groupby("model", sort=False)))
    order = list(list(models.values())[-1].sort_values(["mean", "class"])["class"])
    figure, axes = charts.subplots(1, 1, 0.9 + 0.19 * len(order))
    for i, (name, mine) in enumerate(models.items()):
        charts.dots(axes[0, 0], 0.15 * (0.5 - i) - mine["class"].map(order.index), mine, i, name)
    axes[0, 0].axvline(0.5, color=charts.INK, linewidth=0.6)
    axes[0, 0].set_yticks([-i for i in range(len(order))], [short(name) for name in order])
    axes[0, 0].set(xlim=(0, 1), xlabel="centre of the positive ESVs: 0 start, 1 end of the clip (95 % interval)")
    axes[0, 0].grid(axis="x", linewidth=0.3)
    charts.legend(figure, axes)
    return figure

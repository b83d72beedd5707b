"""a. Supporting and distracting frames."""

from typing import Any

import numpy as np
import pandas as pd

from esv_jax.analyses import charts, report
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import short
from esv_jax.metrics import summary


def analyse(study: Study) -> Report:
    """Share of frames with a positive value for the true class: of all clips, by right and wrong, by class."""
    rows = []
    for subject in study.subjects:
        share = summary.supporting_share(subject.esv_of(study.num_frames, subject.label))
        right = subject.right(study.num_frames)
        totals = {"all clips": np.full(len(share), True), "right": right, "wrong": ~right}
        groups = [("total", name, chosen) for name, chosen in totals.items()]
        groups += [("class", name, subject.label == c) for c, name in enumerate(subject.classes)]
        rows += [(subject.name, of, name, *report.mean(share[c])) for of, name, c in groups if c.any()]
    table = pd.DataFrame(rows, columns=["model", "of", "group", *report.MEAN])
    tables = {"a_supporting": table}
    return Report(tables, {"a_supporting": lambda: _figure(table)}, page(tables))


def page(tables: Tables) -> Tables:
    table = tables["a_supporting"]
    return {"supporting": report.pivot(table[table["of"] == "total"], "group", ["model"], "clips")}


def _figure(table: pd.DataFrame) -> Any:
    totals = [("total", name) for name in ("all clips", "right", "wrong")]
    classes = [("class", name) for name in sorted(set(table.loc[table["of"] == "class", "group"]))]
    place = {key: -i - (i > 2) * 0.6 for i, key in enumerate([*totals, *classes])}
    figure, axes = charts.subplots(1, 1, 0.9 + 0.19 * len(place))
    for i, (name, mine) in enumerate(table.groupby("model", sort=False)):
        y = np.array([place[key] for key in zip(mine["of"], mine["group"], strict=True)])
        charts.dots(axes[0, 0], y + 0.15 * (0.5 - i), mine, i, name)
    axes[0, 0].set_yticks(list(place.values()), [short(name) for _, name in place])
    axes[0, 0].set(xlim=(0, 1.02), xlabel="share of frames with positive ESV for the true class (95 % interval)")
    axes[0, 0].grid(axis="x", linewidth=0.3)
    charts.legend(figure, axes)
    return figure

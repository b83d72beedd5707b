"""a. Supporting and distracting frames."""

from typing import Any

import numpy as np

from esv_jax.analyses import charts
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject, short
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.metrics import bootstrap, summary

_COLUMNS = ("model", "of", "group", "mean", "low", "high", "videos")


def analyse(subjects: list[Subject], num_frames: int) -> Report:
    """Share of frames with a positive value for the true class: of all clips, by right and wrong, by class."""
    rows: list[tuple[Any, ...]] = []
    for subject in subjects:
        share = summary.supporting_share(subject.esv_of(num_frames, subject.label))
        right = subject.right(num_frames)
        totals = {"all clips": np.full(len(share), True), "right": right, "wrong": ~right}
        groups = [("total", name, chosen) for name, chosen in totals.items()]
        groups += [("class", name, subject.label == c) for c, name in enumerate(subject.classes)]
        for of, name, chosen in groups:
            if chosen.any():
                rows.append((subject.name, of, name, *with_interval(bootstrap.interval(share[chosen]))))
    table = Table(_COLUMNS, rows)
    return Report({"a_supporting": table}, {"a_supporting": lambda: _figure(table, subjects)})


def _figure(table: Table, subjects: list[Subject]) -> Any:
    totals = [("total", name) for name in ("all clips", "right", "wrong")]
    groups = [*totals, *(("class", name) for name in sorted(subjects[0].classes))]
    figure, axes = charts.subplots(1, 1, 0.9 + 0.19 * len(groups))
    place = {name: -i - (i > 2) * 0.6 for i, name in enumerate(groups)}
    for i, subject in enumerate(subjects):
        mine = table.where(model=subject.name)
        y = np.array([place[key] for key in zip(mine.column("of"), mine.column("group"), strict=True)]) + 0.15 * (
            0.5 - i
        )
        charts.dots(axes[0, 0], y, mine.numbers("mean"), mine.numbers("low"), mine.numbers("high"), i, subject.name)
    axes[0, 0].set_yticks(list(place.values()), [short(name) for _, name in place])
    axes[0, 0].set(xlim=(0, 1.02), xlabel="share of frames with positive ESV for the true class (95 % interval)")
    axes[0, 0].grid(axis="x", linewidth=0.3)
    figure.legend(loc="outside upper center", ncols=len(subjects))
    return figure

"""b. ESV against position."""

from typing import Any

import numpy as np

from esv_jax.analyses import charts
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject, short
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.metrics import bootstrap, summary

_THIRDS = ("early", "middle", "late")
_SHOWN = (4, 8, 16)


def analyse(subjects: list[Subject], num_frames: int) -> Report:
    """Mean values for the true class by position, for every number of frames; by class, where positive ones lie."""
    rows = []
    for subject in subjects:
        for count in subject.values:
            found = bootstrap.interval(subject.esv_of(count, subject.label))
            rows += [(subject.name, count, i, *with_interval(found, (i,))) for i in range(count)]
    by_position = Table(("model", "num_frames", "position", "mean", "low", "high", "videos"), rows)
    by_class = Table(
        ("model", "class", "mean", "low", "high", "videos", *_THIRDS, "leans"),
        [row for subject in subjects for row in _leanings(subject, num_frames)],
    )
    tables = {"b_position": by_position, "b_by_class": by_class}
    figures: dict[str, Any] = {
        "b_position": lambda: _lines(by_position, subjects),
        "b_by_class": lambda: _places(by_class, subjects),
    }
    return Report(tables, figures)


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
        if not mine.any():
            continue
        shares = [float(share) for share in of_clip[mine].mean(axis=0)]
        found = with_interval(bootstrap.interval(centre[mine]))
        middle = bootstrap.interval(of_clip[mine][:, 1])
        leans = "early" if found[2] < 0.5 else "late" if found[1] > 0.5 else "neither"
        leans = "middle" if leans == "neither" and middle.low > 1 / 3 else leans
        rows.append((subject.name, name, *found, *shares, leans))
    return rows


def _lines(table: Table, subjects: list[Subject]) -> Any:
    counts = [n for n in _SHOWN if n in subjects[0].values] or sorted(subjects[0].values)[-3:]
    figure, axes = charts.subplots(1, len(subjects), 2.6, sharey=True)
    for panel, subject in zip(axes[0], subjects, strict=True):
        for i, count in enumerate(counts):
            mine = table.where(model=subject.name, num_frames=count)
            x = (mine.numbers("position") + 0.5) / count
            panel.plot(x, mine.numbers("mean"), label=f"{count} frames", **charts.style(i))
            panel.fill_between(
                x, mine.numbers("low"), mine.numbers("high"), color=charts.COLOURS[i], alpha=0.18, linewidth=0
            )
        panel.axhline(0, color=charts.INK, linewidth=0.5)
        panel.set(xlim=(0, 1), xlabel="position in the clip (0 start, 1 end)", title=subject.name)
    axes[0, 0].set_ylabel("mean ESV for the true class\n(band: 95 % interval)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(counts))
    return figure


def _places(table: Table, subjects: list[Subject]) -> Any:
    last = table.where(model=subjects[-1].name)
    order = [name for _, name in sorted(zip(last.column("mean"), last.column("class"), strict=True))]
    figure, axes = charts.subplots(1, 1, 0.9 + 0.19 * len(order))
    for i, subject in enumerate(subjects):
        mine = table.where(model=subject.name)
        y = np.array([-order.index(name) for name in mine.column("class")]) + 0.15 * (0.5 - i)
        charts.dots(axes[0, 0], y, mine.numbers("mean"), mine.numbers("low"), mine.numbers("high"), i, subject.name)
    axes[0, 0].axvline(0.5, color=charts.INK, linewidth=0.6)
    axes[0, 0].set_yticks([-i for i in range(len(order))], [short(name) for name in order])
    axes[0, 0].set(xlim=(0, 1), xlabel="centre of the positive ESVs: 0 start, 1 end of the clip (95 % interval)")
    axes[0, 0].grid(axis="x", linewidth=0.3)
    figure.legend(loc="outside upper center", ncols=len(subjects))
    return figure

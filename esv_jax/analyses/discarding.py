"""e. Discarding frames."""

from typing import Any

import numpy as np

from esv_jax.analyses import charts
from esv_jax.analyses.methods import ESV, Methods, single_coalitions
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.explaining.worths import worths
from esv_jax.metrics import bootstrap, removal

_FIRST = {"highest": True, "lowest": False}


def analyse(subjects: list[Subject], methods: list[Methods], num_frames: int) -> Report:
    """Accuracy and score of the true class as frames go, by every method's values for the true class or the predicted.

    `methods` holds for every subject what `methods.attributions` gives.
    """
    curves: list[tuple[Any, ...]] = []
    areas: list[tuple[Any, ...]] = []
    dropped: list[tuple[Any, ...]] = []
    for subject, values in zip(subjects, methods, strict=True):
        for i, ranked_by in enumerate(("true", "predicted")):
            of_class = {name: v[..., i] for name, v in values.items()}
            scores = _scores_left(subject, num_frames, of_class)
            for (name, first), left in scores.items():
                # left [B, T, C]: the scores once 0 .. T - 1 frames are gone.
                per_video = {
                    "accuracy": removal.is_right(left, subject.label).astype(np.float64),
                    "score of the true class": removal.of_class(left, subject.label),
                }
                for measure, curve in per_video.items():
                    mean = bootstrap.interval(curve)
                    key = (subject.name, ranked_by, name, first, measure)
                    curves += [(*key, gone, *with_interval(mean, (gone,))) for gone in range(num_frames)]
                    areas.append((*key, *with_interval(bootstrap.interval(removal.area(curve)))))
            dropped += _without_distracting(subject, num_frames, ranked_by, of_class)
    key_columns = ("model", "ranked_by", "method", "first", "measure")
    tables = {
        "e_curves": Table((*key_columns, "removed", "mean", "low", "high", "videos"), curves),
        "e_areas": Table((*key_columns, "mean", "low", "high", "videos"), areas),
        "e_dropped": Table(
            ("model", "ranked_by", "method", "accuracy_all", "accuracy_kept", "gain", "low", "high", "frames_kept"),
            dropped,
        ),
    }
    figures: dict[str, Any] = {
        "e_accuracy": lambda: _figure(tables["e_curves"], subjects, list(methods[0]), "accuracy"),
        "e_score": lambda: _figure(tables["e_curves"], subjects, list(methods[0]), "score of the true class"),
    }
    return Report(tables, figures)


def _scores_left(subject: Subject, num_frames: int, of_class: Methods) -> dict[tuple[str, str], np.ndarray]:
    """By method and direction: the scores [B, T, C] once 0 .. T - 1 frames are gone, all in one program."""
    orders = {
        (name, first): removal.kept(removal.order(v, highest_first=highest))
        for name, v in of_class.items()
        for first, highest in _FIRST.items()
    }
    found = _worths(subject, num_frames, np.concatenate(list(orders.values()), axis=1))
    return dict(zip(orders, np.split(found, len(orders), axis=1), strict=True))


def _without_distracting(subject: Subject, num_frames: int, ranked_by: str, of_class: Methods) -> list[tuple[Any, ...]]:
    """What dropping all frames of negative value does to the accuracy."""
    kept = np.stack([removal.supporting(v) for v in of_class.values()], axis=1)
    right = removal.is_right(_worths(subject, num_frames, kept), subject.label).astype(np.float64)
    before = subject.right(num_frames).astype(np.float64)
    gain = bootstrap.interval(right - before[:, None])
    return [
        (
            *(subject.name, ranked_by, name, float(before.mean()), float(right[:, i].mean())),
            *with_interval(gain, (i,))[:3],
            float(kept[:, i].sum(axis=1).mean()),
        )
        for i, name in enumerate(of_class)
    ]


def _worths(subject: Subject, num_frames: int, inside: np.ndarray) -> np.ndarray:
    game, variables = single_coalitions(subject)
    return np.asarray(worths(game, variables, subject.features[num_frames], inside))


def _figure(table: Table, subjects: list[Subject], names: list[str], measure: str) -> Any:
    figure, axes = charts.subplots(len(subjects), 2, 1.0 + 2.1 * len(subjects), sharex=True, sharey="row")
    for row, subject in zip(axes, subjects, strict=True):
        for panel, first in zip(row, _FIRST, strict=True):
            for i, name in enumerate(names):
                mine = table.where(model=subject.name, ranked_by="true", method=name, first=first, measure=measure)
                look = charts.style(i) | ({"linewidth": 2.2} if name == ESV else {"linewidth": 1.0})
                panel.plot(mine.numbers("removed"), mine.numbers("mean"), label=name, **look)
                if name == ESV:
                    low, high = mine.numbers("low"), mine.numbers("high")
                    panel.fill_between(mine.numbers("removed"), low, high, color=look["color"], alpha=0.15, lw=0)
            panel.set_title(f"{subject.name}, {first} first")
        row[0].set_ylabel(f"{measure}\n(band: 95 % interval of ESV)")
    for panel in axes[-1]:
        panel.set_xlabel("frames removed")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure

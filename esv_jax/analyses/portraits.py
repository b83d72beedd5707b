"""Clips as pictures: their frames above what was attributed to them."""

from typing import Any

import numpy as np
import pandas as pd

from esv_jax.analyses import charts, mistakes
from esv_jax.analyses.report import Report
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject, short
from esv_jax.checks import require
from esv_jax.results.panels import DISTRACTING, SUPPORTING

_PICTURES = 4


def analyse(study: Study) -> Report:
    """Clips of the last model, of different classes, whose frames can be read.

    Of such that it is right about: all frames with their values for the true class, the most and the least supporting
    framed. Of misclassified ones, the surest first: their values for the true class, the predicted one and the
    runner-up.
    """
    subject, num_frames = study.subjects[-1], study.num_frames
    if not subject.can_show_frames():
        return Report({})
    score, right = subject.values[num_frames].score, subject.right(num_frames)
    surest_first = np.argsort(-score.max(axis=1), kind="stable")
    shown = _of_different_classes(subject, np.flatnonzero(right))
    misled = _of_different_classes(subject, surest_first[~right[surest_first]])[:3]
    tables = {
        "a_frames": _values(subject, num_frames, shown, {"true": subject.label}).drop(columns="role"),
        "d_clips": _values(subject, num_frames, misled, mistakes.roles(subject, num_frames)),
    }
    figures: dict[str, Any] = {
        "a_frames": lambda: _supporting(subject, num_frames, shown),
        "d_clips": lambda: _misled(subject, num_frames, misled),
    }
    return Report(tables, {name: draw for name, draw in figures.items() if len(tables[name])})


def _of_different_classes(subject: Subject, videos: np.ndarray) -> np.ndarray:
    """The first video of each class, at most four."""
    _, first = np.unique(subject.label[videos], return_index=True)
    chosen = videos[np.sort(first)]
    step = max(1, len(chosen) // _PICTURES)
    return chosen[::step][:_PICTURES]


def _values(subject: Subject, num_frames: int, videos: np.ndarray, roles: dict[str, np.ndarray]) -> pd.DataFrame:
    """The values of every frame for the classes by role."""
    rows = [
        (subject.uid[v], role, subject.classes[which[v]], frame, value)
        for v in videos
        for role, which in roles.items()
        for frame, value in zip(
            subject.values[num_frames].frame_index[v].tolist(),
            subject.esv_of(num_frames, which)[v].tolist(),
            strict=True,
        )
    ]
    return pd.DataFrame(rows, columns=["clip", "role", "class", "frame", "esv"])


def _supporting(subject: Subject, num_frames: int, videos: np.ndarray) -> Any:
    patches = require("matplotlib.patches", extra="plots")
    figure, axes = charts.subplots(len(videos), 1, 1.2 * len(videos))
    for panel, v in zip(axes[:, 0], videos, strict=True):
        _strip(panel, subject.frames(num_frames, v))
        label, values = subject.label[v], subject.esv_of(num_frames, subject.label)[v]
        marks = {int(values.argmax()): (" ▲", SUPPORTING), int(values.argmin()): (" ▼", DISTRACTING)}
        for i, (_, colour) in marks.items():
            panel.add_patch(patches.Rectangle((i - 0.46, 0), 0.92, 1, fill=False, edgecolor=colour, linewidth=2.5))
        words = [f"{x:+.3f}".replace("-", "\N{MINUS SIGN}") + marks.get(i, ("", ""))[0] for i, x in enumerate(values)]
        panel.set_xticks(range(len(values)), words)
        panel.tick_params(axis="x", length=0)
        score = subject.values[num_frames].score[v, label]
        panel.set_title(f"{short(subject.classes[label])}: score {score:.2f}, ESVs of {subject.name}", loc="left")
    return figure


def _misled(subject: Subject, num_frames: int, videos: np.ndarray) -> Any:
    roles, score = mistakes.roles(subject, num_frames), subject.values[num_frames].score
    figure, axes = charts.subplots(2 * len(videos), 1, 2.15 * len(videos), height_ratios=[1, 1.2] * len(videos))
    for pictures, bars, v in zip(axes[::2, 0], axes[1::2, 0], videos, strict=True):
        _strip(pictures, subject.frames(num_frames, v))
        named = [f"{role}: {short(subject.classes[c[v]])} ({score[v, c[v]]:.2f})" for role, c in roles.items()]
        pictures.set_title(f"{named[0]}; {named[1]}\n{named[2]}", loc="left")
        for i, (role, which) in enumerate(roles.items()):
            x, values = np.arange(num_frames) + 0.27 * (i - 1), subject.esv_of(num_frames, which)[v]
            bars.bar(x, values, 0.25, color=charts.COLOURS[i], hatch=("", "", "////")[i], label=role)
        bars.axhline(0, color=charts.INK, linewidth=0.6)
        bars.set(xlim=(-0.5, num_frames - 0.5), ylabel="ESV")
        bars.set_xticks(range(num_frames), [str(f) for f in subject.values[num_frames].frame_index[v]])
    axes[-1, 0].set_xlabel("frame of the clip")
    charts.legend(figure, axes[1:])
    return figure


def _strip(axes: Any, images: np.ndarray) -> None:
    for i, image in enumerate(images):
        axes.imshow(image, extent=(i - 0.46, i + 0.46, 0, 1), aspect="auto", origin="upper")
    axes.set(xlim=(-0.5, len(images) - 0.5), ylim=(-0.03, 1.03), yticks=[], xticks=[])
    axes.spines[:].set_visible(False)

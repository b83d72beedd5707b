"""Clips as pictures: their frames above what was attributed to them."""

from typing import Any

import numpy as np

from esv_jax.analyses import charts
from esv_jax.analyses.methods import frames_of
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject, short
from esv_jax.analyses.tables import Table
from esv_jax.checks import require
from esv_jax.metrics import summary

SUPPORTING, DISTRACTING = "#0072B2", "#E69F00"
_PICTURES = 4


def most_and_least(subject: Subject, num_frames: int) -> Report:
    """Of clips that the model is right about, of different classes: all frames with their values for the true class,
    the most and the least supporting framed."""
    videos = _of_different_classes(subject, np.flatnonzero(subject.right(num_frames)))
    values = subject.esv_of(num_frames, subject.label)
    rows = [
        (subject.uid[v], subject.classes[subject.label[v]], int(frame), float(value))
        for v in videos
        for frame, value in zip(subject.values[num_frames].frame_index[v], values[v], strict=True)
    ]
    table = Table(("clip", "class", "frame", "esv"), rows)

    def draw() -> Any:
        figure, axes = charts.subplots(len(videos), 1, 1.2 * len(videos))
        for strip, v in zip(axes[:, 0], videos, strict=True):
            _most_and_least(strip, subject, num_frames, int(v), values[v])
        return figure

    return Report({"a_frames": table}, {"a_frames": draw})


def misled(subject: Subject, num_frames: int) -> Report:
    """Of misclassified clips: the frames, and their values for the true class, the predicted one and the runner-up."""
    score = subject.values[num_frames].score
    predicted, other = score.argmax(axis=1), summary.best_besides(score, subject.label)
    wrong = np.flatnonzero(predicted != subject.label)
    # The surest of the mistakes first.
    wrong = wrong[np.argsort(-score[wrong, predicted[wrong]], kind="stable")]
    videos = _of_different_classes(subject, wrong)[:3]
    roles = {"true": subject.label, "predicted": predicted, "runner-up": other}
    rows = [
        (subject.uid[v], role, subject.classes[which[v]], int(frame), float(value))
        for v in videos
        for role, which in roles.items()
        for frame, value in zip(
            subject.values[num_frames].frame_index[v], subject.esv_of(num_frames, which)[v], strict=True
        )
    ]
    table = Table(("clip", "role", "class", "frame", "esv"), rows)
    if not len(videos):
        return Report({"d_clips": table})

    def draw() -> Any:
        figure, axes = charts.subplots(2 * len(videos), 1, 2.15 * len(videos), height_ratios=[1, 1.2] * len(videos))
        for n, v in enumerate(videos):
            pictures, bars = axes[2 * n, 0], axes[2 * n + 1, 0]
            _strip(pictures, frames_of(subject, num_frames, int(v)))
            named = [f"{role}: {short(subject.classes[c[v]])} ({score[v, c[v]]:.2f})" for role, c in roles.items()]
            pictures.set_title(f"{named[0]}; {named[1]}\n{named[2]}", loc="left")
            for i, (role, which) in enumerate(roles.items()):
                x = np.arange(num_frames) + 0.27 * (i - 1)
                values = subject.esv_of(num_frames, which)[v]
                bars.bar(x, values, 0.25, color=charts.COLOURS[i], hatch=("", "", "////")[i], label=role)
            bars.axhline(0, color=charts.INK, linewidth=0.6)
            bars.set(xlim=(-0.5, num_frames - 0.5), ylabel="ESV")
            bars.set_xticks(range(num_frames), [str(f) for f in subject.values[num_frames].frame_index[v]])
        axes[-1, 0].set_xlabel("frame of the clip")
        figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(roles))
        return figure

    return Report({"d_clips": table}, {"d_clips": draw})


def _of_different_classes(subject: Subject, videos: np.ndarray) -> np.ndarray:
    """The first video of each class, at most four."""
    _, first = np.unique(subject.label[videos], return_index=True)
    chosen = videos[np.sort(first)]
    step = max(1, len(chosen) // _PICTURES)
    return chosen[::step][:_PICTURES]


def _strip(axes: Any, images: np.ndarray) -> None:
    for i, image in enumerate(images):
        axes.imshow(image, extent=(i - 0.46, i + 0.46, 0, 1), aspect="auto")
    axes.set(xlim=(-0.5, len(images) - 0.5), ylim=(-0.03, 1.03), yticks=[], xticks=[])
    axes.spines[:].set_visible(False)


def _most_and_least(axes: Any, subject: Subject, num_frames: int, video: int, values: np.ndarray) -> None:
    _strip(axes, frames_of(subject, num_frames, video))
    patches = require("matplotlib.patches", extra="plots")
    marks = {int(values.argmax()): (" ▲", SUPPORTING), int(values.argmin()): (" ▼", DISTRACTING)}
    for i, (_, colour) in marks.items():
        axes.add_patch(patches.Rectangle((i - 0.46, 0), 0.92, 1, fill=False, edgecolor=colour, linewidth=2.5))
    words = [f"{v:+.3f}".replace("-", "\N{MINUS SIGN}") + marks.get(i, ("", ""))[0] for i, v in enumerate(values)]
    axes.set_xticks(range(len(values)), words)
    axes.tick_params(axis="x", length=0)
    label = subject.label[video]
    score = subject.values[num_frames].score[video, label]
    axes.set_title(f"{short(subject.classes[label])}: score {score:.2f}, ESVs of {subject.name}", loc="left")

"""Clips as pictures: their frames above what was attributed to them."""

from typing import Any

import numpy as np

from esv_jax.analyses import charts
from esv_jax.analyses.methods import frames_of
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject, short
from esv_jax.analyses.tables import Table
from esv_jax.evaluation import summary

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
    figure, axes = charts.subplots(len(videos), num_frames, 1.12 * len(videos))
    for row, v in zip(axes, videos, strict=True):
        _strip(row, subject, num_frames, int(v), values[v])
    return Report({"a_frames": table}, {"a_frames": figure})


def misled(subject: Subject, num_frames: int) -> Report:
    """Of misclassified clips: the frames, and their values for the true class, the predicted one and the runner-up."""
    score = subject.values[num_frames].score
    predicted, second = score.argmax(axis=1), summary.runner_up(score)
    wrong = np.flatnonzero(predicted != subject.label)
    # The surest of the mistakes first.
    wrong = wrong[np.argsort(-score[wrong, predicted[wrong]], kind="stable")]
    videos = _of_different_classes(subject, wrong)[:3]
    roles = {"true": subject.label, "predicted": predicted, "runner-up": second}
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
    figure, axes = charts.subplots(2 * len(videos), 1, 2.3 * len(videos), height_ratios=[1, 1.3] * len(videos))
    for n, v in enumerate(videos):
        pictures, bars = axes[2 * n, 0], axes[2 * n + 1, 0]
        images = frames_of(subject, num_frames, int(v))
        pictures.imshow(np.concatenate(list(images), axis=1), extent=(-0.5, num_frames - 0.5, 0, 1), aspect="auto")
        pictures.set_axis_off()
        for i, (role, which) in enumerate(roles.items()):
            same = role == "runner-up" and second[v] == subject.label[v]
            name = f"{role}{' = true' if same else ''}: {short(subject.classes[which[v]])}, {score[v, which[v]]:.2f}"
            x = np.arange(num_frames) + 0.27 * (i - 1)
            hatch = ("", "", "////")[i]
            bars.bar(x, subject.esv_of(num_frames, which)[v], 0.25, color=charts.COLOURS[i], hatch=hatch, label=name)
        bars.axhline(0, color=charts.INK, linewidth=0.6)
        bars.set(xlim=(-0.5, num_frames - 0.5), ylabel="ESV")
        bars.set_xticks(range(num_frames), [str(f) for f in subject.values[num_frames].frame_index[v]])
        bars.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    return Report({"d_clips": table}, {"d_clips": figure})


def _of_different_classes(subject: Subject, videos: np.ndarray) -> np.ndarray:
    """The first video of each class, at most four."""
    _, first = np.unique(subject.label[videos], return_index=True)
    chosen = videos[np.sort(first)]
    step = max(1, len(chosen) // _PICTURES)
    return chosen[::step][:_PICTURES]


def _strip(axes: Any, subject: Subject, num_frames: int, video: int, values: np.ndarray) -> None:
    images = frames_of(subject, num_frames, video)
    for i, (place, image) in enumerate(zip(axes, images, strict=True)):
        place.imshow(image)
        place.set(xticks=[], yticks=[])
        most, least = i == values.argmax(), i == values.argmin()
        colour = SUPPORTING if most else DISTRACTING if least else charts.FAINT
        for spine in place.spines.values():
            spine.set(visible=most or least, color=colour, linewidth=2.2)
        mark = " ▲" if most else " ▼" if least else ""
        place.set_xlabel(f"{values[i]:+.3f}{mark}".replace("-", "\N{MINUS SIGN}"), color=charts.INK)
    score = subject.values[num_frames].score[video, subject.label[video]]
    axes[0].set_title(
        f"{short(subject.classes[subject.label[video]])}: ESVs of {subject.name}, score {score:.2f}", loc="left"
    )

"""c. ESV against the number of frames shown."""

from typing import Any

import numpy as np
import pandas as pd

from esv_jax.analyses import charts, report
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject, short
from esv_jax.metrics import agreement, removal, summary

_PLACES = 64  # of a clip, at which values of different numbers of frames are compared
_ON_PAGE = (1, 2, 3, 4, 6, 8, 12, 16)
_SCORE, _SHARE = "score of the true class", "share of positive ESV"
_LARGEST, _SMALLEST = "largest ESV", "smallest ESV"
_CHANGED = "prediction changed by the last frame added"


def analyse(study: Study) -> Report:
    """How score, prediction and values move with the number of frames: over all clips, and for one of them."""
    rows = []
    for subject in study.subjects:
        for n in sorted(subject.values):
            for measure, per_video in _measures(subject, n).items():
                if len(per_video):
                    quartiles = np.percentile(per_video, [25, 50, 75]).tolist()
                    rows.append((subject.name, n, measure, *report.mean(per_video), *quartiles))
    columns = ["model", "num_frames", "measure", *report.MEAN, "quartile_1", "median", "quartile_3"]
    table, video = pd.DataFrame(rows, columns=columns), _video_to_show(study)
    tables = {"c_lengths": table, "c_clip": _of_video(study.subjects, video)}
    figures = {"c_lengths": lambda: _distributions(table), "c_clip": lambda: _picture(study.subjects, video)}
    return Report(tables, figures, page(tables))


def page(tables: Tables) -> Tables:
    table = tables["c_lengths"]
    shown = table[table["num_frames"].isin(_ON_PAGE) & table["measure"].isin([_SCORE, _SHARE, _CHANGED])]
    return {"lengths": report.pivot(shown, "num_frames", ["model", "measure"], "frames shown")}


def _measures(subject: Subject, n: int) -> dict[str, np.ndarray]:
    """Of n frames shown, by name: float64 [B]; correlations only of the videos that have one."""
    values, score = subject.esv_of(n, subject.label), subject.values[n].score
    measures = {
        _SCORE: removal.of_class(score, subject.label),
        "accuracy": subject.right(n),
        _LARGEST: values.max(axis=1),
        _SMALLEST: values.min(axis=1),
        _SHARE: summary.supporting_share(values),
    }
    if n - 1 in subject.values:
        measures[_CHANGED] = score.argmax(axis=1) != subject.values[n - 1].score.argmax(axis=1)
        same = agreement.pearson(_profile(values), _profile(subject.esv_of(n - 1, subject.label)))
        measures["correlation with one frame less"] = same[np.isfinite(same)]
    return {name: np.asarray(per_video, np.float64) for name, per_video in measures.items()}


def _profile(values: np.ndarray) -> np.ndarray:
    """Values [B, T] as steps over time [B, 64], of the same integral."""
    num_frames = values.shape[1]
    frame = (np.arange(_PLACES) + 0.5) * num_frames // _PLACES
    return values[:, frame.astype(np.int64)] * num_frames


def _video_to_show(study: Study) -> int:
    """The first video that all models are right about, or the last of them is."""
    right = np.stack([subject.right(study.num_frames) for subject in study.subjects])
    return int((right.all(axis=0) if right.all(axis=0).any() else right[-1]).argmax())


def _of_video(subjects: list[Subject], video: int) -> pd.DataFrame:
    rows = [
        (subject.name, subject.uid[video], n, frame, value, found.score[video, subject.label[video]].item(), predicted)
        for subject in subjects
        for n, found in sorted(subject.values.items())
        for predicted in [subject.classes[found.score[video].argmax()]]
        for frame, value in zip(
            found.frame_index[video].tolist(), found.esv[video, :, subject.label[video]].tolist(), strict=True
        )
    ]
    return pd.DataFrame(rows, columns=["model", "clip", "num_frames", "frame", "esv", "score", "predicted"])


def _distributions(table: pd.DataFrame) -> Any:
    figure, axes = charts.subplots(1, 3, 2.5)
    panels = (
        (_SCORE, ("quartile_1", "quartile_3"), "score of the true class\n(band: middle half of clips)"),
        (_LARGEST, ("quartile_1", "quartile_3"), "largest, smallest (dotted) ESV\n(band: middle half of clips)"),
        (_CHANGED, ("low", "high"), "share of clips whose prediction\nchanges (band: 95 % interval)"),
    )
    for panel, (measure, (low, high), label) in zip(axes[0], panels, strict=True):
        for i, (name, mine) in enumerate(table.groupby("model", sort=False)):
            look = charts.style(i) | {"markersize": 2.5, "linestyle": "-"}
            line = mine[mine["measure"] == measure]
            panel.plot(line["num_frames"], line["mean"], label=name, **look)
            charts.band(panel, line["num_frames"], line[low], line[high], i)
            if measure == _LARGEST:
                line = mine[mine["measure"] == _SMALLEST]
                panel.plot(line["num_frames"], line["mean"], **(look | {"linestyle": ":"}))
        panel.set(xlabel="frames shown", ylabel=label)
    axes[0, 1].axhline(0, color=charts.INK, linewidth=0.5)
    charts.legend(figure, axes)
    return figure


def _picture(subjects: list[Subject], video: int) -> Any:
    figure, axes = charts.subplots(1, len(subjects), 3.1, sharey=True)
    length, label = subjects[0].num_frames_in_video[video], subjects[0].label[video]
    for panel, subject in zip(axes[0], subjects, strict=True):
        counts = sorted(subject.values)
        rows = np.concatenate([_profile(subject.values[n].esv[video, None, :, label]) / n for n in counts])
        most = np.abs(rows).max()
        extent = (0, length, counts[-1] + 0.5, counts[0] - 0.5)
        look = {"vmin": -most, "vmax": most, "interpolation": "nearest", "cmap": "RdBu"}
        image = panel.imshow(rows, aspect="auto", extent=extent, **look)
        for n in counts:
            found = subject.values[n]
            panel.plot(found.frame_index[video] + 0.5, [n] * n, ".", color=charts.INK, markersize=1.2)
            words = f"{found.score[video, label]:.2f}{'' if found.score[video].argmax() == label else ' ✗'}"
            panel.text(length * 1.01, n, words, va="center", size=6)
        panel.set(xlabel="frame of the clip", title=subject.name)
        figure.colorbar(image, ax=panel, location="bottom", label="ESV for the true class", aspect=30, pad=0.02)
    axes[0, 0].set_ylabel("frames shown (right: score, ✗ = wrong)")
    figure.suptitle(f"{subjects[0].uid[video]}: {short(subjects[0].classes[label])}", size=8)
    return figure

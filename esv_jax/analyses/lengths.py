"""c. ESV against the number of frames shown."""

from typing import Any

import numpy as np

from esv_jax.analyses import charts
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject, short
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.metrics import agreement, bootstrap, summary

_PLACES = 64  # of a clip, at which values of different numbers of frames are compared


def analyse(subjects: list[Subject], chosen: int) -> Report:
    """How score, prediction and values move with the number of frames: over all clips, and for clip `chosen`."""
    rows: list[tuple[Any, ...]] = []
    for subject in subjects:
        counts = sorted(subject.values)
        profiles = {n: _profile(subject.esv_of(n, subject.label)) for n in counts}
        for n in counts:
            values = subject.esv_of(n, subject.label)
            score = np.take_along_axis(subject.values[n].score, subject.label[:, None], axis=1)[:, 0]
            measures = {
                "score of the true class": score,
                "accuracy": subject.right(n),
                "largest ESV": values.max(axis=1),
                "smallest ESV": values.min(axis=1),
                "share of positive ESV": summary.supporting_share(values),
            }
            if n - 1 in subject.values:
                before = subject.values[n - 1].score.argmax(axis=1)
                measures["prediction changed by the last frame added"] = (
                    subject.values[n].score.argmax(axis=1) != before
                )
                same = agreement.pearson(profiles[n], profiles[n - 1])
                measures["correlation with one frame less"] = same[np.isfinite(same)]
            for name, per_video in measures.items():
                per_video = np.asarray(per_video, np.float64)
                if len(per_video):
                    found = bootstrap.interval(per_video)
                    quartiles = np.percentile(per_video, [25, 50, 75]).tolist()
                    rows.append((subject.name, n, name, *with_interval(found), *quartiles))
    columns = ("model", "num_frames", "measure", "mean", "low", "high", "videos", "quartile_1", "median", "quartile_3")
    table = Table(columns, rows)
    clip = _of_clip(subjects, chosen)
    return Report(
        {"c_lengths": table, "c_clip": clip},
        {"c_lengths": lambda: _distributions(table, subjects), "c_clip": lambda: _picture(subjects, chosen)},
    )


def _profile(values: np.ndarray) -> np.ndarray:
    """Values [B, T] as steps over time [B, 64], of the same integral."""
    num_frames = values.shape[1]
    frame = (np.arange(_PLACES) + 0.5) * num_frames // _PLACES
    return values[:, frame.astype(np.int64)] * num_frames


def _of_clip(subjects: list[Subject], chosen: int) -> Table:
    rows = []
    for subject in subjects:
        for n, found in sorted(subject.values.items()):
            true = subject.label[chosen]
            predicted = subject.classes[found.score[chosen].argmax()]
            for frame, value in zip(found.frame_index[chosen], found.esv[chosen, :, true], strict=True):
                score = float(found.score[chosen, true])
                rows.append((subject.name, subject.uid[chosen], n, int(frame), float(value), score, predicted))
    return Table(("model", "clip", "num_frames", "frame", "esv", "score", "predicted"), rows)


def _distributions(table: Table, subjects: list[Subject]) -> Any:
    figure, axes = charts.subplots(1, 3, 2.5)
    panels = (
        ("score of the true class", "score of the true class\n(band: middle half of clips)"),
        ("largest ESV", "largest, smallest (dotted) ESV\n(band: middle half of clips)"),
        (
            "prediction changed by the last frame added",
            "share of clips whose prediction\nchanges (band: 95 % interval)",
        ),
    )
    for panel, (measure, label) in zip(axes[0], panels, strict=True):
        for i, subject in enumerate(subjects):
            mine = table.where(model=subject.name, measure=measure)
            look = charts.style(i) | {"markersize": 2.5, "linestyle": "-"}
            panel.plot(mine.numbers("num_frames"), mine.numbers("mean"), label=subject.name, **look)
            low, high = ("low", "high") if measure.startswith("prediction") else ("quartile_1", "quartile_3")
            panel.fill_between(
                mine.numbers("num_frames"), mine.numbers(low), mine.numbers(high), color=look["color"], alpha=0.15, lw=0
            )
            if measure == "largest ESV":
                least = table.where(model=subject.name, measure="smallest ESV")
                panel.plot(least.numbers("num_frames"), least.numbers("mean"), **(look | {"linestyle": ":"}))
        panel.set(xlabel="frames shown", ylabel=label)
    axes[0, 1].axhline(0, color=charts.INK, linewidth=0.5)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(subjects))
    return figure


def _picture(subjects: list[Subject], chosen: int) -> Any:
    figure, axes = charts.subplots(1, len(subjects), 3.1, sharey=True)
    length = subjects[0].num_frames_in_video[chosen]
    for panel, subject in zip(axes[0], subjects, strict=True):
        counts = sorted(subject.values)
        rows = np.stack(
            [_profile(subject.values[n].esv[chosen, :, subject.label[chosen]][None])[0] / n for n in counts]
        )
        most = np.abs(rows).max()
        extent = (0, length, counts[-1] + 0.5, counts[0] - 0.5)
        image = panel.imshow(
            rows, aspect="auto", extent=extent, vmin=-most, vmax=most, interpolation="nearest", cmap="RdBu"
        )
        for n in counts:
            found = subject.values[n]
            right = found.score[chosen].argmax() == subject.label[chosen]
            panel.plot(found.frame_index[chosen] + 0.5, [n] * n, ".", color=charts.INK, markersize=1.2)
            words = f"{found.score[chosen, subject.label[chosen]]:.2f}{'' if right else ' ✗'}"
            panel.text(length * 1.01, n, words, va="center", size=6)
        panel.set(xlabel="frame of the clip", title=subject.name)
        figure.colorbar(image, ax=panel, location="bottom", label="ESV for the true class", aspect=30, pad=0.02)
    axes[0, 0].set_ylabel("frames shown (right: score, ✗ = wrong)")
    figure.suptitle(f"{subjects[0].uid[chosen]}: {short(subjects[0].classes[subjects[0].label[chosen]])}", size=8)
    return figure

"""Are they right? Attributions against the frames that are known to carry the evidence."""

import os
from typing import Any

import numpy as np

from esv_jax import files
from esv_jax.analyses import charts
from esv_jax.analyses.methods import Methods
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject, short, video_number
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.checks import InputError
from esv_jax.metrics import bootstrap, evidence

_SIGNED, _ABSOLUTE = "signed", "absolute"
# Evidence lies in the middle of most clips, and values have their own profile over positions: how much better a clip's
# own values find its evidence than the values of other clips do.
BEYOND_POSITION = "AUROC - other clips"
NEARNESS = "near the middle"


def read_evidence(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Of every clip the numbers of the frames with evidence, of the file that `experiments.make_videos` writes.

    Raises:
      InputError: it cannot be read, or is not such a file.
    """
    content = files.read_json(path)
    try:
        return {name: np.array(entry["evidence"], np.int64) for name, entry in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the evidence {path} cannot be read: {error}") from error


def masks(subject: Subject, num_frames: int, recorded: dict[str, np.ndarray]) -> np.ndarray:
    """Which of the frames shown carry the evidence, bool [B, T].

    Raises:
      InputError: nothing is recorded of a video.
    """
    names = [video_number(path) for path in subject.path]
    missing = [name for name in names if name not in recorded]
    if missing:
        raise InputError(f"the evidence should be recorded of all videos, found none of {missing[0]}")
    frames = subject.values[num_frames].frame_index
    return np.stack([np.isin(row, recorded[name]) for row, name in zip(frames, names, strict=True)])


def measures(values: np.ndarray, mask: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """By kind of ranking and measure: float64 [B], NaN where there is nothing to tell apart. Values [B, T]."""
    chance = evidence.chance_mass(mask)
    found = {}
    for kind, ranked, mass in (
        (_SIGNED, values, np.maximum(values, 0)),
        (_ABSOLUTE, np.abs(values), np.abs(values)),
    ):
        found[kind, "AUROC"] = evidence.auroc(ranked, mask)
        found[kind, BEYOND_POSITION] = found[kind, "AUROC"] - _of_other_clips(ranked, mask)
        found[kind, "average precision"] = evidence.average_precision(ranked, mask)
        # A method without positive values puts none of them on the evidence, and none elsewhere: chance.
        inside = evidence.mass_inside(mass, mask)
        found[kind, "mass inside"] = np.where(np.isnan(inside), chance, inside)
        found[kind, "mass inside - chance"] = found[kind, "mass inside"] - chance
    return found


def _of_other_clips(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """For every clip the area under ROC of the other clips' values against its mask, their mean, float64 [B].

    That of its own values where there is no other clip.
    """
    own = evidence.auroc(values, mask)
    if len(mask) == 1:
        return own
    total = np.array([evidence.auroc(values, of_clip[None]).sum() for of_clip in mask])
    return (total - own) / (len(mask) - 1)


def analyse(
    subjects: list[Subject], methods: list[Methods], num_frames: int, recorded: dict[str, np.ndarray]
) -> Report:
    """How well every method's values for the true class find the evidence, in clips that the model is right about.

    Beside them what a frame's nearness to the middle of the clip finds, which asks no model.
    """
    overall: list[tuple[Any, ...]] = []
    by_class: list[tuple[Any, ...]] = []
    for subject, values in zip(subjects, methods, strict=True):
        mask = masks(subject, num_frames, recorded)
        defined = np.isfinite(evidence.chance_mass(mask)) & subject.right(num_frames)
        near = num_frames / 2 - np.abs(np.arange(num_frames) - (num_frames - 1) / 2)
        asked = {name: of_all[..., 0] for name, of_all in values.items()} | {NEARNESS: np.tile(near, (len(mask), 1))}
        for name, of_all in asked.items():
            found = measures(of_all[defined], mask[defined])
            for (kind, measure), per_video in found.items():
                if len(per_video):
                    key = (subject.name, name, kind, measure)
                    overall.append((*key, *with_interval(bootstrap.interval(per_video))))
                    by_class += [
                        (*key, class_name, *with_interval(bootstrap.interval(per_video[mine])))
                        for c, class_name in enumerate(subject.classes)
                        if (mine := subject.label[defined] == c).any()
                    ]
    key = ("model", "method", "ranking", "measure")
    tables = {
        "r_evidence": Table((*key, "mean", "low", "high", "videos"), overall),
        "r_by_class": Table((*key, "class", "mean", "low", "high", "videos"), by_class),
    }
    names = [*methods[0], NEARNESS]
    figures: dict[str, Any] = {
        "r_evidence": lambda: _figure(tables["r_evidence"], subjects, names),
        "r_by_class": lambda: _grid(tables["r_by_class"], subjects, names),
    }
    return Report(tables, figures)


def _figure(table: Table, subjects: list[Subject], names: list[str]) -> Any:
    figure, axes = charts.subplots(2, 3, 4.4, sharey=True, sharex="col")
    for row, kind in zip(axes, (_SIGNED, _ABSOLUTE), strict=True):
        for panel, measure in zip(row, ("AUROC", BEYOND_POSITION, "mass inside - chance"), strict=True):
            for i, subject in enumerate(subjects):
                mine = table.where(model=subject.name, ranking=kind, measure=measure)
                y = np.array([-names.index(name) for name in mine.column("method")]) + 0.2 * (0.5 - i)
                charts.dots(panel, y, mine.numbers("mean"), mine.numbers("low"), mine.numbers("high"), i, subject.name)
            panel.axvline(0.5 if measure == "AUROC" else 0, color=charts.INK, linewidth=0.6)
            panel.set_yticks([-i for i in range(len(names))], names)
            panel.grid(axis="x", linewidth=0.3)
            panel.set_title(f"{kind} values")
            if kind == _ABSOLUTE:
                panel.set_xlabel(measure.replace(" - ", " \N{MINUS SIGN} "))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(subjects))
    return figure


def _grid(table: Table, subjects: list[Subject], names: list[str]) -> Any:
    classes = sorted({name for name in table.column("class")})
    figure, axes = charts.subplots(1, len(subjects), 0.9 + 0.22 * len(classes), sharey=True)
    for panel, subject in zip(axes[0], subjects, strict=True):
        mine = table.where(model=subject.name, ranking=_ABSOLUTE, measure="AUROC")
        grid = np.full((len(classes), len(names)), np.nan)
        for class_name, method, mean in zip(
            mine.column("class"), mine.column("method"), mine.column("mean"), strict=True
        ):
            grid[classes.index(class_name), names.index(method)] = mean
        panel.set_facecolor("#DDDDDD")
        image = panel.imshow(grid, vmin=0, vmax=1, cmap="RdBu", aspect="auto")
        panel.set_xticks(range(len(names)), names, rotation=55, ha="right")
        panel.set_yticks(range(len(classes)), [short(name) for name in classes])
        panel.set_title(subject.name)
    figure.colorbar(image, ax=axes[0, -1], label="AUROC of |values|; grey: no clip right", aspect=30)
    return figure

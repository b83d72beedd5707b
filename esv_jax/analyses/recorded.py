"""Are they right? Attributions against the frames that are known to carry the evidence."""

import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

import esv_jax
from esv_jax.analyses import charts, report
from esv_jax.analyses.methods import ESV
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject, short
from esv_jax.checks import InputError, listed, repeated, shown
from esv_jax.data.evidence import Evidence
from esv_jax.explaining.batch import explain_batch
from esv_jax.metrics import evidence, removal, summary

_SIGNED, _ABSOLUTE = "signed", "absolute"
_RANDOM_MODELS = 5
# Evidence lies in the middle of most clips, and values have their own profile over positions: how much better a clip's
# own values find its evidence than the values of other clips do.
BEYOND_POSITION = "AUROC - other clips"
NEARNESS = "near the middle"
_SHOWN = ("AUROC", BEYOND_POSITION, "mass inside - chance")


def analyse(study: Study) -> Report:
    """How well every method's values for the true class find the evidence, in clips that the model is right about.

    Values are compared as they are, and as means over `smooth` frames: neighbours, which show about the same, share
    their evidence unevenly. Beside them what a frame's nearness to the middle of the clip finds, which asks no model,
    and what Element Shapley Values of heads with fresh random weights find, in the mean over five heads.
    """
    if study.evidence is None:
        return Report({})
    num_frames = study.num_frames
    near = num_frames / 2 - np.abs(np.arange(num_frames) - (num_frames - 1) / 2)
    overall, by_class, untrained = [], [], []
    for subject, methods in zip(study.subjects, study.attributions(), strict=True):
        mask = evidence_masks(subject, num_frames, study.evidence)
        chosen = np.isfinite(evidence.chance_mass(mask)) & subject.right(num_frames)
        if not chosen.any():
            continue
        asked = {name: values[..., 0] for name, values in methods.values.items()}
        asked[NEARNESS] = np.tile(near, (len(mask), 1))
        for name, smooth in itertools.product(asked, _widths(study)):
            values = summary.moving_mean(asked[name], smooth)
            for (ranking, measure), per_video in _measures(values[chosen], mask[chosen]).items():
                key = (subject.name, name, smooth, ranking, measure)
                overall.append((*key, *report.mean(per_video)))
                for c, class_name in enumerate(subject.classes):
                    if (mine := subject.label[chosen] == c).any():
                        by_class.append((*key, class_name, *report.mean(per_video[mine])))
        heads = [_measures(values[chosen], mask[chosen]) for values in _untrained(subject, num_frames, study.seed)]
        for ranking, measure in heads[0] if heads else ():
            per_video = np.mean([found[ranking, measure] for found in heads], axis=0)
            untrained.append((subject.name, ESV, 1, ranking, measure, *report.mean(per_video)))
    key_columns = ["model", "method", "smooth", "ranking", "measure"]
    tables = {
        "r_evidence": pd.DataFrame(overall, columns=[*key_columns, *report.MEAN]),
        "r_by_class": pd.DataFrame(by_class, columns=[*key_columns, "class", *report.MEAN]),
        "s_random": pd.DataFrame(untrained, columns=[*key_columns, *report.MEAN]),
    }
    figures: dict[str, Any] = {
        "r_evidence": lambda: _figure(_as_they_are(tables["r_evidence"])),
        "r_by_class": lambda: _grid(_as_they_are(tables["r_by_class"])),
    }
    return Report(tables, figures if overall else {}, page(tables))


def page(tables: Tables) -> Tables:
    untrained = tables["s_random"].assign(method="ESV of random weights")
    table = pd.concat([tables["r_evidence"], untrained])
    table = table[table["measure"].isin(_SHOWN)]
    smoothed = ["" if smooth == 1 else f", mean of {smooth}" for smooth in table["smooth"]]
    names = zip(table["model"], table["method"], smoothed, strict=True)
    named = table.assign(values=[f"{model}: {method}{smooth}" for model, method, smooth in names])
    return {"evidence": report.pivot(named, "values", ["ranking", "measure"], "values")}


def _widths(study: Study) -> tuple[int, ...]:
    """Over how many frames values are averaged: they are compared as they are, and smoothed where that is asked for."""
    return (1,) if study.smooth == 1 else (1, study.smooth)


def _as_they_are(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["smooth"] == 1]


def evidence_masks(subject: Subject, num_frames: int, recorded: Evidence) -> np.ndarray:
    """Which of the frames shown carry the evidence, bool [B, T]. Clips are found by uid, else by their file's name.

    Raises:
      InputError: nothing is recorded of a video, or frames that it has not, or two are known by one name of a file.
    """
    names = [uid if uid in recorded else Path(path).stem for uid, path in zip(subject.uid, subject.path, strict=True)]
    missing = [uid for uid, name in zip(subject.uid, names, strict=True) if name not in recorded]
    if missing:
        raise InputError(
            f"the evidence should be recorded of all videos, found none of {len(missing)}: {listed(missing)}"
        )
    by_name = [name for uid, name in zip(subject.uid, names, strict=True) if uid not in recorded]
    if twice := repeated(by_name):
        raise InputError(
            f"the evidence should be recorded by uid, where files have the same name, found {shown(twice[0])}"
        )
    lengths = subject.num_frames_in_video.tolist()
    for uid, name, length in zip(subject.uid, names, lengths, strict=True):
        if (last := int(recorded[name].max(initial=-1))) >= length:
            raise InputError(f"the evidence of {shown(uid)} should be of its frames 0..{length - 1}, found {last}")
    frames = subject.values[num_frames].frame_index
    return np.stack([np.isin(row, recorded[name]) for row, name in zip(frames, names, strict=True)])


def _measures(values: np.ndarray, mask: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """By kind of ranking and measure: float64 [B], NaN where there is nothing to tell apart. Values [B, T]."""
    chance = evidence.chance_mass(mask)
    found = {}
    for ranking, ranked, mass in (
        (_SIGNED, values, np.maximum(values, 0)),
        (_ABSOLUTE, np.abs(values), np.abs(values)),
    ):
        found[ranking, "AUROC"] = evidence.auroc(ranked, mask)
        found[ranking, BEYOND_POSITION] = found[ranking, "AUROC"] - _auroc_of_others(ranked, mask)
        found[ranking, "average precision"] = evidence.average_precision(ranked, mask)
        # A method without positive values puts none of them on the evidence, and none elsewhere: chance.
        inside = evidence.mass_inside(mass, mask)
        found[ranking, "mass inside"] = np.where(np.isnan(inside), chance, inside)
        found[ranking, "mass inside - chance"] = found[ranking, "mass inside"] - chance
    return found


def _auroc_of_others(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """For every clip the area under ROC of the other clips' values against its mask, their mean, float64 [B].

    That of its own values where there is no other clip.
    """
    each = evidence.auroc(values[None], mask[:, None])
    own = each.diagonal()
    return (each.sum(axis=1) - own) / (len(mask) - 1) if len(mask) > 1 else own


def _untrained(subject: Subject, num_frames: int, seed: int) -> list[np.ndarray]:
    """Values [B, T] for the true class of heads with random weights; none where we cannot make such a model."""
    if subject.model is None:
        return []
    game, videos = subject.game(), subject.features[num_frames]
    found = []
    for i in range(_RANDOM_MODELS):
        variables = subject.folder_model.module.init(jax.random.fold_in(jax.random.key(seed), i), videos[0])
        esv = np.asarray(explain_batch(esv_jax.exact(), game, variables, videos).values)
        found.append(removal.of_class(esv, subject.label))
    return found


def _figure(table: pd.DataFrame) -> Any:
    names, models = list(table["method"].unique()), list(table["model"].unique())
    figure, axes = charts.subplots(2, 3, 4.4, sharey=True, sharex="col")
    for row, ranking in zip(axes, (_SIGNED, _ABSOLUTE), strict=True):
        for panel, measure in zip(row, _SHOWN, strict=True):
            shown = table[(table["ranking"] == ranking) & (table["measure"] == measure)]
            for i, model in enumerate(models):
                mine = shown[shown["model"] == model]
                charts.dots(panel, 0.2 * (0.5 - i) - mine["method"].map(names.index), mine, i, model)
            panel.axvline(0.5 if measure == "AUROC" else 0, color=charts.INK, linewidth=0.6)
            panel.set_yticks([-i for i in range(len(names))], names)
            panel.grid(axis="x", linewidth=0.3)
            panel.set_title(f"{ranking} values")
            if ranking == _ABSOLUTE:
                panel.set_xlabel(measure.replace(" - ", " \N{MINUS SIGN} "))
    charts.legend(figure, axes)
    return figure


def _grid(table: pd.DataFrame) -> Any:
    classes, names = sorted(set(table["class"])), table["method"].unique()
    shown = table[(table["ranking"] == _ABSOLUTE) & (table["measure"] == "AUROC")]
    models = shown.groupby("model", sort=False)
    figure, axes = charts.subplots(1, len(models), 0.9 + 0.22 * len(classes), sharey=True)
    for panel, (model, mine) in zip(axes[0], models, strict=True):
        grid = mine.pivot(index="class", columns="method", values="mean").reindex(index=classes, columns=names)
        panel.set_facecolor("#DDDDDD")
        image = panel.imshow(grid.to_numpy(), vmin=0, vmax=1, cmap="RdBu", aspect="auto")
        panel.set_xticks(range(len(names)), names, rotation=55, ha="right")
        panel.set_yticks(range(len(classes)), [short(name) for name in classes])
        panel.set_title(model)
    figure.colorbar(image, ax=axes[0, -1], label="AUROC of |values|; grey: no clip right", aspect=30)
    return figure

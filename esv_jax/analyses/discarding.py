"""e. Discarding frames."""

from typing import Any

import numpy as np
import pandas as pd

from esv_jax.analyses import charts, report
from esv_jax.analyses.methods import ESV
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject
from esv_jax.explaining.worths import worths_of_batch
from esv_jax.metrics import removal

_HIGHEST_FIRST = {"highest": True, "lowest": False}
_ACCURACY, _SCORE = "accuracy", "score of the true class"
_DROPPED_ON_PAGE = ("ESV", "class-score delta", "Int. Gradients (zero)", "random")


def analyse(study: Study) -> Report:
    """Accuracy and score of the true class as frames go, by every method's values for the true class or the predicted;
    and the accuracy without all frames of negative value."""
    curves, areas, dropped = [], [], []
    for subject, methods in zip(study.subjects, study.attributions(), strict=True):
        for i, ranked_by in enumerate(("true", "predicted")):
            values = {name: v[..., i] for name, v in methods.values.items()}
            for (name, first), left in _scores_left(subject, values).items():
                per_video = {
                    _ACCURACY: removal.is_right(left, subject.label).astype(np.float64),
                    _SCORE: removal.of_class(left, subject.label),
                }
                for measure, curve in per_video.items():
                    key = (subject.name, ranked_by, name, first, measure)
                    curves += [(*key, removed, *mean) for removed, mean in enumerate(report.means(curve))]
                    areas.append((*key, *report.mean(removal.area(curve))))
            dropped += [(subject.name, ranked_by, *row) for row in _without_negative(subject, values)]
    key_columns = ["model", "ranked_by", "method", "first", "measure"]
    gain_columns = ["accuracy_all", "accuracy_kept", "gain", "low", "high", "frames_kept"]
    tables = {
        "e_curves": pd.DataFrame(curves, columns=[*key_columns, "removed", *report.MEAN]),
        "e_areas": pd.DataFrame(areas, columns=[*key_columns, *report.MEAN]),
        "e_dropped": pd.DataFrame(dropped, columns=["model", "ranked_by", "method", *gain_columns]),
    }
    figures = {
        "e_accuracy": lambda: _figure(tables["e_curves"], _ACCURACY),
        "e_score": lambda: _figure(tables["e_curves"], _SCORE),
    }
    return Report(tables, figures, page(tables))


def page(tables: Tables) -> Tables:
    areas, dropped = tables["e_areas"], tables["e_dropped"]
    rows = [
        (row.model, f"{row.ranked_by} class", row.method, row.accuracy_all, row.accuracy_kept, gain, row.frames_kept)
        for row in dropped[dropped["method"].isin(_DROPPED_ON_PAGE)].itertuples()
        for gain in ["{} [{}, {}]".format(*(report.number(v, "+.3f") for v in (row.gain, row.low, row.high)))]
    ]
    columns = ["model", "values for the", "method", "accuracy before", "after", "gain", "frames kept"]
    shown = {"dropped": pd.DataFrame(rows, columns=columns)}
    for name, measure in {"areas": _ACCURACY, "score_areas": _SCORE}.items():
        mine = areas[(areas["ranked_by"] == "true") & (areas["measure"] == measure)]
        shown[name] = report.pivot(mine, "method", ["model", "first"], "method")
    return shown


def _scores_left(subject: Subject, values: dict[str, np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    """By method and direction: the scores [B, T, C] once 0 .. T - 1 frames are gone, all in one program."""
    masks = {
        (name, first): removal.kept(removal.order(v, highest_first=highest_first))
        for name, v in values.items()
        for first, highest_first in _HIGHEST_FIRST.items()
    }
    found = _worths(subject, np.concatenate(list(masks.values()), axis=1))
    return dict(zip(masks, np.split(found, len(masks), axis=1), strict=True))


def _without_negative(subject: Subject, values: dict[str, np.ndarray]) -> list[tuple[Any, ...]]:
    """By method: accuracy of all frames and without those of negative value, the gain, and how many frames are left."""
    mask = np.stack([removal.supporting(v) for v in values.values()], axis=1)
    before = subject.right(mask.shape[-1]).astype(np.float64)
    right = removal.is_right(_worths(subject, mask), subject.label).astype(np.float64)
    gain = report.means(right - before[:, None])
    kept = mask.sum(axis=2).mean(axis=0).tolist()
    return [
        (name, before.mean(), after, *interval[:3], frames)
        for name, after, interval, frames in zip(values, right.mean(axis=0), gain, kept, strict=True)
    ]


def _worths(subject: Subject, mask: np.ndarray) -> np.ndarray:
    """Scores [B, N, C] of the coalitions bool [B, N, T] of frames."""
    game, videos = subject.game(), subject.features[mask.shape[-1]]
    return np.asarray(worths_of_batch(game, subject.params, videos, mask))


def _figure(curves: pd.DataFrame, measure: str) -> Any:
    curves = curves[(curves["ranked_by"] == "true") & (curves["measure"] == measure)]
    models = curves.groupby("model", sort=False)
    figure, axes = charts.subplots(len(models), 2, 1.0 + 2.1 * len(models), sharex=True, sharey="row")
    for row, (model, of_model) in zip(axes, models, strict=True):
        for panel, (first, mine) in zip(row, of_model.groupby("first", sort=False), strict=True):
            for i, (name, line) in enumerate(mine.groupby("method", sort=False)):
                look = charts.style(i) | {"linewidth": 2.2 if name == ESV else 1.0}
                panel.plot(line["removed"], line["mean"], label=name, **look)
                if name == ESV:
                    charts.band(panel, line["removed"], line["low"], line["high"], i)
            panel.set_title(f"{model}, {first} first")
        row[0].set_ylabel(f"{measure}\n(band: 95 % interval of ESV)")
    for panel in axes[-1]:
        panel.set_xlabel("frames removed")
    charts.legend(figure, axes, "lower", columns=4)
    return figure

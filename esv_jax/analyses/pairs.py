"""i. Pairs of frames: which two moments carry the relation, in the mean over clips."""

import functools
from typing import Any

import jax
import numpy as np
import pandas as pd

import esv_jax
from esv_jax.analyses import charts, report
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject
from esv_jax.results import triangle

MOST_FRAMES = 16  # all coalitions are evaluated


def analyse(study: Study) -> Report:
    """Interactions (k-SII) of every pair of positions for the true class, exact, in the mean over clips that the model
    is right about, at most `slow_videos` of them. Not of models on the host."""
    rows = []
    for subject in study.subjects:
        chosen = np.flatnonzero(subject.right(study.num_frames))[: study.slow_videos]
        if study.num_frames > MOST_FRAMES or subject.is_host or not len(chosen):
            continue
        values = _of_true_class(subject, study.num_frames, chosen)
        first, second = np.triu_indices(study.num_frames, 1)
        means = report.means(values[:, first, second])
        pairs = zip(first.tolist(), second.tolist(), means, strict=True)
        rows += [(subject.name, i, j, *mean) for i, j, mean in pairs]
    table = pd.DataFrame(rows, columns=["model", "position_1", "position_2", *report.MEAN])
    return Report({"i_pairs": table}, {"i_pairs": lambda: _figure(table)} if rows else {}, page({"i_pairs": table}))


def page(tables: Tables) -> Tables:
    """The three pairs of the highest mean of every model."""
    table = tables["i_pairs"]
    top = table.sort_values("mean", ascending=False, kind="stable").groupby("model", sort=False).head(3)
    named = top.assign(
        pair=[f"{row.position_1} and {row.position_2}" for row in top.itertuples()],
        interaction=[f"{report.number(m)} [{report.number(a)}, {report.number(b)}]" for m, a, b in _bounds(top)],
    )
    return {"pairs": named[["model", "pair", "interaction"]].reset_index(drop=True)}


def _bounds(table: pd.DataFrame) -> Any:
    return zip(table["mean"], table["low"], table["high"], strict=True)


def _of_true_class(subject: Subject, num_frames: int, chosen: np.ndarray) -> np.ndarray:
    """[n, T, T], of the videos `chosen`."""
    of_one = jax.jit(functools.partial(_interactions, subject.game(), subject.params))
    videos, label = subject.features[num_frames], subject.label
    return np.stack([np.asarray(of_one(videos[v], label[v])) for v in chosen])


def _interactions(game: Any, params: Any, video: jax.Array, label: jax.Array) -> jax.Array:
    return esv_jax.interactions(game, params, video).values[:, :, label]


def _figure(table: pd.DataFrame) -> Any:
    models = table.groupby("model", sort=False)
    figure, axes = charts.subplots(1, len(models), 1.0 + 3.0 / len(models))
    for panel, (model, mine) in zip(axes[0], models, strict=True):
        num_frames = int(mine["position_2"].max()) + 1
        values = np.zeros((num_frames, num_frames))
        values[mine["position_1"], mine["position_2"]] = mine["mean"]
        strongest = float(np.abs(values).max()) or 1.0
        edges = [(i - 0.5, i + 0.5) for i in range(num_frames)]
        triangle.draw_cells(panel, edges, values, strongest)
        for i in range(num_frames):
            panel.text(i, -0.12, str(i), ha="center", va="top", size=6)
        panel.set_title(f"{model}: pairs of positions\n(full colour: {strongest:.2g})")
    return figure

"""h. The multi-scale model against its single scales and TSN."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from esv_jax import batches
from esv_jax.analyses import charts, report
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject
from esv_jax.coalitions import lattice
from esv_jax.models import MultiscaleTRN

_SUBSETS_AT_ONCE = 1024
_ON_PAGE = (1, 2, 3, 4, 6, 8, 12, 16)


def analyse(study: Study) -> Report:
    """Accuracy for every number of frames: of each model, and of each scale alone over all subsets of the frames."""
    rows = []
    several = sum(_scales(subject) > 0 for subject in study.subjects) > 1
    for subject in study.subjects:
        counts = sorted(subject.values)
        rows += [(subject.name, count, subject.right(count)) for count in counts]
        for scale in range(1, min(_scales(subject), counts[-1]) + 1):
            logits = _logits_of_scale(subject, scale, counts[-1])
            rows += [
                (_name(subject, scale, several), count, logits(count).argmax(axis=1) == subject.label)
                for count in counts
                if count >= scale
            ]
    means = [(name, count, *report.mean(right.astype(np.float64))) for name, count, right in rows]
    table = pd.DataFrame(means, columns=["model", "num_frames", *report.MEAN])
    names = [subject.name for subject in study.subjects]
    # Of several models the lines of the first one's scales: there is room for no more.
    first = next((subject for subject in study.subjects if _scales(subject)), study.subjects[0])
    alone = [_name(first, scale, several) for scale in range(1, _scales(first) + 1)]
    tables = {"h_scales": table}
    return Report(tables, {"h_scales": lambda: _figure(table, names, alone)}, page(tables))


def page(tables: Tables) -> Tables:
    table = tables["h_scales"].drop(columns=["low", "high"])
    shown = table[table["num_frames"].isin(_ON_PAGE)]
    return {"scales": report.pivot(shown, "model", ["num_frames"], "accuracy with frames shown:")}


def _scales(subject: Subject) -> int:
    """How many the model has; 0 where it is of another kind."""
    module: Any = subject.model and subject.model.module
    return module.num_scales if isinstance(module, MultiscaleTRN) else 0


def _name(subject: Subject, scale: int, several: bool) -> str:
    """Of a head, with its model where several have such."""
    return f"{subject.name}, scale {scale} alone" if several else f"scale {scale} alone"


def _logits_of_scale(subject: Subject, scale: int, most_frames: int) -> Callable[[int], np.ndarray]:
    """num_frames -> mean logits [B, C] of the head for `scale` frames over all subsets of so many of that many frames.

    Frames and subsets are filled up, so that one program serves every number of frames.
    """
    module: Any = subject.folder_model.module

    @jax.jit
    def total(variables: Any, videos: jax.Array, rows: jax.Array, counts: jax.Array) -> jax.Array:
        def one(video: jax.Array) -> jax.Array:
            shares = module.apply(variables, video, scale, method="project")
            pre = sum((shares[rows[:, p], p] for p in range(1, scale)), start=shares[rows[:, 0], 0])
            logits = module.apply(variables, pre, scale, method="after_first")
            return jnp.where(counts[:, None], logits, 0).sum(axis=0)

        return jax.lax.map(one, videos, batch_size=min(8, videos.shape[0]))

    def mean(num_frames: int) -> np.ndarray:
        members = lattice.combinations(num_frames, scale)
        rows = batches.filled(len(members), _SUBSETS_AT_ONCE)
        counts = np.arange(rows.size).reshape(rows.shape) < len(members)
        videos = np.pad(subject.features[num_frames], ((0, 0), (0, most_frames - num_frames), (0, 0)))
        parts = [
            np.asarray(total(subject.params, videos, members[some], count))
            for some, count in zip(rows, counts, strict=True)
        ]
        return np.sum(parts, axis=0) / len(members)

    return mean


def _figure(table: pd.DataFrame, models: list[str], alone: list[str]) -> Any:
    """alone: the names of the scales 1, 2, ... of a model."""
    figure, axes = charts.subplots(1, 1, 3.0)
    panel = axes[0, 0]
    for i, name in enumerate(models):
        mine = table[table["model"] == name]
        panel.plot(mine["num_frames"], mine["mean"], label=name, **charts.style(i))
        charts.band(panel, mine["num_frames"], mine["low"], mine["high"], i)
    ends = {}
    of_scales = table[table["model"].isin(alone)]
    for scale, (_, mine) in enumerate(of_scales.groupby("model", sort=False), start=1):
        look = {"linewidth": 0.8, "linestyle": charts.DASHES[scale % 8]}
        panel.plot(mine["num_frames"], mine["mean"], color=charts.FAINT, **look)
        ends[scale] = (mine["num_frames"].iloc[-1], mine["mean"].iloc[-1])
    panel.plot([], [], color=charts.FAINT, linewidth=0.8, label="one scale alone (its number at the right end)")
    _name_ends(panel, ends)
    panel.set(xlabel="frames shown", ylabel="accuracy (band: 95 % interval)", ylim=(0, 1.02))
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(loc="center right")
    return figure


def _name_ends(panel: Any, ends: dict[int, tuple[float, float]]) -> None:
    """Writes the scales beside the ends of their lines, none over another."""
    lowest = -1.0
    arrow = {"arrowstyle": "-", "color": charts.FAINT, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 1}
    for scale, (x, y) in sorted(ends.items(), key=lambda end: end[1][1]):
        lowest = max(y - 0.15, lowest + 0.045)
        look = {"size": 6.5, "va": "center", "color": charts.FAINT, "arrowprops": arrow}
        panel.annotate(str(scale), (x, y), (x * 1.03, lowest), **look)

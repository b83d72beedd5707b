"""h. The multi-scale model against its single scales and TSN."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.analyses import charts
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.coalitions import lattice
from esv_jax.metrics import bootstrap
from esv_jax.models import MultiscaleTRN

_SUBSETS_AT_ONCE = 1024


def analyse(subjects: list[Subject]) -> Report:
    """Accuracy for every number of frames: of each model, and of each scale alone over all subsets of the frames."""
    rows: list[tuple[Any, ...]] = []
    for subject in subjects:
        for count in sorted(subject.values):
            right = subject.right(count).astype(np.float64)
            rows.append((subject.name, count, *with_interval(bootstrap.interval(right))))
        if isinstance(subject.model.module, MultiscaleTRN):
            rows += _of_scales(subject)
    table = Table(("model", "num_frames", "mean", "low", "high", "videos"), rows)
    return Report({"h_scales": table}, {"h_scales": lambda: _figure(table, subjects)})


def _of_scales(subject: Subject) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for scale in range(1, subject.model.module.num_scales + 1):
        counts = [count for count in sorted(subject.values) if count >= scale]
        if not counts:
            break
        logits = _of_scale(subject, scale, counts[-1])
        for count in counts:
            right = (logits(count).argmax(axis=1) == subject.label).astype(np.float64)
            rows.append((_name(scale), count, *with_interval(bootstrap.interval(right))))
    return rows


def _name(scale: int) -> str:
    return f"scale {scale} alone"


def _of_scale(subject: Subject, scale: int, most_frames: int) -> Callable[[int], np.ndarray]:
    """num_frames -> mean logits [B, C] of the head for `scale` frames over all subsets of so many of that many frames.

    Frames and subsets are filled up, so that one program serves every number of frames.
    """
    module: Any = subject.model.module

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
        missing = -len(members) % _SUBSETS_AT_ONCE
        counts = np.arange(len(members) + missing) < len(members)
        rows = np.pad(members, ((0, missing), (0, 0)))
        videos = np.pad(subject.features[num_frames], ((0, 0), (0, most_frames - num_frames), (0, 0)))
        parts = [
            np.asarray(total(subject.model.variables, videos, rows[part], counts[part]))
            for part in np.split(np.arange(len(rows)), len(rows) // _SUBSETS_AT_ONCE)
        ]
        return np.sum(parts, axis=0) / len(members)

    return mean


def _figure(table: Table, subjects: list[Subject]) -> Any:
    figure, axes = charts.subplots(1, 1, 3.0)
    panel = axes[0, 0]
    for i, subject in enumerate(subjects):
        mine = table.where(model=subject.name)
        panel.plot(mine.numbers("num_frames"), mine.numbers("mean"), label=subject.name, **charts.style(i))
        panel.fill_between(
            mine.numbers("num_frames"),
            mine.numbers("low"),
            mine.numbers("high"),
            color=charts.COLOURS[i],
            alpha=0.15,
            lw=0,
        )
    ends = {}
    for scale in sorted({int(name.split()[1]) for name in table.column("model") if name.startswith("scale ")}):
        mine = table.where(model=_name(scale))
        x, y = mine.numbers("num_frames"), mine.numbers("mean")
        panel.plot(x, y, color=charts.FAINT, linewidth=0.8, linestyle=charts.DASHES[scale % 8])
        ends[scale] = (x[-1], y[-1])
    panel.plot([], [], color=charts.FAINT, linewidth=0.8, label="one scale alone (its number at the right end)")
    _name_ends(panel, ends)
    panel.set(xlabel="frames shown", ylabel="accuracy (band: 95 % interval)", ylim=(0, 1.02))
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(loc="center right")
    return figure


def _name_ends(panel: Any, ends: dict[int, tuple[float, float]]) -> None:
    """Writes the scales beside the ends of their lines, none over another."""
    lowest = -1.0
    for scale, (x, y) in sorted(ends.items(), key=lambda end: end[1][1]):
        lowest = max(y - 0.15, lowest + 0.045)
        panel.annotate(
            str(scale),
            (x, y),
            (x * 1.03, lowest),
            size=6.5,
            va="center",
            color=charts.FAINT,
            arrowprops={"arrowstyle": "-", "color": charts.FAINT, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 1},
        )

"""A frame that is shown several times: what each method gives to the copies, and what the model owes to them."""

from typing import Any

import numpy as np

from esv_jax.analyses import charts, recorded
from esv_jax.analyses.methods import ESV, of_videos, single_coalitions
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.explaining.worths import worths
from esv_jax.metrics import bootstrap, duplicates, removal

TIMES = (1, 2, 4)
DEPENDENCE = "model: all copies removed"


def analyse(subjects: list[Subject], num_frames: int, of_evidence: dict[str, np.ndarray], *, num_videos: int) -> Report:
    """In clips that the model is right about, the middle frame of the evidence is shown 1, 2 and 4 times.

    Means over clips of the values for the true class: the copies' sum, and that of one copy; beside them the model's
    dependence on the copies, v(all frames) - v(all but the copies).
    """
    rows: list[tuple[Any, ...]] = []
    for subject in subjects:
        mask = recorded.masks(subject, num_frames, of_evidence)
        chosen = np.flatnonzero(subject.right(num_frames) & mask.any(axis=1))[:num_videos]
        if not len(chosen):
            continue
        frame = np.array([(inside := np.flatnonzero(mask[v]))[len(inside) // 2] for v in chosen])
        for times in TIMES:
            videos, copies = duplicates.repeat_frame(subject.features[num_frames][chosen], frame, times)
            for name, values in of_videos(subject, videos, subject.label[chosen]).items():
                total = (values * copies).sum(axis=1)
                rows.append((subject.name, name, times, "sum of copies", *with_interval(bootstrap.interval(total))))
                each = bootstrap.interval(total / times)
                rows.append((subject.name, name, times, "each copy", *with_interval(each)))
            owed = bootstrap.interval(_dependence(subject, videos, copies, subject.label[chosen]))
            rows.append((subject.name, DEPENDENCE, times, "sum of copies", *with_interval(owed)))
    table = Table(("model", "method", "times", "measure", "mean", "low", "high", "videos"), rows)
    return Report({"r_repeats": table}, {"r_repeats": lambda: _figure(table, subjects)} if rows else {})


def _dependence(subject: Subject, videos: np.ndarray, copies: np.ndarray, label: np.ndarray) -> np.ndarray:
    game, variables = single_coalitions(subject)
    inside = np.stack([np.ones_like(copies), ~copies], axis=1)
    found = removal.of_class(np.asarray(worths(game, variables, videos, inside)), label)
    return found[:, 0] - found[:, 1]


def _figure(table: Table, subjects: list[Subject]) -> Any:
    names = list(dict.fromkeys(table.column("method")))
    figure, axes = charts.subplots(1, len(subjects), 3.1, sharey=True)
    for panel, subject in zip(axes[0], subjects, strict=True):
        for i, name in enumerate(names):
            mine = table.where(model=subject.name, method=name, measure="sum of copies")
            look = charts.style(8 if name == DEPENDENCE else i)
            look |= {"linewidth": 2.2 if name in (ESV, DEPENDENCE) else 1.0}
            panel.plot(mine.numbers("times"), mine.numbers("mean"), label=name, **look)
        panel.axhline(0, color=charts.INK, linewidth=0.5)
        panel.set_xscale("log", base=2)
        panel.set_xticks(TIMES, [str(t) for t in TIMES])
        panel.minorticks_off()
        panel.set(xlabel="times that the evidence frame is shown", title=subject.name)
    axes[0, 0].set_ylabel("sum of the copies' values")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure

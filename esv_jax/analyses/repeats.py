"""A frame that is shown several times: what each method gives to the copies, and what the model owes to them."""

from typing import Any

import numpy as np
import pandas as pd

from esv_jax.analyses import charts, report
from esv_jax.analyses.methods import ESV, of_videos
from esv_jax.analyses.recorded import evidence_masks
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject
from esv_jax.explaining.worths import worths_of_batch
from esv_jax.metrics import duplicates, removal

TIMES = (1, 2, 4)
DEPENDENCE = "model: all copies removed"
_SUM, _EACH = "sum of copies", "each copy"


def analyse(study: Study) -> Report:
    """In clips that the model is right about, the middle frame of the evidence is shown 1, 2 and 4 times.

    Means over clips of the values for the true class: the copies' sum, and that of one copy; beside them the model's
    dependence on the copies, v(all frames) - v(all but the copies).
    """
    if study.evidence is None:
        return Report({})
    rows = []
    for subject in study.subjects:
        if subject.is_host:  # a clip with a frame more may be none that it takes
            continue
        mask = evidence_masks(subject, study.num_frames, study.evidence)
        chosen = np.flatnonzero(subject.right(study.num_frames) & mask.any(axis=1))[: study.slow_videos]
        if not len(chosen):
            continue
        frame = np.array([(shown := np.flatnonzero(mask[v]))[len(shown) // 2] for v in chosen])
        label = subject.label[chosen]
        for times in TIMES:
            videos, copies = duplicates.repeat_frame(subject.features[study.num_frames][chosen], frame, times)
            for name, values in of_videos(subject, videos, label).items():
                total = (values * copies).sum(axis=1)
                rows.append((subject.name, name, times, _SUM, *report.mean(total)))
                rows.append((subject.name, name, times, _EACH, *report.mean(total / times)))
            owed = _dependence(subject, videos, copies, label)
            rows.append((subject.name, DEPENDENCE, times, _SUM, *report.mean(owed)))
    table = pd.DataFrame(rows, columns=["model", "method", "times", "measure", *report.MEAN])
    tables = {"r_repeats": table}
    return Report(tables, {"r_repeats": lambda: _figure(table)} if rows else {}, page(tables))


def page(tables: Tables) -> Tables:
    table = tables["r_repeats"]
    shown = table[table["measure"] == _SUM]
    return {"repeats": report.pivot(shown, "method", ["model", "times"], "sum over the copies")}


def _dependence(subject: Subject, videos: np.ndarray, copies: np.ndarray, label: np.ndarray) -> np.ndarray:
    mask = np.stack([np.ones_like(copies), ~copies], axis=1)
    found = np.asarray(worths_of_batch(subject.game(), subject.params, videos, mask))
    with_copies, without = removal.of_class(found, label).T
    return with_copies - without


def _figure(table: pd.DataFrame) -> Any:
    models = table[table["measure"] == _SUM].groupby("model", sort=False)
    figure, axes = charts.subplots(1, len(models), 3.1, sharey=True)
    for panel, (model, mine) in zip(axes[0], models, strict=True):
        for i, (name, line) in enumerate(mine.groupby("method", sort=False)):
            look = charts.style(9 if name == DEPENDENCE else i)
            look |= {"linewidth": 2.2 if name in (ESV, DEPENDENCE) else 1.0}
            panel.plot(line["times"], line["mean"], label=name, **look)
        panel.axhline(0, color=charts.INK, linewidth=0.5)
        panel.set_xscale("log", base=2)
        panel.set_xticks(TIMES, [str(t) for t in TIMES])
        panel.minorticks_off()
        panel.set(xlabel="times that the evidence frame is shown", title=model)
    axes[0, 0].set_ylabel("sum of the copies' values")
    charts.legend(figure, axes, "lower", columns=3)
    return figure

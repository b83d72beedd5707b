"""d. Which frames misled the model."""

import numpy as np
import pandas as pd

from esv_jax.analyses import report
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject
from esv_jax.metrics import removal, summary


def analyse(study: Study) -> Report:
    """Of misclassified clips: the frame that speaks most for the predicted class against the true one; means of clips.

    Where the true class is the second, the runner-up is the third.
    """
    lists, rows = [], []
    for subject in study.subjects:
        mine, measures = _of(subject, study.num_frames)
        lists.append(mine)
        if len(mine):
            rows += [(subject.name, measure, *report.mean(per_video)) for measure, per_video in measures.items()]
    means = pd.DataFrame(rows, columns=["model", "measure", *report.MEAN])
    tables = {"d_mistakes": pd.concat(lists), "d_summary": means}
    return Report(tables, page=page(tables))


def page(tables: Tables) -> Tables:
    return {"mistakes": report.pivot(tables["d_summary"], "measure", ["model"], "misclassified clips")}


def roles(subject: Subject, num_frames: int) -> dict[str, np.ndarray]:
    """By what they are to a misclassified video, the classes int [B] that are compared."""
    score = subject.values[num_frames].score
    runner_up = summary.best_besides(score, subject.label)
    return {"true": subject.label, "predicted": score.argmax(axis=1), "runner-up": runner_up}


def _of(subject: Subject, num_frames: int) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The mistakes of a model, one a row, and by name what is averaged over them, [mistakes]."""
    wrong, compared = np.flatnonzero(~subject.right(num_frames)), roles(subject, num_frames)
    score, names = subject.values[num_frames].score[wrong], np.array(subject.classes)
    esv = {role: subject.esv_of(num_frames, which)[wrong] for role, which in compared.items()}
    misleading = esv["predicted"] - esv["true"]
    worst = misleading.argmax(axis=1)
    esv_of_worst = {role: removal.of_class(values, worst) for role, values in esv.items()}
    column = {role: role.replace("-", "_") for role in compared}
    table = {
        "model": subject.name,
        "clip": np.array(subject.uid)[wrong],
        **{column[role]: names[which[wrong]] for role, which in compared.items()},
        **{f"score_{column[role]}": removal.of_class(score, which[wrong]) for role, which in compared.items()},
        "worst_frame": subject.values[num_frames].frame_index[wrong, worst],
        "worst_position": worst,
        **{f"esv_{column[role]}": values for role, values in esv_of_worst.items()},
    }
    above = np.maximum(misleading, 0)
    measures = {
        **{f"positive ESV for the {role} class": summary.supporting_share(values) for role, values in esv.items()},
        "share of the misleading that the worst frame holds": above.max(axis=1) / np.maximum(above.sum(axis=1), 1e-12),
        "ESV of the worst frame for the predicted class": esv_of_worst["predicted"],
        "ESV of the worst frame for the true class": esv_of_worst["true"],
    }
    return pd.DataFrame(table), measures

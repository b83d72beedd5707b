"""d. Which frames misled the model."""

import numpy as np

from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.metrics import bootstrap, summary


def analyse(subjects: list[Subject], num_frames: int) -> Report:
    """Of misclassified clips: the frame that speaks most for the predicted class against the true one; means of clips.

    Where the true class is the second, the runner-up is the third.
    """
    rows, means = [], []
    for subject in subjects:
        score = subject.values[num_frames].score
        predicted = score.argmax(axis=1)
        other = summary.best_besides(score, subject.label)
        wrong = np.flatnonzero(predicted != subject.label)
        roles = {"true": subject.label, "predicted": predicted, "runner-up": other}
        esv = {role: subject.esv_of(num_frames, which) for role, which in roles.items()}
        misleading = esv["predicted"] - esv["true"]
        for v in wrong:
            worst = int(misleading[v].argmax())
            rows.append(
                (
                    subject.name,
                    subject.uid[v],
                    *(subject.classes[which[v]] for which in roles.values()),
                    *(float(score[v, which[v]]) for which in roles.values()),
                    int(subject.values[num_frames].frame_index[v, worst]),
                    worst,
                    *(float(esv[role][v, worst]) for role in roles),
                )
            )
        if len(wrong):
            share = np.maximum(misleading[wrong], 0)
            of_top = share.max(axis=1) / np.maximum(share.sum(axis=1), 1e-12)
            measures = {
                f"positive ESV for the {role} class": summary.supporting_share(esv[role][wrong]) for role in roles
            }
            measures["share of the misleading that the worst frame holds"] = of_top
            measures["ESV of the worst frame for the predicted class"] = esv["predicted"][
                wrong, misleading[wrong].argmax(1)
            ]
            measures["ESV of the worst frame for the true class"] = esv["true"][wrong, misleading[wrong].argmax(1)]
            means += [(subject.name, n, *with_interval(bootstrap.interval(m))) for n, m in measures.items()]
    columns = (
        *("model", "clip", "true", "predicted", "runner_up", "score_true", "score_predicted", "score_runner_up"),
        *("worst_frame", "worst_position", "esv_true", "esv_predicted", "esv_runner_up"),
    )
    return Report(
        {
            "d_mistakes": Table(columns, rows),
            "d_summary": Table(("model", "measure", "mean", "low", "high", "videos"), means),
        }
    )

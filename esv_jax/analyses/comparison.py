"""One table a model: every method by its agreement with exact values, what removing its frames does, and evidence."""

import pandas as pd

from esv_jax.analyses import report
from esv_jax.analyses.report import Report, Tables

# Of the tables of `agreements`, `discarding` and `recorded`.
NEEDED = ("f_agreement", "e_areas", "r_evidence")
_ESV = "ESV"


def compared(tables: Tables) -> Report:
    """The tables' lines of all methods side by side, by model.

    Columns: correlation of ranks with exact Element Shapley Values, and how often both have the same top frame; the
    mean score of the true class as the frames of the highest values go first (the lower, the more they counted) and as
    those of the lowest do (the higher, the better); the area under ROC of |values| for the frames of the evidence.

    Args:
      tables: `NEEDED`; "r_evidence" may be empty or absent.
    """
    agreement, areas = tables["f_agreement"], tables["e_areas"]
    parts = []
    for measure, head in (("spearman", "Spearman with ESV"), ("top-1", "same top frame as ESV")):
        mine = agreement[(agreement["method"] == _ESV) & (agreement["measure"] == measure)]
        itself = mine.drop_duplicates("model").assign(other=_ESV, mean=1.0, low=1.0, high=1.0)
        both = pd.concat([itself, mine]).drop(columns="method")
        parts.append(both.rename(columns={"other": "method"}).assign(head=head))
    scores = areas[(areas["ranked_by"] == "true") & (areas["measure"] == "score of the true class")]
    for first, head in (("highest", "score, highest go first"), ("lowest", "score, lowest go first")):
        parts.append(scores[scores["first"] == first].assign(head=head))
    if "r_evidence" in tables and len(tables["r_evidence"]):
        found = tables["r_evidence"]
        found = found[(found["ranking"] == "absolute") & (found["measure"] == "AUROC")]
        for smooth, mine in found.groupby("smooth", sort=False):
            parts.append(mine.assign(head="evidence" if smooth == 1 else f"evidence, mean of {smooth}"))
    columns = ["model", "method", "head", *report.MEAN]
    table = pd.concat([part[columns] for part in parts], ignore_index=True)
    by_model = {}
    for i, (model, mine) in enumerate(table.groupby("model", sort=False), start=1):
        by_model[f"comparison_{i}"] = report.pivot(mine, "method", ["head"], str(model))
    return Report({"comparison": table}, {}, by_model)

"""f. Agreement between methods, and how complete Integrated Gradients are."""

import itertools
from typing import Any

import numpy as np
import pandas as pd

from esv_jax.analyses import charts, report
from esv_jax.analyses.methods import ESV
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.metrics import agreement

_MEASURES = {
    "pearson": agreement.pearson,
    "spearman": agreement.spearman,
    "sign": agreement.sign_agreement,
    "top-1": agreement.top_agreement,
}


def analyse(study: Study) -> Report:
    """Agreement over the frames of a clip, for the true class, in the mean over clips; pairs in one order only.

    Clips for which a method gives all frames the same are left out of correlations with it: see the column videos.
    """
    rows, gaps = [], []
    for subject, methods in zip(study.subjects, study.attributions(), strict=True):
        gaps += [(subject.name, name, gap) for name, gap in methods.completeness_gap.items()]
        for (one, a), (other, b) in itertools.combinations(methods.values.items(), 2):
            for measure, function in _MEASURES.items():
                per_video = function(a[..., 0], b[..., 0])
                per_video = per_video[np.isfinite(per_video)]
                if len(per_video):
                    rows.append((subject.name, measure, one, other, *report.mean(per_video)))
    table = pd.DataFrame(rows, columns=["model", "measure", "method", "other", *report.MEAN])
    complete = pd.DataFrame(gaps, columns=["model", "method", "largest_error"])
    tables = {"f_agreement": table, "f_completeness": complete}
    return Report(tables, {"f_agreement": lambda: _figure(table)}, page(tables))


def page(tables: Tables) -> Tables:
    table, complete = tables["f_agreement"], tables["f_completeness"]
    errors = [report.number(error, ".1e") for error in complete["largest_error"]]
    with_esv = table[table["method"] == ESV]
    return {
        "agreement": report.pivot(with_esv, "other", ["model", "measure"], "ESV against"),
        "completeness": complete.assign(largest_error=errors),
    }


def _figure(table: pd.DataFrame) -> Any:
    models = table.groupby("model", sort=False)
    names = list(dict.fromkeys([*table["method"], *table["other"]]))
    figure, axes = charts.subplots(1, len(models), 3.6, sharey=True)
    for panel, (model, mine) in zip(axes[0], models, strict=True):
        mine = mine[mine["measure"] == "spearman"].pivot(index="other", columns="method", values="mean")
        grid = mine.reindex(index=names, columns=names).to_numpy()
        panel.imshow(grid, vmin=-1, vmax=1, cmap="RdBu", aspect="equal")
        for j, i in np.argwhere(np.isfinite(grid)):
            colour = "white" if abs(grid[j, i]) > 0.6 else charts.INK
            words = f"{grid[j, i]:.2f}".replace("-", "\N{MINUS SIGN}")
            panel.text(i, j, words, ha="center", va="center", size=6, color=colour)
        panel.set_xticks(range(len(names) - 1), names[:-1], rotation=50, ha="right")
        panel.set_yticks(range(1, len(names)), names[1:])
        panel.set(xlim=(-0.5, len(names) - 1.5), ylim=(len(names) - 0.5, 0.5), title=f"{model}: Spearman")
        panel.spines[:].set_visible(False)
    return figure

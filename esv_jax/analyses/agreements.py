"""f. Agreement between methods."""

import itertools
from typing import Any

import numpy as np

from esv_jax.analyses import charts
from esv_jax.analyses.methods import Methods
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.metrics import agreement, bootstrap

_MEASURES = {
    "pearson": agreement.pearson,
    "spearman": agreement.spearman,
    "sign": agreement.sign_agreement,
    "top-1": agreement.top_agreement,
}


def analyse(subjects: list[Subject], methods: list[Methods]) -> Report:
    """Agreement over the frames of a clip, for the true class, in the mean over clips; pairs in one order only.

    Clips for which a method gives all frames the same are left out of correlations with it: see the column videos.
    """
    rows = []
    for subject, values in zip(subjects, methods, strict=True):
        of_class = {name: v[..., 0] for name, v in values.items()}
        for (one, a), (other, b) in itertools.combinations(of_class.items(), 2):
            for measure, function in _MEASURES.items():
                per_video = function(a, b)
                per_video = per_video[np.isfinite(per_video)]
                if len(per_video):
                    rows.append((subject.name, measure, one, other, *with_interval(bootstrap.interval(per_video))))
    table = Table(("model", "measure", "method", "other", "mean", "low", "high", "videos"), rows)
    return Report({"f_agreement": table}, {"f_agreement": lambda: _figure(table, subjects, list(methods[0]))})


def _figure(table: Table, subjects: list[Subject], names: list[str]) -> Any:
    figure, axes = charts.subplots(1, len(subjects), 3.6, sharey=True)
    for panel, subject in zip(axes[0], subjects, strict=True):
        grid = np.full((len(names), len(names)), np.nan)
        mine = table.where(model=subject.name, measure="spearman")
        for one, other, mean in zip(mine.column("method"), mine.column("other"), mine.column("mean"), strict=True):
            i, j = sorted((names.index(one), names.index(other)))
            grid[j, i] = mean
        panel.imshow(grid, vmin=-1, vmax=1, cmap="RdBu", aspect="equal")
        for j, i in itertools.product(range(len(names)), repeat=2):
            if np.isfinite(grid[j, i]):
                colour = "white" if abs(grid[j, i]) > 0.6 else charts.INK
                panel.text(
                    i,
                    j,
                    f"{grid[j, i]:.2f}".replace("-", "\N{MINUS SIGN}"),
                    ha="center",
                    va="center",
                    size=6,
                    color=colour,
                )
        panel.set_xticks(range(len(names) - 1), names[:-1], rotation=50, ha="right")
        panel.set_yticks(range(1, len(names)), names[1:])
        panel.set(xlim=(-0.5, len(names) - 1.5), ylim=(len(names) - 0.5, 0.5), title=f"{subject.name}: Spearman")
        panel.spines[:].set_visible(False)
    return figure

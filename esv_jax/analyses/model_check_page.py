"""What `check_model` found, to look at: one page, a picture, tables, and the summary that a model folder keeps."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from esv_jax import files
from esv_jax.analyses import charts, report
from esv_jax.analyses.model_check import ModelCheck
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import short
from esv_jax.metrics.bootstrap import Interval

MOST_CLASSES = 30  # in the picture; the table has all
_CHANCE = "most frequent class"
_MEASURES = {
    "accuracy": "accuracy",
    "confidence": "confidence",
    "surer": "confidence - accuracy",
    "calibration_error": "calibration error",
    "brier": "Brier score",
    "entropy": "entropy / largest",
}


def summary(check: ModelCheck) -> dict[str, Any]:
    """What of a check is kept: json, numbers rounded to four decimals."""
    of_size = {
        name: [round(float(value), 4) for value in interval.mean]
        for name, interval in check.by_size._asdict().items()
        if interval is not None
    }
    return {
        "verdict": check.verdict,
        "sentence": check.sentence,
        "num_videos": check.num_videos,
        "num_frames": check.num_frames,
        "num_evaluations": check.num_evaluations,
        "chance": round(check.chance, 4),
        "surer": None if check.surer is None else round(float(check.surer.mean), 4),
        "by_size": of_size,
    }


def save_check(folder: Path, check: ModelCheck, class_names: Sequence[str], name: str) -> None:
    """Writes check.md, the page, with check.png, check_by_size.csv, check_by_class.csv and check.json, into a folder.

    Args:
      class_names: C names.
      name: of the model, for the titles.

    Raises:
      MissingExtraError: matplotlib is not installed.
    """
    tables = {"check_by_size": _by_size(check), "check_by_class": _by_class(check, class_names)}
    made = Report(tables, {"check": lambda: _figure(check, class_names, name)})
    report.save(folder, made)
    files.write_json(folder / "check.json", summary(check))
    files.write_text(folder / "check.md", _page(check, class_names, name))


def _by_size(check: ModelCheck) -> pd.DataFrame:
    rows = [
        (size, _MEASURES[name], *bounds)
        for name, interval in check.by_size._asdict().items()
        if interval is not None
        for size, bounds in enumerate(zip(interval.mean, interval.low, interval.high, strict=True), start=1)
    ]
    return pd.DataFrame(rows, columns=["frames", "measure", "mean", "low", "high"])


def _by_class(check: ModelCheck, class_names: Sequence[str]) -> pd.DataFrame:
    sizes = range(1, check.num_frames + 1)
    rows = {"class": list(class_names), "videos": check.class_videos}
    rows |= {f"accuracy of {k}": check.class_accuracy[:, k - 1] for k in sizes}
    if check.class_confidence is not None:
        rows |= {f"confidence of {k}": check.class_confidence[:, k - 1] for k in sizes}
    return pd.DataFrame(rows)


def _told(interval: Interval, form: str = ".3f") -> str:
    return f"{interval.mean:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _asked(check: ModelCheck, class_names: Sequence[str]) -> list[tuple[str, str]]:
    """What else was asked, and the answers."""
    rows = [(_CHANCE, f"{check.chance:.3f}")]
    if check.surer is not None:
        rows.append(("surer than right, in the mean over sizes", _told(check.surer)))
    for name, altered in check.order.items():
        rows += [
            (f"{name}: accuracy", _told(altered.accuracy)),
            (f"{name}: says another class", _told(altered.other_class)),
            (f"{name}: change of scores", _told(altered.change)),
        ]
    ignored = ", ".join(map(str, check.ignored)) or "none"
    rows.append(("frames that never change a score, whether removed or replaced", ignored))
    if check.copies is not None:
        rows += [
            ("top frame twice: credit of both, as a multiple of what it had", _told(check.copies.total, ".2f")),
            ("top frame twice: how far the two are apart, as a multiple", _told(check.copies.apart, ".2g")),
        ]
    if check.blank is not None:
        said = f"{class_names[check.blank.predicted]!s:.60}, {check.blank.confidence:.3f}"
        rows += [
            ("a blank clip: what it says", said),
            ("a blank clip: change from v(nobody)", f"{check.blank.change:.3f}"),
        ]
    if check.explained is not None:
        rows += [
            ("share of v(S) that single frames explain", _told(check.explained.singles)),
            ("share that single frames and pairs explain", _told(check.explained.pairs)),
        ]
    return rows


def _page(check: ModelCheck, class_names: Sequence[str], name: str) -> str:
    table = _by_size(check)
    cells = [f"{row.mean:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in table.itertuples()]
    by_size = table.assign(cell=cells).pivot(index="frames", columns="measure", values="cell")
    by_size = by_size[list(table["measure"].unique())].rename_axis(columns=None).reset_index()
    asked = pd.DataFrame(_asked(check, class_names), columns=["asked", "answer"])
    return (
        f"# Is {_plain(name)} to be believed?\n\n**{_plain(check.sentence)}.**\n\n"
        f"Asked of {check.num_videos} videos of {check.num_frames} frames, {check.num_evaluations} evaluations; "
        "in brackets, 95 % intervals over videos.\n\n![The check](check.png)\n\n## By the number of frames shown\n\n"
        f"{report.markdown(by_size)}\n\n## What else was asked\n\n{report.markdown(asked)}\n\n"
        "By class: check_by_class.csv. What is measured is said in esv_jax/analyses/model_check.py.\n"
    )


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def _figure(check: ModelCheck, class_names: Sequence[str], name: str) -> Any:
    shown = np.argsort(-check.class_videos, kind="stable")[: min(MOST_CLASSES, int((check.class_videos > 0).sum()))]
    figure, (above, below) = charts.stacked(3.1, 0.8 + 0.16 * len(shown))
    above.suptitle(f"{name}\n{textwrap.fill(check.sentence, 105)}", fontsize=8.5, x=0.01, ha="left")
    of_sizes, of_change, of_order = above.subplots(1, 3)
    _draw_sizes(of_sizes, check)
    _draw_change(of_change, check)
    _draw_asked(of_order, check)
    _draw_classes(below.subplots(), check, class_names, np.sort(shown))
    return figure


def _draw_sizes(panel: Any, check: ModelCheck) -> None:
    sizes = np.arange(1, check.num_frames + 1)
    lines = {
        "how sure: confidence": check.by_size.confidence,
        "how often right: accuracy": check.by_size.accuracy,
    }
    for i, (label, interval) in enumerate((label, line) for label, line in lines.items() if line is not None):
        panel.plot(sizes, interval.mean, label=label, **charts.style(i))
        charts.band(panel, sizes, interval.low, interval.high, i)
    panel.axhline(check.chance, color=charts.FAINT, linewidth=0.8, linestyle=":", label=_CHANCE)
    panel.set(xlabel="frames shown", ylim=(0, 1.02), title="as sure as it is right?")
    panel.set_xticks(sizes[:: max(1, len(sizes) // 8)])
    _legend(panel)


def _legend(panel: Any) -> None:
    """Below the panel, where no line can lie."""
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), borderaxespad=0)


def _draw_change(panel: Any, check: ModelCheck) -> None:
    positions = np.arange(check.num_frames)
    panel.plot(positions, check.removed, label="removed", **charts.style(0))
    if check.replaced is not None:
        panel.plot(positions, check.replaced, label="another clip's in its place", **charts.style(1))
    panel.set(xlabel="position of the frame", ylabel="change of scores", title="each frame looked at?")
    panel.set_xticks(positions[:: max(1, len(positions) // 8)])
    panel.set_ylim(bottom=0)
    _legend(panel)


def _draw_classes(panel: Any, check: ModelCheck, class_names: Sequence[str], shown: np.ndarray) -> None:
    grid = check.class_accuracy[shown]
    panel.imshow(grid, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    names = [f"{short(class_names[c]):.44}" for c in shown]
    panel.set_yticks(range(len(shown)), names, fontsize=6)
    ticks = np.arange(check.num_frames)[:: max(1, check.num_frames // 8)]
    panel.set_xticks(ticks, ticks + 1)
    if check.num_frames <= 10:
        for (row, column), value in np.ndenumerate(grid):
            ink = "white" if value < 0.6 else charts.INK
            panel.text(column, row, f"{value:.0%}"[:-1], ha="center", va="center", color=ink, size=5.5)
    panel.set(xlabel="frames shown", title="accuracy by class (percent)")
    panel.spines[:].set_visible(False)


def _draw_asked(panel: Any, check: ModelCheck) -> None:
    bars: list[tuple[str, Interval]] = [("accuracy", _last(check.by_size.accuracy))]
    bars += [(f"{name}", altered.accuracy) for name, altered in check.order.items()]
    if check.explained is not None:
        bars += [("v(S) by singles", check.explained.singles), ("and by pairs", check.explained.pairs)]
    for row, (_, interval) in enumerate(bars):
        error = [[interval.mean - interval.low], [interval.high - interval.mean]]
        panel.barh(row, interval.mean, color=charts.COLOURS[0 if row <= len(check.order) else 2], height=0.6)
        panel.errorbar(interval.mean, row, xerr=np.maximum(error, 0), color=charts.INK, elinewidth=0.8)
    panel.set_yticks(range(len(bars)), [label for label, _ in bars])
    panel.invert_yaxis()
    panel.set(xlim=(0, 1.02), title="order; shares of v(S)")


def _last(interval: Interval) -> Interval:
    return Interval(interval.mean[-1], interval.low[-1], interval.high[-1], interval.num_videos)

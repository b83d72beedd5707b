"""How all figures of the analyses look: made for a column of text, 6.3 inches wide."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from esv_jax.checks import require
from esv_jax.results import pictures

WIDTH = 6.3  # inches
INK, FAINT = "#1A1A1A", "#6A6A6A"
# Okabe and Ito's colours, distinct under every common colour blindness, and two of Tol's; dashes and markers tell them
# apart in grey.
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8A7A00", "#8A8A8A", "#1A1A1A"),
    *("#882255", "#44AA99"),
)
DASHES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)), (0, (6, 2)), (0, (2, 1)), (0, (1, 2)), "-", "--", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "x", "*", "<", ">")
_STYLE = {
    "text.parse_math": False,  # of classes, whose names may hold dollars
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "image.cmap": "RdBu",
}


def save(path: Path, draw: Callable[[], Any]) -> None:
    """Draws a figure in the common style, and writes it as a PNG of 140 dots an inch.

    Raises:
      MissingExtraError: matplotlib is not installed.
    """
    with pictures.drawing(_STYLE):
        pictures.save(draw(), path, dpi=140)


def subplots(rows: int, columns: int, height: float, **options: Any) -> tuple[Any, Any]:
    """A figure of the common width, and its axes in an array [rows, columns]."""
    figure = _figure(height)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def stacked(*heights: float) -> tuple[Any, list[Any]]:
    """A figure of the common width, and parts of it above one another, whose panels are laid out on their own."""
    figure = _figure(sum(heights))
    return figure, figure.subfigures(len(heights), 1, height_ratios=heights)


def _figure(height: float) -> Any:
    figure_module = require("matplotlib.figure", extra="plots")
    return figure_module.Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")


def style(i: int) -> dict[str, Any]:
    """Colour, dashes and marker of the i-th line."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[i % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
    }


def dots(axes: Any, y: Any, table: Any, i: int, label: str) -> None:
    """The means of a table (columns mean, low, high) at heights y, with their intervals across."""
    error = [table["mean"] - table["low"], table["high"] - table["mean"]]
    look = {"color": COLOURS[i], "marker": MARKERS[i], "linestyle": "none", "elinewidth": 0.9}
    axes.errorbar(table["mean"], y, xerr=error, label=label, **look)


def band(axes: Any, x: Any, low: Any, high: Any, i: int) -> None:
    """What lies between two lines, behind the i-th line."""
    axes.fill_between(x, low, high, color=COLOURS[i], alpha=0.15, linewidth=0)


def legend(figure: Any, axes: Any, place: str = "upper", columns: int | None = None) -> None:
    """What the first panel shows, above or below (`place` "lower") all panels."""
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc=f"outside {place} center", ncols=columns or len(labels))

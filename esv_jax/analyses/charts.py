"""How all figures of the analyses look: made for a column of text, 6.3 inches wide."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from esv_jax.checks import require

WIDTH = 6.3  # inches
INK, FAINT = "#1A1A1A", "#6A6A6A"
# Okabe and Ito's colours, distinct under every common colour blindness; dashes and markers tell them apart in grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8A7A00", "#8A8A8A", "#1A1A1A")
DASHES = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)), (0, (6, 2)), (0, (2, 1)), (0, (1, 2)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "x", "*")
_STYLE = {
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
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
    matplotlib = require("matplotlib", extra="plots")
    with matplotlib.rc_context(_STYLE):
        draw().savefig(path, dpi=140, format="png", metadata={"Software": None})


def subplots(rows: int, columns: int, height: float, **options: Any) -> tuple[Any, Any]:
    """A figure of the common width, and its axes in an array [rows, columns]."""
    figure_module = require("matplotlib.figure", extra="plots")
    figure = figure_module.Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def style(i: int) -> dict[str, Any]:
    """Colour, dashes and marker of the i-th line."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[i % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
    }


def dots(axes: Any, place: Any, mean: Any, low: Any, high: Any, i: int, label: str, *, across: bool = True) -> None:
    """Means with their intervals as dots and lines, along x (`across`) or y."""
    error = [mean - low, high - mean]
    options = {"color": COLOURS[i], "marker": MARKERS[i], "linestyle": "none", "elinewidth": 0.9, "label": label}
    if across:
        axes.errorbar(mean, place, xerr=error, **options)
    else:
        axes.errorbar(place, mean, yerr=error, **options)

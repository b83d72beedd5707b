"""The triangle of pairs above the frames: the upper half of a matrix [P, P], turned until its diagonal lies level.

From a frame lines go up to the left and to the right; where those of two frames meet stands what they do together, as
in pictures of linkage between genes (Barrett et al. 2005) or of contacts along a chromosome.
"""

from typing import Any

import numpy as np

from esv_jax.checks import require
from esv_jax.results.explanation import Explanation, cells, names
from esv_jax.results.panels import DISTRACTING, INK, SMALL, SUPPORTING, printed

# Of the width of its frames: a right angle at the top would take as much as half.
HEIGHT = 0.3
_STRENGTHS = 256
_LINE = 0.5  # points


def spans(explained: Explanation) -> list[tuple[float, float]]:
    """Where every player begins and ends among the cells of a picture; players stand one behind another."""
    return [(min(own) - 0.5, max(own) + 0.5) for own in cells(explained)]


def scale(values: np.ndarray, classes: list[int]) -> float:
    """The strength [] of the strongest pair of any of `classes`, of values [P, P, C]: full colour for all of them."""
    upper = np.triu_indices(len(values), 1)
    return float(np.abs(values[upper][:, classes]).max(initial=np.finfo(np.float32).tiny))


def highest(values: np.ndarray) -> tuple[int, int]:
    """The pair of the highest of values [P, P], the first of equals; P >= 2."""
    first, second = np.triu_indices(len(values), 1)
    top = int(np.argmax(values[first, second]))
    return int(first[top]), int(second[top])


def title(explained: Explanation, class_index: int, values: np.ndarray, decimals: int) -> str:
    """What stands above the triangle of values [P, P] of a class."""
    words = f"Pairs for {explained.class_names[class_index]}"
    if len(values) < 2:
        return words
    i, j = highest(values)
    value = printed(float(values[i, j]), decimals, signed=True)
    kind = "frames " if explained.players is None else ""
    return f"{words}: most by {kind}{names(explained)[i]} and {names(explained)[j]} ({value})"


def draw(axes: Any, explained: Explanation, values: np.ndarray, strongest: float) -> None:
    """Values [P, P] of one class: blue where two support it together, orange where they take from it.

    The highest is framed, and lines lead down to its two players.
    """
    draw_cells(axes, spans(explained), values, strongest)


def draw_cells(axes: Any, edges: list[tuple[float, float]], values: np.ndarray, strongest: float) -> None:
    """`draw`, for players that begin and end at `edges`."""
    patches, colours = require("matplotlib.patches", extra="plots"), _colours()
    first, second = np.triu_indices(len(values), 1)
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        colour = colours(0.5 + 0.5 * values[i, j] / strongest)
        axes.add_patch(patches.Polygon(_corners(edges[i], edges[j]), facecolor=colour, edgecolor="white", lw=_LINE))
    width = edges[-1][1] - edges[0][0]
    axes.set(xlim=(-0.5, edges[-1][1]), ylim=(0, width / 2))
    axes.set_axis_off()
    if not len(first):
        return
    i, j = highest(values)
    corners = _corners(edges[i], edges[j])
    axes.add_patch(patches.Polygon(corners, facecolor="none", edgecolor=INK, lw=1.0, zorder=3, joinstyle="miter"))
    at = corners.mean(axis=0)
    for player in (i, j):
        middle = (edges[player][0] + edges[player][1]) / 2
        axes.plot([middle, at[0]], [0, at[1]], color=INK, lw=_LINE, ls=(0, (2, 2)), zorder=2)


def draw_scale(axes: Any, strongest: float, decimals: int) -> None:
    """What the colours mean."""
    axes.imshow(
        np.linspace(-1, 1, _STRENGTHS)[None],
        extent=(-1, 1, 0, 1),
        aspect="auto",
        cmap=_colours(),
        vmin=-1,
        vmax=1,
    )
    ends = [printed(sign * strongest, decimals, signed=True) for sign in (-1, 1)]
    ticks = axes.set_xticks([-1, 0, 1], [ends[0], "0", ends[1]])
    for tick, side in zip(ticks, ("left", "center", "right"), strict=True):
        tick.label1.set_horizontalalignment(side)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("two frames together", size=SMALL, pad=2.5)


def _colours() -> Any:
    colours = require("matplotlib.colors", extra="plots")
    return colours.LinearSegmentedColormap.from_list("pairs", [DISTRACTING, "#FFFFFF", SUPPORTING], N=_STRENGTHS + 1)


def _corners(one: tuple[float, float], other: tuple[float, float]) -> np.ndarray:
    """[4, 2]: the cell of a column `one` and a row `other`, turned by 45 degrees."""
    flat = [(one[0], other[0]), (one[1], other[0]), (one[1], other[1]), (one[0], other[1])]
    return np.array([((a + b) / 2, (b - a) / 2) for a, b in flat])

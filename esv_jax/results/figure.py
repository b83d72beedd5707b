"""report.png: the frames of a video above the bars of what each did to a class's score, ready for a paper.

Positions are worked out in inches, so that every frame stands exactly above its bar and nothing overlaps, whatever the
number of frames. More than `_FRAMES_PER_ROW` frames run on in further rows, as staves of music do.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esv_jax.checks import InputError, check_shape, require
from esv_jax.results import panels, pictures, triangle
from esv_jax.results.explanation import NO_INTERVAL, Explanation, cells, has_interval, predicted_class

_FRAMES_PER_ROW = 16
_NORMAL = 8.0  # points
_LETTER = 0.66  # of their size: how wide letters of bold text are on average; the box of wide ones is 1.2
# Inches from here on.
_LINE = 0.15
_ABOVE_TITLE, _BELOW_TITLE, _BELOW_PANEL = 0.10, 0.02, 0.16
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.55, 0.08, 0.08, 0.24
_BAR_HEIGHT, _BETWEEN = 1.0, 0.34
_CELL_SMALLEST, _CELL_LARGEST, _STRIP = 0.42, 1.05, 4.6
_SUM_BAR, _LEGEND_HEIGHT = 0.37, 0.48
_BELOW_PAIRS, _COLOURS_HEIGHT = 0.05, 0.09
_TICKS = {"labelsize": panels.SMALL, "pad": 2.0, "length": 2.0, "width": 0.6, "color": panels.INK}
_STYLE = {
    "text.color": panels.INK,
    "font.size": panels.SMALL,
    "axes.linewidth": 0.6,
    "axes.edgecolor": panels.INK,
    "axes.labelcolor": panels.INK,
    "axes.labelsize": panels.SMALL,
    "axes.labelpad": 2.0,
    "hatch.linewidth": 0.5,
}


class _Page(NamedTuple):
    """A figure measured in inches from its top left corner."""

    figure: Any
    width: float
    height: float

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        bottom = self.height - top - height
        axes = self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))
        axes.tick_params(**_TICKS)  # ticks are made when drawn, which may be outside of _STYLE's context
        return axes

    def text(self, left: float, top: float, words: str, **style: Any) -> None:
        x, y = left / self.width, 1 - top / self.height
        self.figure.text(x, y, words, va="top", parse_math=False, **style)


def save_report(path: Path, explained: Explanation, classes: Sequence[int], pairs: np.ndarray | None = None) -> None:
    """Writes what `draw_report` draws as a PNG of 300 dots an inch; raises what it raises."""
    _check(explained, classes, pairs)
    with pictures.drawing(_STYLE):
        pictures.save(_draw(explained, list(classes), pairs), path, dpi=300)


def draw_report(explained: Explanation, classes: Sequence[int], pairs: np.ndarray | None = None) -> Any:
    """A matplotlib Figure: the frames, a panel of ESV bars for each of `classes`, and how each score adds up.

    Of groups of frames bars are as wide as these; words and what else is no frame stand behind them as text, in boxes
    coloured by what they did to the first of `classes`.

    All panels share a scale, so that their bars can be compared. If coalitions were sampled, bars carry their 95 %
    intervals, or a sentence says that there are too few samples, and a gap is shown where the values do not add up to
    the score.

    Args:
      pairs: interactions float [P, P, C] of players that stand in one row: a triangle of each class above the frames.

    Raises:
      InputError: no class to draw, or pairs of more frames than a row holds.
      MissingExtraError: matplotlib is not installed.
    """
    _check(explained, classes, pairs)
    with pictures.drawing(_STYLE):
        figure = _draw(explained, list(classes), pairs)
        pictures.find_letters(figure)
        return figure


def _check(explained: Explanation, classes: Sequence[int], pairs: np.ndarray | None) -> None:
    if not classes:
        raise InputError("classes should name at least one class to draw, found none")
    if pairs is None:
        return
    num_players, num_classes = explained.values.shape
    check_shape("pairs", pairs, (num_players, num_players, num_classes))
    if _num_cells(explained) > _FRAMES_PER_ROW:
        raise InputError(f"pairs are drawn of at most {_FRAMES_PER_ROW} frames, found {_num_cells(explained)}")


def _num_cells(explained: Explanation) -> int:
    return max(len(explained.frames), 1 + max(cell for own in cells(explained) for cell in own))


def _draw(explained: Explanation, classes: list[int], pairs: np.ndarray | None) -> Any:
    num_cells = _num_cells(explained)
    num_rows = math.ceil(num_cells / _FRAMES_PER_ROW)
    columns = math.ceil(num_cells / num_rows)
    cell = min(max(_STRIP / columns, _CELL_SMALLEST), _CELL_LARGEST)
    _, tall, wide, _ = explained.images.shape
    image_height = 0.94 * cell * tall / wide
    strip_height = max(image_height, _LEGEND_HEIGHT)
    sum_left = _LEFT + columns * cell + _BETWEEN
    sum_width = _SUM_BAR * (5 if explained.sampled else 4)
    width = sum_left + sum_width + _RIGHT

    decimals = 2 if abs(explained.values[:, classes]).max() >= 0.1 else 3
    sums = [panels.sum_of(explained, c, decimals) for c in classes]
    heading = _wrap(explained.title, width - _LEFT - _RIGHT, panels.SMALL)
    intervals = [has_interval(explained, c) for c in classes]
    if not all(intervals):
        heading += _wrap(NO_INTERVAL, width - _LEFT - _RIGHT, panels.SMALL)
    titles = [
        _wrap(_title(explained, c, terms), width - _LEFT - _RIGHT, _NORMAL)
        for c, terms in zip(classes, sums, strict=True)
    ]
    panel_heights = [_ABOVE_TITLE + _LINE * len(lines) + _BELOW_TITLE + _BAR_HEIGHT + _BELOW_PANEL for lines in titles]
    letters = int(cell * 72 / (_LETTER * panels.SMALL))
    bottom = _BOTTOM if explained.players is None else _BOTTOM + _LINE
    row_height = _LINE + strip_height + sum(panel_heights) + bottom
    triangles = []
    if pairs is not None:
        above = [triangle.title(explained, c, pairs[:, :, c], decimals) for c in classes]
        triangles = [
            _Triangle(pairs[:, :, c], _wrap(words, columns * cell, panels.SMALL))
            for c, words in zip(classes, above, strict=True)
        ]
    below_triangles = _TOP + _LINE * len(heading) + sum(_height_of(each, columns * cell) for each in triangles)
    height = below_triangles + num_rows * row_height
    figure = require("matplotlib.figure", extra="plots").Figure(figsize=(width, height), facecolor="white")
    page = _Page(figure, width, height)

    bar_limits, sum_limits = panels.bar_limits(explained, classes), panels.sum_limits(sums)

    top = _TOP
    for line in heading:
        page.text(_LEFT, top, line, size=panels.SMALL, color=panels.FAINT)
        top += _LINE
    if pairs is not None:
        _draw_triangles(page, explained, triangles, top, columns * cell, triangle.scale(pairs, classes))
        colours = page.axes(sum_left, top + 2 * _LINE + _ABOVE_TITLE, sum_width, _COLOURS_HEIGHT)
        triangle.draw_scale(colours, triangle.scale(pairs, classes), decimals)
    top = below_triangles
    _draw_legend(page, sum_left, top + _LINE, explained.sampled and any(intervals))
    for start in range(0, num_cells, columns):
        row = slice(start, min(start + columns, num_cells))
        row_width = (row.stop - row.start) * cell
        top += _LINE
        strip = page.axes(_LEFT, top + strip_height - image_height, row_width, image_height)
        panels.draw_frames(strip, explained, row, letters, classes[0])
        top += strip_height
        for c, lines, terms in zip(classes, titles, sums, strict=True):
            top += _ABOVE_TITLE
            for line in lines:
                page.text(_LEFT, top, line, size=_NORMAL, weight="bold")
                top += _LINE
            top += _BELOW_TITLE
            bars = page.axes(_LEFT, top, row_width, _BAR_HEIGHT)
            panels.draw_bars(bars, explained, c, row, terms, bar_limits)
            if start == 0:
                panels.draw_sum(
                    page.axes(sum_left, top, sum_width, _BAR_HEIGHT), terms, sum_limits, sampled=explained.sampled
                )
            top += _BAR_HEIGHT + _BELOW_PANEL
        panels.name_players(bars, explained, row, letters)
        top += bottom
    return figure


def _title(explained: Explanation, class_index: int, terms: panels.Sum) -> str:
    role = "predicted, " if class_index == predicted_class(explained) else ""
    score = panels.printed(terms.score, terms.decimals)
    return f"{explained.class_names[class_index]} ({role}score\N{NO-BREAK SPACE}{score})"


class _Triangle(NamedTuple):
    """Interactions [P, P] of a class, and the lines above them."""

    values: np.ndarray
    lines: list[str]


def _height_of(of: _Triangle, width: float) -> float:
    return _ABOVE_TITLE + _LINE * len(of.lines) + triangle.HEIGHT * width + _BELOW_PAIRS


def _draw_triangles(
    page: _Page, explained: Explanation, triangles: list[_Triangle], top: float, width: float, strongest: float
) -> None:
    for each in triangles:
        for i, line in enumerate(each.lines):
            page.text(_LEFT, top + _ABOVE_TITLE + i * _LINE, line, size=panels.SMALL)
        above = top + _ABOVE_TITLE + len(each.lines) * _LINE
        triangle.draw(page.axes(_LEFT, above, width, triangle.HEIGHT * width), explained, each.values, strongest)
        top += _height_of(each, width)


def _draw_legend(page: _Page, left: float, top: float, intervals: bool) -> None:
    entries = [("▲", panels.SUPPORTING, "supporting"), ("▼", panels.DISTRACTING, "distracting")]
    if intervals:
        entries.append(("I", panels.INK, "95 % interval"))
    for i, (mark, colour, words) in enumerate(entries):
        page.text(left, top + i * _LINE, mark, size=panels.SMALL, color=colour)
        page.text(left + 0.14, top + i * _LINE, words, size=panels.SMALL)


def _wrap(words: str, inches: float, points: float) -> list[str]:
    """Lines that fit."""
    width = 1.2 if any(map(pictures.is_wide, words)) else _LETTER
    return textwrap.wrap(words, max(int(inches * 72 / (width * points)), 10))

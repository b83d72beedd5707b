"""The parts of report.png, each drawn on an axes that `figure` has placed: frames, bars, and the sum."""

import textwrap
from typing import Any, NamedTuple

import numpy as np

from esv_jax.results.explanation import Explanation, add_up, cells, gap, has_interval, names

# Okabe and Ito's blue and orange: distinct under every common colour blindness; up and down tell them apart in grey.
SUPPORTING, DISTRACTING = "#0072B2", "#E69F00"
PRIOR, GAP, SCORE = "#A8A8A8", "#FFFFFF", "#3C3C3C"
INK, FAINT = "#1A1A1A", "#6A6A6A"
SMALL = 7.0  # points

_MINUS = "\N{MINUS SIGN}"
_DEEPEST = 0.6  # how strongly a box is coloured at most: its name is to be read on it
_EMPTY_SHARE = 0.17  # share of a panel's height kept for the labels at the ends of its bars


class Sum(NamedTuple):
    """How the score of one class adds up, every figure as it is printed.

    prior + supporting + distracting + gap = score, and `bars` [T] adds up to supporting + distracting, exactly.
    """

    prior: float
    supporting: float
    distracting: float
    gap: float
    score: float
    bars: np.ndarray
    decimals: int


def sum_of(explained: Explanation, class_index: int, decimals: int) -> Sum:
    """Rounds what one class's score is made of so that it adds up as printed (`add_up`)."""
    values = explained.values[:, class_index]
    prior = round(float(explained.empty[class_index]), decimals)
    score = round(float(explained.full[class_index]), decimals)
    up = values > 0
    left_over = float(gap(explained)[class_index])
    terms = np.asarray([values[up].sum(), values[~up].sum(), left_over])
    shown = terms if explained.sampled else terms[:2]
    supporting, distracting, *rest = add_up(shown, score - prior, decimals).tolist()
    bars = np.zeros_like(values)
    bars[up] = add_up(values[up], supporting, decimals)
    bars[~up] = add_up(values[~up], distracting, decimals)
    return Sum(prior, supporting, distracting, rest[0] if rest else 0.0, score, bars, decimals)


def printed(value: float, decimals: int, *, signed: bool = False) -> str:
    """The figure as it stands in the picture: a true minus sign, and a plus where asked, but none before a zero."""
    return f"{value:{'+' if signed and value else ''}.{decimals}f}".replace("-", _MINUS)


class Run(NamedTuple):
    """Cells side by side, of a row of the picture, that one player stands in: from `start` up to before `stop`."""

    player: int
    start: int
    stop: int

    @property
    def middle(self) -> float:
        return (self.start + self.stop - 1) / 2


def runs_of(explained: Explanation, row: slice) -> list[Run]:
    """Where players stand in the cells `row`, counted from its first; frames of no player are left out."""
    found: list[Run] = []
    for player, own in enumerate(cells(explained)):
        inside = [cell - row.start for cell in own if row.start <= cell < row.stop]
        for i, cell in enumerate(inside):
            if i and inside[i - 1] == cell - 1:
                found[-1] = found[-1]._replace(stop=cell + 1)
            else:
                found.append(Run(player, cell, cell + 1))
    return found


def draw_frames(axes: Any, explained: Explanation, row: slice, letters: int, class_index: int) -> None:
    """The cells `row`, side by side: frames, each with its time above; of what is no frame its name in a box, in lines
    of so many letters, the box the more coloured the more it did to a class's score."""
    num_frames = len(explained.frames)
    images, times = explained.images[row], explained.times[row]
    axes.set_axis_off()
    decimals = 2 if explained.times.max() < 100 else 1 if explained.times.max() < 1000 else 0
    for i, (image, time) in enumerate(zip(images, times, strict=True)):
        axes.imshow(image, extent=(i - 0.47, i + 0.47, 0, 1), aspect="auto", origin="upper")
        axes.text(i, 1.04, f"{time:.{decimals}f} s", ha="center", va="bottom", size=SMALL)
    values = explained.values[:, class_index]
    largest = float(np.abs(values).max()) or 1.0
    for run in runs_of(explained, row):
        for cell in range(max(run.start, num_frames - row.start), run.stop):
            colour = SUPPORTING if values[run.player] > 0 else DISTRACTING
            share = _DEEPEST * abs(float(values[run.player])) / largest
            axes.bar([cell], [1.0], 0.94, color=colour, alpha=share, linewidth=0.0)
            axes.bar([cell], [1.0], 0.94, color="none", edgecolor=FAINT, linewidth=0.6)
            words = "\n".join(wrapped(names(explained)[run.player], letters, lines=3))
            axes.text(cell, 0.5, words, ha="center", va="center", size=SMALL, parse_math=False)
    axes.set(xlim=(-0.5, row.stop - row.start - 0.5), ylim=(0, 1))


def wrapped(words: str, letters: int, *, lines: int) -> list[str]:
    """At most so many lines of about so many letters; an ellipsis stands for the rest."""
    return textwrap.wrap(words, max(letters, 2), max_lines=lines, placeholder="…")


def bar_limits(explained: Explanation, classes: list[int]) -> tuple[float, float]:
    """The scale that the bars of all `classes` share, with room for their intervals and labels."""
    low, high = _ends(explained)
    lowest, highest = min(0.0, low[:, classes].min()), max(0.0, high[:, classes].max())
    return _with_room(float(lowest), float(highest))


def draw_bars(
    axes: Any, explained: Explanation, class_index: int, row: slice, terms: Sum, limits: tuple[float, float]
) -> None:
    """The ESVs of the players in `row` for one class: up and blue supports it, down and orange distracts from it.

    As wide as what they stand under; the value is written at the first part of a player.
    """
    runs = runs_of(explained, row)
    who = [run.player for run in runs]
    values = explained.values[who, class_index]
    low, high = (ends[who, class_index] for ends in _ends(explained))
    x = np.array([run.middle for run in runs])
    width = [run.stop - run.start - 0.28 for run in runs]
    axes.bar(x, values, width=width, color=np.where(values > 0, SUPPORTING, DISTRACTING))
    axes.axhline(0.0, color=INK, linewidth=0.6)
    if explained.sampled and has_interval(explained, class_index):
        reach = [values - low, high - values]
        axes.errorbar(x, values, yerr=reach, fmt="none", ecolor=INK, elinewidth=0.7, capsize=1.8, capthick=0.7)
    first = {player: min(own, default=-1) - row.start for player, own in enumerate(cells(explained))}
    for i, (run, value) in enumerate(zip(runs, values, strict=True)):
        if run.start != first[run.player]:
            continue
        up = value >= 0
        axes.annotate(
            printed(terms.bars[run.player], terms.decimals, signed=True),
            (x[i], max(high[i], 0.0) if up else min(low[i], 0.0)),
            xytext=(0, 1.5 if up else -1.5),
            textcoords="offset points",
            ha="center",
            va="bottom" if up else "top",
            size=SMALL,
        )
    axes.set(xlim=(-0.5, row.stop - row.start - 0.5), ylim=limits, xticks=[])
    axes.set_ylabel("ESV")
    axes.locator_params(axis="y", nbins=4)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _ends(explained: Explanation) -> tuple[np.ndarray, np.ndarray]:
    """Low and high [T, C] as they are drawn: the values where there is no interval."""
    low, high = (np.where(np.isfinite(end), end, explained.values) for end in (explained.low, explained.high))
    return low, high


def name_players(axes: Any, explained: Explanation, row: slice, letters: int) -> None:
    """Writes the indices of the frames under the lowest panel of a row, or players' names, so many letters a cell."""
    if explained.players is None:
        numbers = explained.frames[row]
        axes.set_xticks(np.arange(len(numbers)), [str(n) for n in numbers])
        axes.set_xlabel("frame")
    else:
        # What is no frame has its name in its cell.
        runs = [run for run in runs_of(explained, row) if row.start + run.start < len(explained.frames)]
        shown = [
            "\n".join(wrapped(names(explained)[run.player], letters * (run.stop - run.start), lines=2)) for run in runs
        ]
        ticks = axes.set_xticks([run.middle for run in runs], shown)
        for tick in ticks:
            tick.label1.set_parse_math(False)
    axes.tick_params(axis="x", length=0)


def sum_limits(sums: list[Sum]) -> tuple[float, float]:
    """The scale that the sums of all classes share."""
    ends = [np.cumsum([s.prior, s.supporting, s.distracting, s.gap]) for s in sums]
    scores = [s.score for s in sums]
    every = np.concatenate([*ends, scores, [0.0]])
    return _with_room(float(every.min()), float(every.max()))


def draw_sum(axes: Any, terms: Sum, limits: tuple[float, float], *, sampled: bool) -> None:
    """A waterfall from the prior, up by what supports, down by what distracts, to the score."""
    names = ["prior", "+ ESV", f"{_MINUS} ESV", *(["gap"] if sampled else []), "score"]
    steps = [terms.supporting, terms.distracting, *([terms.gap] if sampled else [])]
    colours = [PRIOR, SUPPORTING, DISTRACTING, *([GAP] if sampled else []), SCORE]
    bottoms = [0.0, *(terms.prior + np.cumsum([0.0, *steps[:-1]])), 0.0]
    heights = [terms.prior, *steps, terms.score]
    axes.bar(range(len(heights)), heights, 0.72, bottoms, color=colours, edgecolor=INK, linewidth=0.0)
    if sampled:
        axes.bar([3], [terms.gap], 0.72, [bottoms[3]], color="none", edgecolor=FAINT, linewidth=0.6, hatch="////")
    for i in range(len(heights) - 1):
        level = bottoms[i] + heights[i]
        axes.plot([i - 0.36, i + 1 + 0.36], [level, level], color=FAINT, linewidth=0.5)
    for i, (bottom, tall) in enumerate(zip(bottoms, heights, strict=True)):
        axes.annotate(
            printed(tall, terms.decimals, signed=0 < i < len(heights) - 1),
            (i, max(bottom, bottom + tall)),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=SMALL,
        )
    axes.axhline(0.0, color=INK, linewidth=0.6)
    axes.set(xlim=(-0.5, len(heights) - 0.5), ylim=limits, yticks=[])
    axes.set_xticks(range(len(heights)), names)
    axes.tick_params(axis="x", length=0)
    axes.spines[:].set_visible(False)


def _with_room(lowest: float, highest: float) -> tuple[float, float]:
    if lowest == highest:
        return -1.0, 1.0
    below, above = _EMPTY_SHARE * (lowest < 0), _EMPTY_SHARE * (highest > 0)
    per_share = (highest - lowest) / (1 - below - above)
    return lowest - below * per_share, highest + above * per_share

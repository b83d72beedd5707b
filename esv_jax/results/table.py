"""An explanation as a table for the terminal, which adds up as printed: prior + sum of the ESVs = score."""

import numpy as np

from esv_jax.results.explanation import (
    NO_INTERVAL,
    Explanation,
    add_up,
    cells,
    gap,
    has_interval,
    names,
    predicted_class,
)

_DECIMALS = 4
_LONGEST_NAME = 24
# Characters on each side of the zero line; with intervals, so that a line has 80.
_HALF_BAR, _HALF_BAR_BESIDE_INTERVALS = 14, 11


def format_table(explained: Explanation, class_index: int, *, ascii_only: bool = False) -> str:
    """The Element Shapley Values of one class, a line for each frame (or player), and a running total to the score.

    Printed figures add up exactly; to do so one may differ from its value by one unit of the last decimal
    (`add_up`). A sampled estimate has 95 % intervals, and a line for the gap that sampling leaves.
    """
    values, low, high = (of[:, class_index] for of in (explained.values, explained.low, explained.high))
    prior = round(float(explained.empty[class_index]), _DECIMALS)
    score = round(float(explained.full[class_index]), _DECIMALS)
    left_over = float(gap(explained)[class_index])
    show_gap = explained.sampled or abs(left_over) >= 0.5 * 10.0**-_DECIMALS
    terms = np.append(values, left_over) if show_gap else values
    printed = add_up(terms, score - prior, _DECIMALS)
    num_players, times = len(values), _times(explained)
    called = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..." for name in names(explained)]
    wide = max(7, *map(len, called))
    totals = prior + np.cumsum(printed)
    largest = float(np.max(np.abs(values)))
    block = "#" if ascii_only else "█"
    intervals = explained.sampled and has_interval(explained, class_index)
    half_bar = _HALF_BAR_BESIDE_INTERVALS if intervals else _HALF_BAR

    def line(frame: str, time: str, esv: str, interval: str, bar: str, total: str) -> str:
        between = f" {interval:>18} " if intervals else "  "
        return f"{frame:>{wide}} {time:>9}  {esv:>8}{between}{bar}  {total:>8}".rstrip()

    marker = " (predicted)" if class_index == predicted_class(explained) else ""
    heading = f"{'distracting':>{half_bar}}|{'supporting':<{half_bar}}"
    lines = [
        f"{explained.class_names[class_index]}{marker}",
        line("frame" if explained.players is None else "player", "time", "ESV", "95 % interval", heading, "total"),
        line("", "", "prior", "", " " * len(heading), f"{prior:.{_DECIMALS}f}"),
    ]
    for i in range(num_players):
        esv, total = f"{printed[i]:+.{_DECIMALS}f}", f"{totals[i]:.{_DECIMALS}f}"
        interval = f"[{low[i]:.{_DECIMALS}f}, {high[i]:.{_DECIMALS}f}]"
        bar = _bar(float(values[i]), largest, block, half_bar)
        lines.append(line(called[i], times[i], esv, interval, bar, total))
    if show_gap:
        reason = "gap left by sampling" if explained.sampled else "gap"
        esv, total = f"{printed[-1]:+.{_DECIMALS}f}", f"{totals[-1]:.{_DECIMALS}f}"
        lines.append(line("", "", esv, "", f"{reason:^{len(heading)}}", total))
    total_esv = round(float(printed[:num_players].sum()), _DECIMALS)
    equation = f"prior {prior:.{_DECIMALS}f} {_signed(total_esv)} (sum of ESVs)"
    if show_gap:
        equation += f" {_signed(printed[-1])} (gap)"
    lines.append(f"{equation} = score {score:.{_DECIMALS}f}")
    if not has_interval(explained, class_index):
        lines.append(NO_INTERVAL)
    return "\n".join(lines)


def _times(explained: Explanation) -> list[str]:
    """Of every player that of its first frame."""
    num_frames = len(explained.frames)
    return [f"{explained.times[own[0]]:.2f} s" if own[0] < num_frames else "" for own in cells(explained)]


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value):.{_DECIMALS}f}"


def _bar(value: float, largest: float, block: str, half_bar: int) -> str:
    """A bar of up to `half_bar` blocks to the left (distracting) or right (supporting) of a zero line."""
    length = round(half_bar * abs(value) / largest) if largest > 0 else 0
    bar = block * length
    return f"{bar if value < 0 else '':>{half_bar}}|{bar if value >= 0 else '':<{half_bar}}"

"""An explanation as a table for the terminal, which adds up as printed: prior + sum of the ESVs = score."""

import numpy as np

from esv_jax.results.explanation import Explanation, add_up, gap, predicted_class

_DECIMALS = 4
_HALF_BAR = 14  # characters on each side of the zero line


def format_table(explained: Explanation, class_index: int, *, ascii_only: bool = False) -> str:
    """The Element Shapley Values of one class, a line for each frame, with a running total from prior to score.

    Printed figures add up exactly; to do so one may differ from its value by one unit of the last decimal
    (`add_up`). A sampled estimate has standard errors, and a line for the gap that sampling leaves.
    """
    values, std_error = explained.values[:, class_index], explained.std_error[:, class_index]
    prior = round(float(explained.empty[class_index]), _DECIMALS)
    score = round(float(explained.full[class_index]), _DECIMALS)
    left_over = float(gap(explained)[class_index])
    show_gap = explained.sampled or abs(left_over) >= 0.5 * 10.0**-_DECIMALS
    terms = np.append(values, left_over) if show_gap else values
    printed = add_up(terms, score - prior, _DECIMALS)
    num_frames = len(values)
    totals = prior + np.cumsum(printed)
    largest = float(np.max(np.abs(values)))
    plus_minus, block = ("+-", "#") if ascii_only else ("±", "█")

    esv_width = 17 if explained.sampled else 8
    blank_bar = " " * (2 * _HALF_BAR + 1)

    def line(frame: str, time: str, esv: str, bar: str, total: str) -> str:
        return f"{frame:>7} {time:>9}  {esv:>{esv_width}}  {bar}  {total:>8}".rstrip()

    marker = " (predicted)" if class_index == predicted_class(explained) else ""
    heading = f"{'distracting':>{_HALF_BAR}}|{'supporting':<{_HALF_BAR}}"
    lines = [
        f"{explained.class_names[class_index]}{marker}",
        line("frame", "time", "ESV", heading, "total"),
        line("", "", "prior", blank_bar, f"{prior:.{_DECIMALS}f}"),
    ]
    for i in range(num_frames):
        esv = f"{printed[i]:+.{_DECIMALS}f}"
        if explained.sampled:
            esv += f" {plus_minus}{std_error[i]:.{_DECIMALS}f}"
        bar = _bar(float(values[i]), largest, block)
        total = f"{totals[i]:.{_DECIMALS}f}"
        lines.append(line(str(explained.frames[i]), f"{explained.times[i]:.2f} s", esv, bar, total))
    if show_gap:
        reason = "gap left by sampling" if explained.sampled else "gap"
        esv = f"{printed[-1]:+.{_DECIMALS}f}" + (" " * (esv_width - 8) if explained.sampled else "")
        lines.append(line("", "", esv, f"{reason:^{2 * _HALF_BAR + 1}}", f"{totals[-1]:.{_DECIMALS}f}"))
    total_esv = round(float(printed[:num_frames].sum()), _DECIMALS)
    equation = f"prior {prior:.{_DECIMALS}f} {_signed(total_esv)} (sum of ESVs)"
    if show_gap:
        equation += f" {_signed(printed[-1])} (gap)"
    lines.append(f"{equation} = score {score:.{_DECIMALS}f}")
    return "\n".join(lines)


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value):.{_DECIMALS}f}"


def _bar(value: float, largest: float, block: str) -> str:
    """A bar of up to `_HALF_BAR` blocks to the left (distracting) or right (supporting) of a zero line."""
    length = round(_HALF_BAR * abs(value) / largest) if largest > 0 else 0
    bar = block * length
    return f"{bar if value < 0 else '':>{_HALF_BAR}}|{bar if value >= 0 else '':<{_HALF_BAR}}"

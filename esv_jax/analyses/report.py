"""What an analysis gives: tables, figures of them, and what the page of results shows of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from esv_jax import files
from esv_jax.analyses import charts
from esv_jax.checks import InputError
from esv_jax.metrics import bootstrap

Tables = dict[str, pd.DataFrame]
BAR = r"\|"  # of a name, in a table of Markdown
MEAN = ("mean", "low", "high", "videos")  # columns of what `mean` gives


class Report(NamedTuple):
    """What an analysis found.

    Attributes:
      tables: by name, that of a csv file.
      figures: what draws them, by name, that of a PNG file.
      page: the tables that the page of results shows, by their {{name}} in its template.
    """

    tables: Tables
    figures: dict[str, Callable[[], Any]] = {}  # noqa: RUF012 (never written to)
    page: Tables = {}  # noqa: RUF012


def save(folder: Path, report: Report) -> None:
    """Writes NAME.csv, NAME.png and NAME.md of all tables, figures and tables of the page into a folder."""
    for name, table in report.tables.items():
        text = table.to_csv(index=False, float_format="%.6g", na_rep="nan", lineterminator="\n")
        files.write_text(folder / f"{name}.csv", text)
    for name, draw in report.figures.items():
        charts.save(folder / f"{name}.png", draw)
    for name, table in report.page.items():
        files.write_text(folder / f"{name}.md", markdown(table))


def read(path: Path) -> pd.DataFrame:
    """A table that `save` wrote. Names stay text, whatever they look like, such as 1 or NA."""
    names = dict.fromkeys(("model", "method", "other"), str)
    numbers = dict.fromkeys(MEAN, "nan")
    return pd.read_csv(path, dtype=names, keep_default_na=False, na_values=numbers)


def mean(per_video: np.ndarray) -> tuple[float, float, float, int]:
    """The mean of `per_video` [B] with its 95 % interval, as values of the columns `MEAN`."""
    return means(per_video[:, None])[0]


def means(per_video: np.ndarray) -> list[tuple[float, float, float, int]]:
    """`mean` of every column of `per_video` [B, n]."""
    found = bootstrap.interval(per_video)
    columns = (found.mean.tolist(), found.low.tolist(), found.high.tolist(), [found.num_videos] * len(found.mean))
    return list(zip(*columns, strict=True))


def number(value: float, form: str = ".3f") -> str:
    """A number as the page shows it: rounded from the six digits of the csv file, so that the two agree."""
    return format(float(f"{value:.6g}"), form)


def markdown(table: pd.DataFrame) -> str:
    """A table of Markdown; floats with three decimals."""
    rows = ([number(v) if isinstance(v, float) else str(v) for v in r] for r in table.itertuples(index=False))
    lines = (table.columns, ["---"] * len(table.columns), *rows)
    return "\n".join(f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |" for cells in lines)


def pivot(table: pd.DataFrame, row: str, columns: Sequence[str], first: str) -> pd.DataFrame:
    """A table with a line for each value of `row`, in a column named `first`, and a column for each combination of
    `columns`, whose cells say the mean, with its interval where the table has one; in order of appearance."""
    heads = pd.Series([", ".join(map(str, head)) for head in zip(*(table[c] for c in columns), strict=True)], dtype=str)
    cells = [number(value) for value in table["mean"]]
    if "low" in table:
        bounds = zip(cells, table["low"], table["high"], strict=True)
        cells = [f"{cell} [{number(low)}, {number(high)}]" for cell, low, high in bounds]
    grid = table.assign(head=heads.to_numpy(), cell=cells).pivot(index=row, columns="head", values="cell")
    grid = grid.reindex(index=table[row].unique(), columns=heads.unique()).fillna("")
    return grid.rename_axis(index=first, columns=None).reset_index()


def filled_in(template: str, words: dict[str, str]) -> str:
    """The template with every {{name}} replaced.

    Raises:
      InputError: it asks for a name that there is not.
    """
    for name, text in words.items():
        template = template.replace("{{" + name + "}}", text)
    if "{{" in template:
        missing = template.split("{{", 1)[1].split("}}", 1)[0]
        raise InputError(f"the template of the results asks for {missing!r}, found {sorted(words)}")
    return template

"""Tables: what every analysis gives, written as csv and shown in Markdown."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError
from esv_jax.metrics.bootstrap import Interval

# Columns of text, even where all classes are named by numbers.
_NAMES = ("class", "group", "clip", "true", "predicted")


class Table(NamedTuple):
    """Rows of text, int and float, one value a column."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def where(self, **values: Any) -> "Table":
        """The rows that have these values."""
        at = {self.columns.index(name): value for name, value in values.items()}
        return Table(self.columns, [row for row in self.rows if all(row[i] == v for i, v in at.items())])

    def column(self, name: str) -> list[Any]:
        return [row[self.columns.index(name)] for row in self.rows]

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers, float64 [rows]."""
        return np.array(self.column(name), np.float64)


def with_interval(found: Interval, index: tuple[int, ...] = ()) -> tuple[float, float, float, int]:
    """The columns mean, low, high, videos of an entry of intervals."""
    return float(found.mean[index]), float(found.low[index]), float(found.high[index]), found.num_videos


def write(path: Path, table: Table) -> None:
    """Writes a csv so that `path` holds all of it or what it held before; floats with six digits."""
    rows = ([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in table.rows)
    files.write_csv(path, [table.columns, *rows])


def read(path: str | os.PathLike) -> Table:
    """A csv that `write` made; columns of which all values are numbers are read as numbers, but for
    names of classes and clips.

    Raises:
      InputError: no such file, or not a table.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            columns, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    if any(len(row) != len(columns) for row in rows):
        raise InputError(f"{path} should have {len(columns)} values in every line")
    by_column = zip(columns, zip(*rows, strict=True), strict=True) if rows else ()
    parsed = [list(values) if column in _NAMES else _parsed(values) for column, values in by_column]
    return Table(tuple(columns), list(zip(*parsed, strict=True)))


def markdown(table: Table, digits: int = 3) -> str:
    """A table of Markdown."""
    lines = [_line(table.columns), _line(["---"] * len(table.columns))]
    return "\n".join([*lines, *(_line([_shown(v, digits) for v in row]) for row in table.rows)])


def _parsed(values: Sequence[str]) -> list[Any]:
    for kind in (int, float):
        try:
            return [kind(v) for v in values]
        except ValueError:
            continue
    return list(values)


def _shown(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

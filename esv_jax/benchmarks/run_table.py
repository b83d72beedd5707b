"""The table of a benchmark's runs: a line for each, written when it ends, so that it goes on where it stopped."""

import csv
from collections.abc import Sequence
from pathlib import Path

from esv_jax.checks import InputError


def read(table: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The runs so far, those that were written whole; none where there is no table.

    Raises:
      InputError: it has other columns.
    """
    if not table.exists():
        return []
    with table.open(newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)]
    if rows and rows[0] != tuple(columns):
        raise InputError(f"{table} has other columns than this benchmark's: give another --out")
    return [row for row in rows[1:] if len(row) == len(columns)]


def append(table: Path, columns: Sequence[str], row: tuple[str, ...]) -> None:
    """Adds a run to the table, which is made if it is not there."""
    new = not table.exists()
    with table.open("a", newline="") as file:
        csv.writer(file).writerows([columns, row] if new else [row])

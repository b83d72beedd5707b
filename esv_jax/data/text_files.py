"""Reading csv files with a header line, and json files."""

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from esv_jax.checks import InputError


def read_csv(path: str | os.PathLike, what: str) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    """Reads a csv file, utf-8.

    Returns:
      The number of every line with its values by column, as `csv.DictReader` gives them, and the names of the columns.

    Raises:
      InputError: the file, `what` in words, is not there or is not a csv.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            return [(reader.line_num, row) for row in reader], list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{what} {path} cannot be read: {_reason(error)}") from error


def check_columns(path: str | os.PathLike, columns: list[str], needed: Iterable[str]) -> None:
    """Raises InputError unless all of `needed` are among the `columns` of the csv file `path`."""
    for column in needed:
        if column not in columns:
            raise InputError(f"{path} should have a column '{column}', found the columns {columns}")


def read_json(path: str | os.PathLike, what: str) -> Any:
    """The content of a json file, utf-8.

    Raises:
      InputError: the file, `what` in words, is not there or is not json.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{what} {path} cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

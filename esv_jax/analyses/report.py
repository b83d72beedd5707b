"""What an analysis gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from esv_jax.analyses import charts, tables
from esv_jax.analyses.tables import Table


class Report(NamedTuple):
    """Tables by name, and what draws the figures, by the name of the file."""

    tables: dict[str, Table]
    figures: dict[str, Callable[[], Any]] = {}  # noqa: RUF012 (never written to)


def save(folder: Path, report: Report) -> None:
    """Writes NAME.csv and NAME.png of all tables and figures into a folder."""
    for name, table in report.tables.items():
        tables.write(folder / f"{name}.csv", table)
    for name, draw in report.figures.items():
        charts.save(folder / f"{name}.png", draw)

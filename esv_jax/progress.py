"""Progress bars on stderr."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

_T = TypeVar("_T")


class _Count(ProgressColumn):
    """12/300 videos, and what else the task's field `said` tells."""

    def __init__(self, unit: str):
        super().__init__(Column(no_wrap=True))
        self.unit = unit

    def render(self, task: Task) -> Text:
        said = task.fields.get("said")
        if task.total is None:
            return Text(said or "")
        return Text(f"{task.completed:.0f}/{task.total:.0f} {self.unit}{', ' + said if said else ''}")


def bars(unit: str) -> Progress:
    """Bars that count `unit`, shown in a `with` block: add_task(description, total=), update(task, completed=, said=).

    `said` is shown behind the count; alone where total is None, of what does not end.
    """
    columns = TextColumn("{task.description}", markup=False), BarColumn(), _Count(unit), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True))


def track(items: Sequence[_T], description: str, unit: str) -> Iterator[_T]:
    """The items, one after another, under a bar that counts them."""
    with bars(unit) as shown:
        yield from shown.track(items, description=description)

"""The flag --workers, the same for every script that runs over a set: many devices and machines by Ray."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from absl import flags
from rich.progress import Progress

from esv_jax import machine
from esv_jax.data import remote_features
from esv_jax.explaining import on_ray, runner

from . import cli

WORKERS = flags.DEFINE_integer(
    "workers",
    0,
    "Workers of the Ray cluster at $RAY_ADDRESS, or on this machine where that is not set, a GPU each where there are "
    "any; 0: this process.",
    lower_bound=0,
)


class Workers(NamedTuple):
    """Who computes.

    Attributes:
      executor: for `runner.run`; None: this process.
      machine: on which, as `machine.described`.
      on_ray: those of --workers, or None.
    """

    executor: runner.Executor | None
    machine: dict[str, Any]
    on_ray: on_ray.Workers | None

    def see(self, path: str) -> bool:
        """Whether they find this path of ours, or it is an address."""
        return self.on_ray is None or remote_features.is_remote(path) or self.on_ray.sees(os.path.abspath(path))


@contextlib.contextmanager
def opened(bars: Progress) -> Iterator[Workers]:
    """The workers that --workers asks for; how they are is shown among the bars, and deaths are printed above them.

    To be opened before JAX computes anything: what this process itself has to do is then done by processors.
    """
    if not WORKERS.value:
        yield Workers(None, machine.described(), None)
        return
    environment = {"JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", ""), **cli.environment_of_programs()}
    jax.config.update("jax_platforms", "cpu")
    task = bars.add_task("workers", total=None, unit="")

    def tell(state: on_ray.State) -> None:
        bars.update(task, said=str(state))

    with on_ray.workers(WORKERS.value, environment=environment, log=bars.console.print, tell=tell) as hired:
        yield Workers(hired.executor, hired.machine, hired)

"""The executor of many devices and machines: Ray (the extra "ray") keeps the workers, this process hands out chunks.

A worker that dies gives back what it was at, and another one is hired. The chunk that it was working on is then tried
by a worker that has nothing else to lose; one of which so many workers died as TRIES says is given up.
"""

import contextlib
import os
import platform
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from esv_jax import checks, files, machine
from esv_jax.checks import InputError, require, version
from esv_jax.explaining.runner import Died, Executor, Start

AHEAD = 2  # chunks that a worker has: the next one is there when it has done one
WINDOW = 8  # chunks a worker that are done or under way, from the first on that is not done: memory is bounded
TRIES = 3
_CPUS = 1  # of a worker
READY_S = 120.0  # without a single worker
REACHED_S = 10.0
_POLL_S = 0.5
# Of this process, for its workers too: what results depend on, and who may read what is on object stores.
_ENVIRONMENT = ("JAX_", "XLA_", "NPROC", "OMP_NUM_THREADS", "AWS_", "GOOGLE_", "AZURE_")
# Decide results.
_PACKAGES = ("esv-jax", "jax", "jaxlib", "flax", "numpy")


class Workers(NamedTuple):
    """Workers that are there, or will be.

    Attributes:
      executor: hands chunks to them.
      machine: what they compute on, as `machine.described`; all of them on the same.
      sees: whether all that are there find a path that this process finds.
    """

    executor: Executor
    machine: dict[str, Any]
    sees: Callable[[str], bool]


class State(NamedTuple):
    """How the workers are, told whenever that changes.

    Attributes:
      working: chunk that each worker works on, or None; by its number.
      starting: workers that are not there yet.
      died: how often one has.
    """

    working: dict[int, int | None]
    starting: int
    died: int

    def __str__(self) -> str:
        busy = [f"{number}: chunk {k}" for number, k in self.working.items() if k is not None]
        said = f"{len(busy)} of {len(self.working)} workers busy"
        if 0 < len(busy) <= 8:
            said += f" ({', '.join(busy)})"
        starting = f", {self.starting} starting" if self.starting else ""
        return said + starting + (f", {self.died} died" if self.died else "")


@contextlib.contextmanager
def workers(
    count: int,
    *,
    environment: Mapping[str, str] | None = None,
    log: Callable[[str], None] = print,
    tell: Callable[[State], None] = lambda _: None,
) -> Iterator[Workers]:
    """Hires so many workers of the Ray cluster at $RAY_ADDRESS, or of one on this machine that lasts as long as this.

    A worker has a GPU of its own where the cluster has any, else a processor. Those that the cluster has no room for
    now join when it has. Open it before JAX computes anything here: in this process, processors do what is left to do.

    Args:
      count: at most so many workers.
      environment: variables for the workers, besides those of JAX, XLA and NPROC here, which they get too.
      log: is told of deaths.
      tell: is told of the workers' state.

    Raises:
      InputError: Ray is not installed or not reached, no worker comes, or one has other versions of packages or another
        machine than the first.
    """
    checks.check_positive("workers", count)
    ray = require("ray", extra="ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS") or "local"
    of_local = {"num_cpus": max(count, os.cpu_count() or 1), "include_dashboard": False} if address == "local" else {}
    _check_reached(address)
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": _environment(environment or {})},
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=address == "local",
            **of_local,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"Ray at RAY_ADDRESS={address} is not reached: {str(error).strip().splitlines()[0]}"
        ) from error
    try:
        crew = _Crew(ray, count, address, log, tell)
        crew.wait_for_one()
        yield Workers(crew.executor, crew.machine, crew.sees)
    finally:
        ray.shutdown()


def _check_reached(address: str) -> None:
    """Raises InputError if nobody listens there: Ray itself tries for minutes."""
    host, colon, port = address.rpartition(":")
    if "//" in address or (colon and not port.isdecimal()):
        raise InputError(f"RAY_ADDRESS should be HOST:PORT of a cluster of Ray, such as head:6379, found {address}")
    if colon:
        try:
            socket.create_connection((host, int(port)), REACHED_S).close()
        except OSError as error:
            raise InputError(f"Ray at RAY_ADDRESS={address} is not reached: {files.reason(error)}") from error


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """For the workers: they find the same modules, and see what results depend on."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    return {**kept, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), **more}


class _Worker:
    """What a worker is: an actor of Ray."""

    _start: Start

    def ready(self) -> tuple[dict[str, Any], dict[str, str], str]:
        """Its machine, its versions, and where it is."""
        return machine.described(), _versions(), platform.node()

    def sees(self, path: str) -> bool:
        return os.path.exists(path)

    def take(self, start: Start) -> None:
        self._start = start

    def do(self, given: Any) -> Any:
        return self._start(given)()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


class _Hired:
    """A worker as this process knows it.

    Attributes:
      actor: Ray's.
      number: 0, 1, ..., in the order of hiring.
      node: where it is, once it is ready; until then "".
      chunks: what it has, in order: it works on the first.
    """

    def __init__(self, actor: Any, number: int):
        self.actor, self.number, self.node = actor, number, ""
        self.chunks: list[int] = []


class _Crew:
    """The workers, and who is at what.

    Attributes:
      machine: that of the first one that was ready; {} before.
    """

    def __init__(self, ray: Any, count: int, address: str, log: Callable[[str], None], tell: Callable[[State], None]):
        self._ray, self._count, self._address, self._log, self._tell = ray, count, address, log, tell
        self._hired: list[_Hired] = []
        self._asked: dict[Any, tuple[_Hired, str, int]] = {}  # what was asked of whom, and of which chunk
        self._num_hired = self._num_died = 0
        self._last_seen = time.monotonic()  # when a worker was last ready, or one is
        self._started: Any = None
        # Chunks that wait, those that may have killed a worker, and how often they seem to have.
        self._waiting: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._deaths: dict[int, int] = {}
        self._place: dict[int, int] = {}  # of chunks among those to do
        self.machine: dict[str, Any] = {}
        gpus = int(ray.cluster_resources().get("GPU", 0) >= 1)
        self._kind = ray.remote(num_cpus=_CPUS, num_gpus=gpus, max_restarts=0, max_task_retries=0)(_Worker)

    def wait_for_one(self) -> None:
        self._hire(self._count)
        while not self.machine:
            for _ in self._answers():
                pass

    def sees(self, path: str) -> bool:
        return os.path.exists(path) and all(
            self._ray.get([hired.actor.sees.remote(path) for hired in self._hired if hired.node])
        )

    def executor(self, start: Start, given: Callable[[int], Any], todo: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """A `runner.Executor`; what a task raises is raised here."""
        try:
            self._started = self._ray.put(start)
        except TypeError as error:  # of pickle
            raise InputError(f"what is to be done cannot be sent to workers: {files.reason(error)}") from error
        self._waiting, self._deaths = deque(todo), {}
        for hired in self._hired:
            self._ask(hired, "take", -1, self._started)
        self._place = {k: i for i, k in enumerate(todo)}
        left = dict.fromkeys(todo)
        while left:
            self._hire(min(self._count, len(left)))
            self._hand_out(given, self._place[next(iter(left))] + WINDOW * self._count)
            for k, found in self._answers():
                del left[k]
                yield k, found

    def _ask(self, hired: _Hired, what: str, k: int, *arguments: Any) -> None:
        self._asked[getattr(hired.actor, what).remote(*arguments)] = hired, what, k

    def _hire(self, wanted: int) -> None:
        while len(self._hired) < wanted:
            hired = _Hired(self._kind.remote(), self._num_hired)
            self._num_hired += 1
            self._hired.append(hired)
            self._ask(hired, "ready", -1)
            if self._started is not None:
                self._ask(hired, "take", -1, self._started)

    def _hand_out(self, given: Callable[[int], Any], end: int) -> None:
        """Gives chunks in front of place `end` to workers that are ready; a suspect to one that has nothing else."""
        for num_chunks in range(AHEAD):  # everyone gets one before anyone gets a second
            for hired in self._hired:
                if not hired.node or len(hired.chunks) != num_chunks or any(k in self._deaths for k in hired.chunks):
                    continue
                if self._suspects and not hired.chunks:
                    k = self._suspects.popleft()
                elif self._waiting and self._place[self._waiting[0]] < end:
                    k = self._waiting.popleft()
                else:
                    continue
                hired.chunks.append(k)
                self._ask(hired, "do", k, given(k))
        working = {hired.number: next(iter(hired.chunks), None) for hired in self._hired if hired.node}
        self._tell(State(working, len(self._hired) - len(working), self._num_died))

    def _answers(self) -> Iterator[tuple[int, Any]]:
        """Waits for a while: chunks that are done, or given up."""
        errors = self._ray.exceptions
        for asked in self._ray.wait([*self._asked], timeout=_POLL_S)[0]:
            hired, what, k = self._asked.pop(asked)
            try:
                answer = self._ray.get(asked)
            except errors.RayTaskError as error:
                raise error.cause from error
            except errors.RayActorError as error:
                yield from self._lose(hired, str(error))
            except errors.ObjectLostError:  # it was where a machine was lost
                hired.chunks.remove(k)
                self._waiting.appendleft(k)
            except errors.RayError as error:
                raise InputError(f"Ray cannot keep workers: {_in_short(str(error))}") from error
            else:
                if what == "ready":
                    self._welcome(hired, *answer)
                if what == "do":
                    hired.chunks.remove(k)
                    yield k, answer
        if any(hired.node for hired in self._hired):
            self._last_seen = time.monotonic()
        elif time.monotonic() > self._last_seen + READY_S:
            free = self._ray.available_resources()
            has = ", ".join(f"{free.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
            raise InputError(
                f"no worker has come in {READY_S:.0f} s: the Ray cluster at {self._address} has {has} free, and a "
                f"worker takes {_CPUS} CPU and, where the cluster has any, 1 GPU"
            )

    def _welcome(self, hired: _Hired, its_machine: dict[str, Any], versions: dict[str, str], node: str) -> None:
        self.machine = self.machine or its_machine
        for what, found, wanted in (("versions", versions, _versions()), ("machine", its_machine, self.machine)):
            different = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
            if different:
                name = different[0]
                how = "install the same everywhere" if what == "versions" else "last bits of values depend on it"
                how += "; for threads set NPROC" if name == "threads" else ""
                raise InputError(f"the worker on {node} has {name} {found.get(name)}, not {wanted.get(name)}: {how}")
        hired.node = node

    def _lose(self, hired: _Hired, reason: str) -> Iterator[tuple[int, Died]]:
        """A worker has died: what it had is given back. A chunk at which enough have died is given up."""
        self._hired.remove(hired)
        self._asked = {asked: of for asked, of in self._asked.items() if of[0] is not hired}
        self._num_died += 1
        why = _in_short(reason)
        if not hired.node:
            self._log(f"worker {hired.number} died as it started: {why}")
            if self._num_died > TRIES * self._count and not self.machine:
                raise InputError(f"{self._num_died} workers died as they started, the last one so: {why}")
            return
        self._log(
            f"worker {hired.number} on {hired.node} died"
            + (f" at chunk {hired.chunks[0]}" if hired.chunks else "")
            + f": {why}"
        )
        # It may have worked on any of them: the answer about the first can have been lost on its way.
        for number, k in enumerate(hired.chunks):
            self._deaths[k] = self._deaths.get(k, 0) + (number == 0)
            if self._deaths[k] < TRIES:
                self._suspects.append(k)
            else:
                yield k, Died(f"{TRIES} workers died at its chunk, the last one so: {why}")


def _in_short(reason: str) -> str:
    """Of what Ray says of a death, the sentence that says how it came."""
    for mark in ("Worker exit detail: ", "The actor died because "):
        if mark in reason:
            reason = reason[reason.index(mark) + len(mark) :]
            break
    return reason.strip().splitlines()[0].split(". ")[0][:200]

"""One process at a time in a folder that a run writes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esv_jax.checks import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Keeps other processes from writing to a folder, `what` in words; the system lets go of it when this one ends,
    however it does.

    Raises:
      InputError: another process is writing it.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, f"writing {what} {folder}")
        yield
    finally:
        os.close(handle)


def lock(file: Any, doing: str) -> None:
    """Keeps other processes from locking an open file (or its number) until it is closed, or this process ends.

    Raises:
      InputError: another process has locked it, and so is `doing` something.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another process is {doing}") from error
    except OSError:  # a file system without locks
        return

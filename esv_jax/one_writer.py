"""One process at a time in a folder that a run writes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

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
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is writing {what} {folder}") from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)

"""A process that decodes for `prefetch`, which runs this file as a script: nothing slow is imported at first.

It ends when the one that started it does, however that ends: at once, also while it imports, decodes, or waits to be
read. Its standard input is a pipe that its parent alone can write to, and which the system closes for a dead one.
"""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable

if sys.platform == "linux":
    import fcntl

LENGTH_BYTES = 8  # of the number in front of the job


def main() -> None:
    """Reads what to do, (sys.path, a pickled call of functions of that path) by `prefetch`, and does it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started this process ends it
    job = _read(int.from_bytes(_read(LENGTH_BYTES), "little"))
    _end_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not get among the answers
    search_path, call = pickle.loads(job)  # noqa: S301 (our parent's, not a file's)
    sys.path[:] = search_path
    serve: Callable[..., None]
    serve, arguments = pickle.loads(call)  # noqa: S301
    serve(answers, *arguments)
    os._exit(0)  # without waiting for the thread


def _read(length: int) -> bytes:
    """So many bytes of the standard input; where they do not come, the parent is gone."""
    parts: list[bytes] = []
    while length > 0:
        parts.append(os.read(0, min(length, 1 << 20)))
        length -= len(parts[-1])
        if not parts[-1]:
            os._exit(1)
    return b"".join(parts)


def _end_with_parent() -> None:
    """Ends this process when the standard input ends."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    if sys.platform == "linux":  # the system does it, also where a library does not let Python's threads run
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()

"""Programs are compiled while a model on the host is asked: the first answer does not wait for one after the other."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

# Programs that are remembered to have been begun.
MOST = 256
_begun: OrderedDict[Hashable, threading.Thread] = OrderedDict()
_lock = threading.Lock()


def begun(key: Hashable, compile_it: Callable[[], Any]) -> threading.Thread:
    """A thread that compiles a jitted function, by its lower(...).compile(), which fills the cache that calls look in;
    one for every key.

    Join it before the function is called: it is then compiled, unless that failed, which the call will tell.
    """
    with _lock:
        thread = _begun.get(key)
        if thread is None:
            thread = threading.Thread(target=_quietly, args=(compile_it,), name="esv_jax compiles")
            thread.start()
        _begun[key] = thread
        _begun.move_to_end(key)
        if len(_begun) > MOST:
            _begun.popitem(last=False)
    return thread


def _quietly(compile_it: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):
        compile_it()

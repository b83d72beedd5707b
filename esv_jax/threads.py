"""How many threads the host's linear algebra takes.

On the CPU, JAX's decompositions are calls of the BLAS that SciPy brings. Its threads spin while they wait for one
another: in many small calls beside any other busy process, most of the time goes to that. One thread is as fast there.
"""

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

# Of OpenBLAS, as SciPy's wheels name them and as others do.
_PREFIXES = ("scipy_openblas", "openblas")
_OWN_THREADS = 1  # of openblas_get_parallel: neither none nor those of OpenMP, which are set thread by thread
_lock = threading.Lock()
_entered = 0
_before = 0


@contextlib.contextmanager
def one_for_blas() -> Iterator[None]:
    """Holds the BLAS that JAX calls on the CPU at one thread, and gives it back its threads behind it.

    May be entered by several threads at once: the first in and the last out change something. Programs go on behind
    the call that starts them: wait for them inside. Does nothing where that BLAS is no OpenBLAS.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def run(program: Callable[..., Any], *arguments: Any) -> Any:
    """program(*arguments), a jitted function of pytrees, `one_for_blas` while it runs: on the CPU this waits for it.

    Where it is traced for an outer program nothing runs yet, and whoever runs that one may enter `one_for_blas`.
    """
    is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments))
    if is_traced or jax.default_backend() != "cpu":
        return program(*arguments)
    with one_for_blas():
        return jax.block_until_ready(program(*arguments))


class Blas(NamedTuple):
    """The threads of an OpenBLAS: () -> how many there are, and (how many) to change that."""

    get: Callable[[], int]
    set: Callable[[int], None]


@functools.cache
def blas() -> Blas | None:
    """The library that JAX calls on the CPU; None where it cannot be told how many threads to take.

    threadpoolctl finds more of them, but from its version 3.8 on lets only the thread that came first change anything.
    """
    from scipy.linalg import cython_blas  # through which jaxlib finds it too

    library = ctypes.CDLL(cython_blas.__file__)
    for prefix in _PREFIXES:
        # Symbols are looked for in all that the module is linked with, but on Windows.
        with contextlib.suppress(AttributeError):
            if library[f"{prefix}_get_parallel"]() == _OWN_THREADS:
                return Blas(library[f"{prefix}_get_num_threads"], library[f"{prefix}_set_num_threads"])
    return None


def _enter() -> None:
    global _entered, _before
    found = blas()
    with _lock:
        if found and _entered == 0:
            _before = found.get()
            found.set(1)
        _entered += 1


def _leave() -> None:
    global _entered
    found = blas()
    with _lock:
        _entered -= 1
        if found and _entered == 0:
            found.set(_before)

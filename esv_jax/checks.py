"""Errors a user can meet: their types and their wording (expected against found), and the tests that raise them.

Every deliberate error of the package is an `InputError`: one clear sentence that names the argument or file, what was
expected and what was found. Anything else that escapes is a bug of ours and keeps its traceback.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class InputError(ValueError):
    """A mistake in what the user gave us, told in one sentence."""


class MissingExtraError(InputError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def require(module: str, *, extra: str | None = None) -> ModuleType:
    """Imports `module` or says which extra of esv_jax installs it; where there is none, the package's own name.

    Raises:
      MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        install = f"'esv-jax[{extra}]'" if extra else package
        raise MissingExtraError(
            f"the package '{package}' is needed for this and is not installed: pip install {install}"
        ) from error


def check_shape(name: str, array: Any, expected: Sequence[int | str]) -> None:
    """Raises InputError unless `array` has the shape `expected`; letters ("T", "D") stand for any length.

    Static: works on tracers, at trace time.
    """
    shape = np.shape(array)
    fits = len(shape) == len(expected) and all(
        isinstance(e, str) or e == s for e, s in zip(expected, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(e) for e in expected)
        found = ", ".join(str(s) for s in shape)
        raise InputError(f"{name} should have shape [{wanted}], found [{found}]")


def check_floating(name: str, array: Any) -> None:
    """Raises InputError unless `array` holds floating point numbers. Static."""
    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"{name} should be floating point, found {dtype}")


def check_positive(name: str, value: int) -> None:
    """Raises InputError unless `value` is an integer >= 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} should be an integer of at least 1, found {value!r}")


def check_finite(name: str, array: Any) -> None:
    """Raises InputError if `array` (concrete, not traced) holds a NaN or an infinity, with how many and where first."""
    values = np.asarray(array)
    bad = ~np.isfinite(values)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{name} should be finite, found {int(bad.sum())} NaN or infinite values of {values.size}, "
            f"the first at index {first}"
        )


def check_concrete(name: str, value: Any, advice: str) -> None:
    """Raises InputError if `value` is a tracer where the host has to read it; `advice` says what to do instead."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        raise InputError(f"{name} is traced (inside jax.jit or jax.vmap) but is needed on the host: {advice}")


def model_output(name: str, array: Any, num_rows: int, num_classes: int | str = "C") -> Any:
    """`array` if it is floating point [num_rows, C], in float32 if it is less precise, else InputError. Static."""
    check_shape(name, array, (num_rows, num_classes))
    check_floating(name, array)
    return array.astype(jnp.float32) if jnp.finfo(array.dtype).bits < 32 else array


def scores(name: str, array: Any) -> Any:
    """`array`, or as an array what is given as numbers, if it is a vector of class scores, float [C]. Static.

    Raises:
      InputError: it is not.
    """
    array = np.asarray(array) if isinstance(array, list | tuple) else array
    check_shape(name, array, ("C",))
    check_floating(name, array)
    return array

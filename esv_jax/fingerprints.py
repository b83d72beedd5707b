"""What tells models and functions apart, so that the answers of one are not taken for another's."""

import functools
import pickle
from pathlib import Path
from types import CodeType
from typing import Any

import jax
import numpy as np

from esv_jax import checks, files


def of_model(model: Any) -> str:
    """A digest of a model's weights where it has some that can be read, else its kind.

    Read are: PyTorch's state_dict, pytrees of arrays, texts (a server's address), paths of files, and what can be
    pickled.
    """
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if isinstance(model, str):
        return model
    if isinstance(model, Path):
        return files.digest(model)
    if hasattr(model, "state_dict"):
        named = sorted(model.state_dict().items())
        parts = [part for name, value in named for part in (name, checks.own(name, with_numpy_dtype(value)))]
        return f"{kind} {of_arrays(parts)}"
    leaves = jax.tree.leaves(model)
    if all(isinstance(leaf, np.ndarray | np.generic | jax.Array | int | float) for leaf in leaves):
        return f"{kind} {of_arrays([str(jax.tree.structure(model)), *leaves])}"
    try:
        return f"{kind} {of_arrays([np.frombuffer(pickle.dumps(model), np.uint8)])}"
    except Exception:  # Anything may be raised by what refuses to be pickled.
        return kind


def of_function(function: Any) -> str:
    """A function's name; of a partial one with its arguments, of an object that of its type."""
    if isinstance(function, functools.partial):
        told = ", ".join(of_function(part) if callable(part) else _of_argument(part) for part in _given(function))
        return f"{of_function(function.func)}({told})"
    return getattr(function, "__qualname__", type(function).__qualname__)


def of_code(*functions: Any) -> str:
    """A digest of what functions do when they are called, without what they call. Versions of Python differ in it."""
    return files.short_digest(part for function in functions for part in _code_of(function))


def of_arrays(parts: list[Any]) -> str:
    """`files.short_digest` that tells arrays of other dtypes and shapes apart."""
    described: list[Any] = []
    for part in parts:
        array = np.asarray(part)
        described += [part] if isinstance(part, str) else [f"{array.dtype.str} {array.shape}", array]
    return files.short_digest(described)


def with_numpy_dtype(tensor: Any) -> Any:
    """A tensor of PyTorch as it is, but for one of bfloat16, which NumPy lacks: in float32."""
    return tensor.float() if "bfloat16" in str(getattr(tensor, "dtype", "")) else tensor


def _of_argument(value: Any) -> str:
    return str(value) if np.ndim(value) == 0 else of_model(value)


def _given(function: functools.partial) -> list[Any]:
    return [*function.args, *(part for item in sorted(function.keywords.items()) for part in item)]


def _code_of(function: Any) -> list[str]:
    if isinstance(function, functools.partial):
        return [text for part in (function.func, *_given(function)) if callable(part) for text in _code_of(part)]
    called = function if hasattr(function, "__qualname__") else type(function).__call__
    code = getattr(called, "__code__", None)
    return [] if code is None else _parts_of(code)


def _parts_of(code: CodeType) -> list[str]:
    """What a function does, without where it stands."""
    parts = [code.co_code.hex(), *code.co_names]
    for constant in code.co_consts:
        parts += _parts_of(constant) if isinstance(constant, CodeType) else [repr(constant)]
    return parts

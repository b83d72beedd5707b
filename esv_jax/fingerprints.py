"""What tells models and functions apart, so that the answers of one are not taken for another's."""

import functools
import glob
import pickle
import re
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np

from esv_jax import checks, files

# Functions that functions hold are followed so far.
MOST_FUNCTIONS = 64


def of_model(model: Any) -> str:
    """A digest of a model's weights where it has some that can be read, else its kind.

    Read are: PyTorch's state_dict, pytrees of arrays, texts (a server's address), paths of files, and what can be
    pickled.
    """
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if isinstance(model, str):
        return model
    if isinstance(model, Path):
        return " ".join(files.digest(path) for path in with_data(model))
    if hasattr(model, "state_dict"):
        named = sorted(model.state_dict().items())
        parts = [part for name, value in named for part in (name, checks.own(name, with_numpy_dtype(value)))]
        # What it is made of besides weights, but for where that lies in memory.
        return f"{kind} {of_arrays([re.sub('0x[0-9a-f]+', '', repr(model)), *parts])}"
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
    """A digest of what functions do when they are called, without what they call: of their code, and of the numbers,
    texts and arrays among their defaults, in what they close over, in global variables that they name and in the object
    that they are bound to (but for whole numbers there, which often count calls). Versions of Python differ in it."""
    return files.short_digest(part for function in functions for part in _code_of(function, set()))


def with_data(path: Path) -> list[Path]:
    """The file of a model, and those beside it whose names begin with its name: weights that lie outside."""
    return [path, *sorted(set(path.parent.glob(f"{glob.escape(path.name)}*")) - {path})]


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


def _code_of(function: Any, seen: set[int]) -> list[str]:
    if id(function) in seen:
        return []
    seen.add(id(function))
    if isinstance(function, functools.partial):
        return [text for part in (function.func, *_given(function)) for text in _held(part, seen)]
    called = function if hasattr(function, "__qualname__") else type(function).__call__
    code = getattr(called, "__code__", None)
    if code is None:
        return []
    bound = getattr(function, "__self__", function if called is not function else None)
    attributes = {} if isinstance(bound, type | ModuleType) else getattr(bound, "__dict__", {})
    parts = [held for held in attributes.values() if not isinstance(held, int)]
    parts += [*(called.__defaults__ or ()), *(called.__kwdefaults__ or {}).values()]
    parts += [cell.cell_contents for cell in called.__closure__ or () if checks.is_filled(cell)]
    parts += [called.__globals__[name] for name in code.co_names if name in called.__globals__]
    return [*_parts_of(code), *(text for part in parts for text in _held(part, seen))]


def _held(value: Any, seen: set[int]) -> list[str]:
    """What a function holds: numbers, texts, arrays, and other functions that are no module's; nothing of the rest."""
    if isinstance(value, str | bytes | bool | int | float | complex | None):
        return [repr(value)]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return [of_arrays([value])]
    if isinstance(value, tuple):
        return [text for part in value for text in _held(part, seen)]
    is_users = isinstance(value, FunctionType | MethodType | functools.partial) and len(seen) < MOST_FUNCTIONS
    return _code_of(value, seen) if is_users else []


def _parts_of(code: CodeType) -> list[str]:
    """What a function does, without where it stands."""
    parts = [code.co_code.hex(), *code.co_names]
    for constant in code.co_consts:
        # The order of a set changes from process to process.
        ordered = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
        parts += _parts_of(constant) if isinstance(constant, CodeType) else [repr(ordered)]
    return parts

"""Options of models that come from files and flags: their types, and sizes that can be built."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn

from esv_jax.checks import InputError, listed

# No model of the field is near these; beyond them lie hours of building and memory that nobody has.
MAX_WIDTH = 2**20  # of a layer, the features or the classes
MAX_LAYERS = 256  # of all scales together
MAX_WEIGHTS = 2**28  # 1 GiB of them

_OF_FLAX = ("parent", "name")


def check(module: Callable[..., nn.Module], options: Any, where: str) -> None:
    """Raises InputError unless the options are keyword arguments of the module, of their types and of bounded size.

    Args:
      module: the class; the annotations of its attributes say what they are: int, float (a share, 0..1), bool, or
        tuple of int.
      options: found in a file or given by flags; lists stand for tuples.
      where: what to call them in errors.
    """
    if not isinstance(options, dict):
        raise InputError(f"{where} should be an object of names and values, found {type(options).__name__}")
    fields = {field.name: field for field in dataclasses.fields(cast(Any, module)) if field.name not in _OF_FLAX}
    strange = [name for name in options if name not in fields]
    if strange:
        raise InputError(f"{where} do not fit: {listed(strange)} should be among {', '.join(fields)}")
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in options]
    if missing:
        raise InputError(f"{where} do not fit: {', '.join(missing)} missing")
    for name, value in options.items():
        kind: Any = fields[name].type
        # A network that has classes by default may also be without; temperatures are an extra.
        may_lack = ("num_classes", "num_temperatures")
        least = 0 if name in may_lack and fields[name].default is not dataclasses.MISSING else 1
        if kind is int:
            fits, expected = is_count(value, least), f"an integer in {least}..{MAX_WIDTH}"
        elif kind is bool:
            fits, expected = isinstance(value, bool), "true or false"
        elif kind is float:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fits, expected = number and 0 <= value <= 1, "a number in 0..1"
        else:
            length = len(kind.__args__)
            several = isinstance(value, list | tuple) and len(value) == length
            fits, expected = several and all(map(is_count, value)), f"{length} integers in 1..{MAX_WIDTH}"
        if not fits:
            raise InputError(f"{where} do not fit: {name} should be {expected}, found {shown(value)}")
    layers = math.prod(options.get(name, 1) for name in ("num_scales", "num_hidden_layers"))
    if layers > MAX_LAYERS:
        raise InputError(f"{where} do not fit: {layers} hidden layers of all scales, at most {MAX_LAYERS} can be built")


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value is an integer in least..MAX_WIDTH."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_WIDTH


def shown(value: Any) -> str:
    """What was found, in a few words."""
    text = repr(value) if isinstance(value, int | float | str | bool | None) else f"{type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:40]}..."

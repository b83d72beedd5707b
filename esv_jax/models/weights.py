"""Weights from elsewhere must match a model's completely, both ways."""

import math
from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array
from esv_jax.checks import InputError
from esv_jax.models import options


def flatten(variables: Any) -> dict[str, Any]:
    """Flax variables as a flat dict, "params/scale_1/logits/bias" -> leaf, sorted by name."""
    return dict(sorted(flax.traverse_util.flatten_dict(flax.core.unfreeze(variables), sep="/").items()))


def shapes(module: Any, example: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the variables that `module.init` makes for an input like `example` (or its shape struct).

    Raises:
      InputError: there is no such model, or it has more weights than `options.MAX_WEIGHTS`.
    """
    try:
        made = jax.eval_shape(module.init, jax.random.key(0), example)
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).strip().splitlines()
        raise InputError(
            f"a {type(module).__name__} of such options cannot be built: {(reason or [type(error).__name__])[0][:200]}"
        ) from error
    found = {name: tuple(leaf.shape) for name, leaf in flatten(made).items()}
    size = sum(math.prod(shape) for shape in found.values())
    if size > options.MAX_WEIGHTS:
        raise InputError(
            f"a {type(module).__name__} of such options has {size:,} weights, more than the {options.MAX_WEIGHTS:,} "
            f"that are allowed"
        )
    return found


def check_same_tensors(
    where: str, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Array | jax.ShapeDtypeStruct]
) -> None:
    """Raises InputError unless `found` has exactly the names and shapes of `expected`.

    The message names the tensors that are missing, not expected, and wrongly shaped (of each the first three).
    """
    shape_of = {name: tuple(jnp.shape(value)) for name, value in found.items()}
    faults = {
        "missing": sorted(set(expected) - set(found)),
        "not expected": sorted(set(found) - set(expected)),
        "of the wrong shape": [
            f"{name} ({list(shape_of[name])} instead of {list(expected[name])})"
            for name in sorted(set(expected) & set(found))
            if shape_of[name] != tuple(expected[name])
        ],
    }
    told = [f"{len(names)} {what}: {checks.listed(names)}" for what, names in faults.items() if names]
    if told:
        raise InputError(f"{where} should hold exactly the model's {len(expected)} tensors, found {'; '.join(told)}")

"""Weights from elsewhere must match a model's completely, both ways."""

from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp

from esv_jax.base import Array
from esv_jax.checks import InputError


def flatten(variables: Any) -> dict[str, Any]:
    """Flax variables as a flat dict, "params/scale_1/logits/bias" -> leaf, sorted by name."""
    return dict(sorted(flax.traverse_util.flatten_dict(flax.core.unfreeze(variables), sep="/").items()))


def shapes(module: Any, example: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the variables that `module.init` makes for an input like `example` (or its shape struct)."""
    made = jax.eval_shape(module.init, jax.random.key(0), example)
    return {name: tuple(leaf.shape) for name, leaf in flatten(made).items()}


def check_same_tensors(
    where: str, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Array | jax.ShapeDtypeStruct]
) -> None:
    """Raises InputError unless `found` has exactly the names and shapes of `expected`.

    The message names the tensors that are missing, not expected, and wrongly shaped (of each the first eight).
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
    told = [
        f"{len(names)} {what}: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
        for what, names in faults.items()
        if names
    ]
    if told:
        raise InputError(f"{where} should hold exactly the model's {len(expected)} tensors, found {'; '.join(told)}")

"""Temperatures: what a head's joint logits are divided by, one for every number of frames shown.

Guo, Pleiss, Sun & Weinberger 2017, "On calibration of modern neural networks". They are fitted after training
(`training.calibration`) and kept beside the parameters, in the collection "calibration".
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

COLLECTION, NAME = "calibration", "temperature"


def declared(module: nn.Module, count: int) -> nn.Variable | None:
    """The variable of a module that has so many, float32 [K]; None for 0. For `setup`."""
    return module.variable(COLLECTION, NAME, jnp.ones, (count,), jnp.float32) if count else None


def applied(variable: nn.Variable | None, logits: jax.Array, num_frames: int) -> jax.Array:
    """Joint logits of a video of `num_frames` frames, divided by the temperature of that number."""
    if variable is None:
        return logits
    return logits / _extended(variable.value, num_frames, logits.dtype)[-1]


def by_frames(variables: Mapping[str, Any], num_frames: int, dtype: jax.typing.DTypeLike) -> jax.Array:
    """The temperatures [T] of 1..T frames, of a head that has some."""
    return _extended(variables[COLLECTION][NAME], num_frames, dtype)


def _extended(temperature: jax.Array, num_frames: int, dtype: jax.typing.DTypeLike) -> jax.Array:
    """[T] of [K]: the last is that of all larger numbers, of which none was fitted."""
    temperature = jnp.asarray(temperature, dtype)[:num_frames]
    return jnp.pad(temperature, (0, num_frames - len(temperature)), mode="edge")

"""What a method that knows nothing would say."""

from typing import Any

import jax

from esv_jax import checks
from esv_jax.baselines.call import Asked, Baseline


def random() -> Baseline:
    """values[i, c] drawn from a standard normal distribution by the key."""
    return Baseline(_random)


def _random(asked: Asked, arrays: tuple[()], key: Any) -> tuple[jax.Array, jax.Array]:
    if key is None:
        raise checks.InputError("random() draws its values: give explain a key, such as jax.random.key(0)")
    shape = (asked.video.shape[0], asked.empty.shape[0])
    return jax.random.normal(key, shape, asked.empty.dtype), asked.empty

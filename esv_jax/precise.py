"""Products in full precision, on accelerators too: values are small differences of sums, and less would show."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def matmul(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """jnp.matmul at the highest precision."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)

"""64-bit types for a part of a test, the same way in every version of JAX."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def x64(enabled: bool = True) -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", enabled)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)

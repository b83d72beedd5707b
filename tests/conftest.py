"""All tests run with strict dtype and rank promotion; warnings are errors (pyproject.toml)."""

import jax
import pytest

from tests import precision

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Runs the test with 64-bit types enabled."""
    with precision.x64():
        yield

"""Quantiles of Student's t, against SciPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from esv_jax import student

DEGREES = np.array([1, 2, 3, 5.5, 10, 30, 100, 199, 200, 201, 1000, 1e6, np.inf])


@pytest.mark.parametrize("chance", [0.6, 0.9, 0.975, 0.999])
def test_quantiles(chance):
    found = student.quantile(chance, jnp.asarray(DEGREES, jnp.float32))
    np.testing.assert_allclose(found, stats.t.ppf(chance, DEGREES), rtol=1e-4)


def test_no_degrees_of_freedom_no_quantile():
    assert np.isposinf(student.quantile(0.975, 0))

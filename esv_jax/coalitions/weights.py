"""Numbers of coalitions and their weights in the Shapley value, exact integers turned into floats without overflow."""

import math

import numpy as np

# Larger counts make no difference where they are used (as the size of a population that is sampled).
LARGEST = 2**100


def binomial_row(n: int) -> np.ndarray:
    """float64 [n + 2]: C(n, 0), ..., C(n, n), 0; values beyond 2^100 as 2^100."""
    return np.array([float(min(math.comb(n, j), LARGEST)) for j in range(n + 2)])

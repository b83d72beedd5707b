"""Numbers of coalitions and their weights in the Shapley value, exact integers turned into floats without overflow."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Larger counts make no difference where they are used (as the size of a population that is sampled).
LARGEST = 2**100


def binomial_row(n: int) -> np.ndarray:
    """float64 [n + 2]: C(n, 0), ..., C(n, n), 0; values beyond 2^100 as 2^100."""
    return np.array([float(min(math.comb(n, j), LARGEST)) for j in range(n + 2)])


def shapley(num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of v(S) by |S| = 0..T in the Shapley value of a frame in S and of one not in S, float64 [T + 1] each.

    1 / (T C(T-1, |S|-1)) and -1 / (T C(T-1, |S|)): the mean over sizes of means over coalitions.
    """
    coalitions = binomial_row(num_frames - 1)[:-1]
    without_frame = np.append(-1 / (num_frames * coalitions), 0)
    return np.append(0, 1 / (num_frames * coalitions)), without_frame


def coefficients(inside: Any, weights: tuple[np.ndarray, np.ndarray], dtype: jax.typing.DTypeLike) -> jax.Array:
    """Weights [N, T] of coalitions given by their indicator [N, T], from weights by size for frames in and not in."""
    inside = jnp.asarray(inside)
    size = inside.sum(axis=1).astype(jnp.int32)
    with_frame, without_frame = (jnp.asarray(w, dtype)[size][:, None] for w in weights)
    return jnp.where(inside > 0, with_frame, without_frame)

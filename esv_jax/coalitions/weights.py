"""Numbers of coalitions and their weights in the Shapley value, exact integers turned into floats without overflow."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Array, WeightsBySize

# Larger counts make no difference where they are used (as the size of a population that is sampled).
LARGEST = 2**100


def binomial_row(n: int) -> np.ndarray:
    """float64 [n + 2]: C(n, 0), ..., C(n, n), 0; values beyond 2^100 as 2^100."""
    return np.array([float(min(math.comb(n, j), LARGEST)) for j in range(n + 2)])


@functools.lru_cache(maxsize=64)
def shapley(num_players: int) -> WeightsBySize:
    """Weights of v(S) by |S| = 0..P in the Shapley value of a player in S and of one not in S, float64 [P + 1] each.

    1 / (P C(P-1, |S|-1)) and -1 / (P C(P-1, |S|)): the mean over sizes of means over coalitions. Read-only.
    """
    coalitions = binomial_row(num_players - 1)[:-1]
    by_size = np.append(0, 1 / (num_players * coalitions)), np.append(-1 / (num_players * coalitions), 0)
    for weights in by_size:
        weights.flags.writeable = False
    return by_size


def coefficients(mask: Array, weights: WeightsBySize, dtype: jax.typing.DTypeLike) -> Array:
    """Weights [N, P] of coalitions [N, P], from weights by size for players in and not in; NumPy for NumPy."""
    if isinstance(mask, np.ndarray):
        # A constant, worked out here: the compiler would leave it to every run.
        size = mask.sum(axis=1)
        with_player, without_player = (w[size][:, None] for w in weights)
        return np.where(mask, with_player, without_player).astype(dtype)
    mask = jnp.asarray(mask).astype(bool)
    size = mask.sum(axis=1, dtype=jnp.int32)
    with_player, without_player = (jnp.asarray(w, dtype)[size][:, None] for w in weights)
    return jnp.where(mask, with_player, without_player)

"""Numbers of coalitions and their weights in the Shapley value, exact integers turned into floats without overflow."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Array, WeightsBySize

# (coalitions bool or int [N, P], dtype) -> what v(S) counts in each of Q sums, [N, Q]; NumPy for NumPy.
Coefficients = Callable[[Array, jax.typing.DTypeLike], Array]
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


def of_players(by_size: WeightsBySize) -> Coefficients:
    """Those of values, Q = P: by |S|, and whether the player is in S."""
    return functools.partial(_of_players, by_size)


def _of_players(by_size: WeightsBySize, mask: Array, dtype: jax.typing.DTypeLike) -> Array:
    with_player, without_player = at_sizes(by_size, mask, dtype)
    return where(mask, with_player, without_player)


def at_sizes(by_size: tuple[np.ndarray, ...], mask: Array, dtype: jax.typing.DTypeLike) -> tuple[Array, ...]:
    """Weights by |S| of the coalitions [N, P], [N, 1] each; NumPy for NumPy: the compiler leaves constants to runs."""
    if isinstance(mask, np.ndarray):
        size = mask.sum(axis=1)
        return tuple(w[size][:, None].astype(dtype) for w in by_size)
    size = mask.astype(bool).sum(axis=1, dtype=jnp.int32)
    return tuple(jnp.asarray(w, dtype)[size][:, None] for w in by_size)


def where(condition: Array, one: Array, other: Array) -> Array:
    """`one` where a condition, bool or 0 and 1, holds, and the `other` elsewhere; NumPy for NumPy."""
    if isinstance(condition, np.ndarray):
        return np.where(condition, one, other)
    return jnp.where(condition.astype(bool), one, other)

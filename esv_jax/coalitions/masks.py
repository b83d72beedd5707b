"""Coalitions as masks [N, P] and as members [N, k]: the same, one made of the other."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Array


def of_members(members: np.ndarray, num_players: int) -> np.ndarray:
    """Mask bool [N, P] of members int [N, k], on the host."""
    mask = np.zeros((len(members), num_players), bool)
    np.put_along_axis(mask, members, True, axis=1)
    return mask


def members_of(mask: Array, size: int) -> Any:
    """Members int32 [N, k], increasing, of masks [N, P] of coalitions of one size; NumPy for NumPy."""
    if isinstance(mask, np.ndarray):
        return np.nonzero(mask)[1].reshape(len(mask), size).astype(np.int32)
    return jnp.argsort(jnp.logical_not(mask), axis=1, stable=True)[:, :size].astype(jnp.int32)


def every(num_players: int) -> np.ndarray:
    """Masks bool [2^P, P] of all coalitions, nobody first: player i is in the one of number n if bit i of n is set."""
    return (np.arange(2**num_players)[:, None] >> np.arange(num_players) & 1) > 0


def everyone(num_players: int) -> np.ndarray:
    """The mask [1, P] of all players."""
    return np.ones((1, num_players), bool)


def as_float(mask: Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Masks [N, P] as numbers 0 and 1."""
    return jnp.asarray(mask).astype(dtype)

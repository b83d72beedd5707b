"""The subset lattice: all coalitions of one size in a fixed order, their ranks, and who covers whom.

Coalitions of a size are kept in colexicographic order (compare the largest member first). There the rank of
{s_1 < ... < s_k} is sum_j C(s_j, j), whatever the number of frames is (the combinatorial number system).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Array, Level


@functools.lru_cache(maxsize=64)
def binomials(num_frames: int, size: int) -> np.ndarray:
    """int64 [num_frames + 1, size + 1] table of C(n, j); exact for values below 2^63."""
    return np.array([[math.comb(n, j) for j in range(size + 1)] for n in range(num_frames + 1)], np.int64)


@functools.lru_cache(maxsize=128)
def combinations(num_frames: int, size: int) -> np.ndarray:
    """All C(num_frames, size) coalitions of one size, int32 [N, size], rows in colexicographic order. Read-only."""
    if size == 0:
        members = np.zeros((1, 0), np.int32)
    else:
        # A block for each largest member m: the first C(m, size-1) coalitions of the size below, with m appended.
        smaller = combinations(num_frames, size - 1)
        lengths = [math.comb(m, size - 1) for m in range(size - 1, num_frames)]
        rows = np.concatenate([np.arange(n) for n in lengths])
        last = np.repeat(np.arange(size - 1, num_frames, dtype=np.int32), lengths)
        members = np.concatenate([smaller[rows], last[:, None]], axis=1)
    members.flags.writeable = False
    return members


def rank(members: np.ndarray) -> np.ndarray:
    """Rows of `members` int [N, k] (increasing) in `combinations`, int64 [N]."""
    size = members.shape[1]
    table = binomials(int(members.max(initial=0)) + 1, size)
    return table[members, np.arange(1, size + 1)].sum(axis=1)


def child_ranks(members: np.ndarray) -> np.ndarray:
    """Ranks of every coalition without its p-th member, for members int [N, k] -> int32 [N, k].

    Members after the p-th move down one place: sum_{j<p} C(s_j, j) + sum_{j>p} C(s_j, j - 1).
    """
    size = members.shape[1]
    table = binomials(int(members.max(initial=0)) + 1, size)
    kept = table[members, np.arange(1, size + 1)]
    moved = table[members, np.arange(size)]
    before = np.cumsum(kept, axis=1) - kept
    after = moved.sum(axis=1, keepdims=True) - np.cumsum(moved, axis=1)
    return (before + after).astype(np.int32)


def membership(members: Array, num_frames: int, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Indicator [N, T] of `members` int [N, k], filled up with -1: 1 where the frame is in the coalition, else 0."""
    members = jnp.asarray(members)
    row = jnp.arange(members.shape[0], dtype=jnp.int32)[:, None]
    # One write a member; a column more takes what only fills up. Comparing all with all frames is T times the work.
    marked = jnp.zeros((members.shape[0], num_frames + 1), dtype)
    column = jnp.where(members < 0, num_frames, members)
    return marked.at[row, column].set(jnp.ones((), dtype), mode="promise_in_bounds")[:, :num_frames]


def inside(members: np.ndarray, num_frames: int) -> np.ndarray:
    """Indicator bool [N, T] of `members` int [N, k], on the host."""
    found = np.zeros((len(members), num_frames), bool)
    np.put_along_axis(found, members, True, axis=1)
    return found


def indicator(level: Level, num_frames: int, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Indicator [N, T] of a level's coalitions, the one that it brings or made of its members."""
    if level.inside is None:
        return membership(level.members, num_frames, dtype)
    return jnp.asarray(level.inside, dtype)

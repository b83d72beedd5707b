"""The subset lattice: all coalitions of one size in a fixed order, their ranks, and who covers whom.

Coalitions of a size are kept in colexicographic order (compare the largest member first). There the rank of
{s_1 < ... < s_k} is sum_j C(s_j, j), whatever the number of players is (the combinatorial number system).
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from esv_jax.base import Array


class Level(NamedTuple):
    """Coalitions of one size k, as the walk over all of them sees them.

    Attributes:
      members: int [N, w], increasing, filled up with -1 behind the k members.
      children: int [N, w], the rank in size k - 1 of the coalition without its p-th member; filled up likewise.
      mask: bool or int [N, P].
    """

    members: Array
    children: Array
    mask: Array


@functools.lru_cache(maxsize=64)
def binomials(num_players: int, size: int) -> np.ndarray:
    """int64 [num_players + 1, size + 1] table of C(n, j); exact for values below 2^63."""
    return np.array([[math.comb(n, j) for j in range(size + 1)] for n in range(num_players + 1)], np.int64)


@functools.lru_cache(maxsize=128)
def combinations(num_players: int, size: int) -> np.ndarray:
    """All C(num_players, size) coalitions of one size, int32 [N, size], rows in colexicographic order. Read-only."""
    if size == 0:
        members = np.zeros((1, 0), np.int32)
    else:
        # A block for each largest member m: the first C(m, size-1) coalitions of the size below, with m appended.
        smaller = combinations(num_players, size - 1)
        lengths = [math.comb(m, size - 1) for m in range(size - 1, num_players)]
        rows = np.concatenate([np.arange(n) for n in lengths])
        last = np.repeat(np.arange(size - 1, num_players, dtype=np.int32), lengths)
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

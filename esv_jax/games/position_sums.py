"""Sums over a coalition's members of what each adds at its position: the first layer of a TRN, for all coalitions.

The k positions are cut into few parts, and the sums of every part are tabulated: positions start..start+length-1 hold
some `length` of T - k + length frames, a coalition in its own right whose rank is the row of the table. A coalition
then costs as many additions as there are parts (two for k = 8 of 16 frames), not k.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Array
from esv_jax.coalitions import lattice
from esv_jax.precise import matmul

# Rows of a table, at most, wherever a part holds more than one position.
MAX_ROWS = 2048


def tables(shares: jax.Array) -> tuple[jax.Array, ...]:
    """The tables [rows, H] of all parts.

    Args:
      shares: [k, T - k + 1, H], at (p, j) what frame p + j adds at position p.
    """
    size, choices, width = shares.shape
    made = []
    for start, length in _parts(choices, size):
        members = lattice.combinations(choices - 1 + length, length)
        # A product with an present of (position, frame) compiles and runs faster than sums of gathered rows.
        present = np.zeros((len(members), length * choices), shares.dtype)
        np.put_along_axis(present, members + (choices - 1) * np.arange(length), 1, axis=1)
        flat = shares[start : start + length].reshape(length * choices, width)
        made.append(matmul(present, flat))
    return tuple(made)


def look_up(parts: tuple[jax.Array, ...], members: Array, choices: int) -> jax.Array:
    """Sums [N, H] for members int32 [N, k], by the `tables` made of shares [k, choices, H]."""
    size = members.shape[1]
    if len(parts) == 1 and _is_everything(members, choices - 1 + size):
        return parts[0]
    total: Any = 0
    for table, (start, length) in zip(parts, _parts(choices, size), strict=True):
        counts = lattice.binomials(choices - 1 + length, length)
        flat = jnp.asarray(np.minimum(counts, 2**31 - 1).astype(np.int32).reshape(-1))
        shifted = jnp.asarray(members[:, start : start + length]) - start
        entry = shifted * (length + 1) + jnp.arange(1, length + 1, dtype=jnp.int32)[None]
        row = flat.at[entry].get(mode="promise_in_bounds").sum(axis=1, dtype=jnp.int32)
        total = total + table.at[row].get(mode="promise_in_bounds")
    return total


def _is_everything(members: Array, num_frames: int) -> bool:
    """Whether these are all coalitions of their size, in the order of the tables, and known to be."""
    size = members.shape[1]
    constant = isinstance(members, np.ndarray) and len(members) == math.comb(num_frames, size)
    return constant and np.array_equal(members, lattice.combinations(num_frames, size))


def _parts(choices: int, size: int) -> list[tuple[int, int]]:
    """(start, length) of as few parts as MAX_ROWS allows."""
    count = 1
    while (longest := -(-size // count)) > 1 and math.comb(choices - 1 + longest, longest) > MAX_ROWS:
        count += 1
    bounds = [round(size * n / count) for n in range(count + 1)]
    return [(a, b - a) for a, b in itertools.pairwise(bounds)]

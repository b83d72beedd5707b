"""Coalitions made on the device from their ranks, so that no table of all of them need exist."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.coalitions import lattice
from esv_jax.coalitions.lattice import Level

# Ranks are int32: C(32, 16) fits, C(34, 17) does not.
MAX_PLAYERS = 32


def level(rank: jax.Array, num_players: int, size: int | jax.Array, width: int) -> Level:
    """The coalitions of one size with given ranks in colexicographic order, and the ranks of their children.

    Args:
      rank: int32 [N], below C(num_players, size).
      num_players: P, at most 32.
      size: k, may be traced.
      width: number of columns, at least k.

    Returns:
      Level(members, children, mask): int32 [N, width] as `lattice.combinations` and `lattice.child_ranks`, filled up
      with -1, and int32 [N, P].
    """
    stride = width + 1
    counts = lattice.binomials(num_players, width)
    flat = jnp.asarray(np.minimum(counts, 2**31 - 1).astype(np.int32).reshape(-1))
    players = jnp.arange(num_players - 1, -1, -1, dtype=jnp.int32)

    # From the last player to the first: it is the largest of the members that are `left` if C(player, left) coalitions
    # or more come before. Larger members are counted in `moved` as they rank when a smaller one is gone.
    def visit(state: Any, player: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        rest, left, moved = state
        before = flat.at[player * stride + left].get(mode="promise_in_bounds")
        held = (before <= rest) & (left > 0)
        rest = jnp.where(held, rest - before, rest)
        child = rest + moved
        down = flat.at[player * stride + jnp.maximum(left - 1, 0)].get(mode="promise_in_bounds")
        place = jnp.where(held, left - 1, -1)
        return (rest, left - held.astype(jnp.int32), jnp.where(held, moved + down, moved)), (place, child)

    start = rank, jnp.full_like(rank, size), jnp.zeros_like(rank)
    _, (place, child) = jax.lax.scan(visit, start, players)
    columns = jnp.arange(width, dtype=jnp.int32)
    here = place.T[:, None, :] == columns[None, :, None]
    used = columns[None] < size
    members = jnp.where(used, jnp.where(here, players[None, None], 0).sum(axis=2, dtype=jnp.int32), -1)
    children = jnp.where(used, jnp.where(here, child.T[:, None, :], 0).sum(axis=2, dtype=jnp.int32), -1)
    return Level(members, children, (place[::-1].T >= 0).astype(jnp.int32))

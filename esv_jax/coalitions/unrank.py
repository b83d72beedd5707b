"""Coalitions made on the device from their ranks, so that no table of all of them need exist."""

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.coalitions import lattice

# Ranks are int32: C(32, 16) fits, C(34, 17) does not.
MAX_FRAMES = 32


def members_and_children(
    rank: jax.Array, num_frames: int, size: int | jax.Array, width: int
) -> tuple[jax.Array, jax.Array]:
    """Members and ranks of the children of the coalitions of one size, by their rank in colexicographic order.

    Args:
      rank: int32 [N], below C(num_frames, size).
      num_frames: T, at most 32.
      size: k, may be traced.
      width: number of columns, at least k.

    Returns:
      (members, children), int32 [N, width]: as `lattice.combinations` and `lattice.child_ranks`, filled up with -1.
    """
    table = lattice.binomials(num_frames, width)
    # Column p (the p-th smallest member) is found by bisection of C(., p), the largest member first.
    flat = jnp.asarray(np.minimum(table, 2**31 - 1).astype(np.int32).reshape(-1))
    stride = width + 1
    steps = max(1, num_frames.bit_length())

    def place(column: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        rest, moved = state
        found = jnp.zeros_like(rest)
        for step in reversed(range(steps)):
            further = found + 2**step
            inside = further < num_frames
            value = flat[jnp.minimum(further, num_frames) * stride + column]
            found = jnp.where(inside & (value <= rest), further, found)
        rest = rest - flat[found * stride + column]
        child = rest + moved
        return found, child, moved + flat[found * stride + column - 1]

    def scan(state: tuple[jax.Array, jax.Array], column: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        rest, moved = state
        found, child, moved_after = place(column, state)
        used = column <= size
        left = jnp.where(used, child - moved, rest)
        state = left, jnp.where(used, moved_after, moved)
        return state, jnp.where(used, jnp.stack([found, child]), -1)

    columns = jnp.arange(width, 0, -1, dtype=jnp.int32)
    _, found = jax.lax.scan(scan, (rank, jnp.zeros_like(rank)), columns)
    found = found[::-1]
    return found[:, 0].T, found[:, 1].T

"""Joint logits of multi-scale models for any coalitions, whatever else a plan holds (`games.multiscale` says which)."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Level
from esv_jax.coalitions import lattice
from esv_jax.games.clips import in_chunks
from esv_jax.precise import matmul

# With all subsets at hand: the most of them; the coalitions, and the entries of which subsets are in them, at a time.
MAX_SUBSETS = 2**20
ROWS_AT_ONCE = 256
HELD_AT_ONCE = 2**24
# Where there are more: random subsets of each size, for each coalition.
RANDOM_SUBSETS = 32
NO_CHILDREN: Any = None
ScaleLogits = Callable[[Any, Level], jax.Array]


def number_of_subsets(num_frames: int, num_scales: int) -> int:
    """How many subsets of at most M frames there are."""
    return sum(math.comb(num_frames, size) for size in range(1, min(num_frames, num_scales) + 1))


def tables(scale_logits: ScaleLogits, prepared: Any, num_frames: int, num_scales: int) -> tuple[jax.Array, ...]:
    """f_s of all subsets of size s = 1..min(M, T), [C(T, s), C] each.

    Raises:
      InputError: more than 2^20 of them.
    """
    num_subsets = number_of_subsets(num_frames, num_scales)
    if num_subsets > MAX_SUBSETS:
        raise checks.InputError(
            f"all_subsets=True evaluates every subset of at most {num_scales} frames and takes at most "
            f"{MAX_SUBSETS} of them, found {num_subsets} for {num_frames} frames"
        )
    sizes = range(1, min(num_frames, num_scales) + 1)
    return tuple(scale_logits(prepared, Level(lattice.combinations(num_frames, s), NO_CHILDREN)) for s in sizes)


def from_tables(of_sizes: tuple[jax.Array, ...], level: Level) -> jax.Array:
    """A(S) [N, C]: a product of `tables` with which subsets are in S."""
    num_frames = of_sizes[0].shape[0]
    num_subsets = sum(len(table) for table in of_sizes)

    def joint(inside: jax.Array) -> jax.Array:
        total = jnp.zeros((inside.shape[0], of_sizes[0].shape[1]), of_sizes[0].dtype)
        for size, table in enumerate(of_sizes, start=1):
            subset = lattice.combinations(num_frames, size)
            held = inside[:, subset[:, 0]]
            for position in range(1, size):
                held = held * inside[:, subset[:, position]]
            mean = matmul(held, table)
            total = total + mean / jnp.maximum(held.sum(axis=1, keepdims=True), 1)
        return total / jnp.minimum(inside.sum(axis=1, keepdims=True), len(of_sizes))

    return in_chunks(
        joint,
        lattice.indicator(level, num_frames, of_sizes[0].dtype),
        max(1, min(ROWS_AT_ONCE, HELD_AT_ONCE // num_subsets)),
    )


def from_random_subsets(scale_logits: ScaleLogits, prepared: Any, level: Level, num_scales: int) -> jax.Array:
    """A(S) [N, C], estimated without bias from 32 random subsets of each size, drawn for each coalition anew.

    Which ones depends on the coalitions alone: the same plan gives the same values.

    Args:
      level: members [N, w], filled up with -1.
    """
    sizes = range(1, min(num_scales, level.members.shape[1]) + 1)

    def joint(members: jax.Array) -> jax.Array:
        held = (members >= 0).sum(axis=1).astype(jnp.int32)[:, None]
        seed = (
            members.astype(jnp.uint32) * jnp.arange(1, members.size + 1, dtype=jnp.uint32).reshape(members.shape)
        ).sum(dtype=jnp.uint32)
        total: Any = 0
        for size in sizes:
            key = jax.random.fold_in(jax.random.key(seed), size)
            chosen = _positions(key, held, size)
            subsets = jnp.take_along_axis(members[:, None, :], jnp.maximum(chosen, 0), axis=2).reshape(-1, size)
            logits = scale_logits(prepared, Level(jnp.maximum(subsets, 0), NO_CHILDREN))
            mean = logits.reshape(len(members), RANDOM_SUBSETS, -1).mean(axis=1)
            total = total + jnp.where(held >= size, mean, 0)
        return total / jnp.minimum(held, num_scales).astype(total.dtype)

    return in_chunks(joint, level.members, ROWS_AT_ONCE)


def _positions(key: jax.Array, held: jax.Array, size: int) -> jax.Array:
    """`size` different random numbers below held [N, 1], increasing, int32 [N, RANDOM_SUBSETS, size]."""
    uniform = jax.random.uniform(key, (size, len(held), RANDOM_SUBSETS))
    found: list[jax.Array] = []
    for turn in range(size):
        left = held - turn
        new = jnp.minimum((uniform[turn] * left.astype(uniform.dtype)).astype(jnp.int32), left - 1)
        # The new-th of the numbers that were not drawn yet.
        for earlier in found:
            new = new + (new >= earlier).astype(jnp.int32)
        for position, earlier in enumerate(found):
            found[position], new = jnp.minimum(earlier, new), jnp.maximum(earlier, new)
        found.append(new)
    return jnp.stack(found, axis=2)

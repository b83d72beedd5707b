"""Joint logits of multi-scale games (`base.Scales`), from the logits f_s of their heads.

    A(S) = mean over sizes s <= min(|S|, M) of the mean of f_s over the size-s subsets of S

obeys a recurrence over the subset lattice; where all coalitions are wanted each f_k is evaluated once a coalition:

    A(S) = ( f_k(S) + (k - 1) * mean_{i in S} A(S - i) ) / k     for k = |S| <= M
    A(S) =                      mean_{i in S} A(S - i)           for k > M

For any coalitions, whatever else is asked for, A(S) is a product of f_s of all subsets with which subsets are in S, or,
where these are too many, a mean over random ones.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Array, Form, Scales
from esv_jax.batches import in_chunks
from esv_jax.coalitions import balanced, lattice, masks
from esv_jax.precise import matmul

# f_s [N, C] of members int32 [N, s], s <= M.
ScaleLogits = Callable[[Array], jax.Array]

# Sums over so few children are compiled as one pass; longer ones as a loop, which compiles faster and runs slower.
UNROLLED_CHILDREN = 8
# Known children are summed by a product with a matrix where level k-1 has at most this times k rows.
DENSE_CHILDREN = 16
# With all subsets at hand: the most of them; the coalitions, and the entries of which subsets are in them, at a time.
MAX_SUBSETS = 2**20
ROWS_AT_ONCE = 256
HELD_AT_ONCE = 2**24
# Where there are more: random subsets of each size, for each coalition, and for the one of everyone.
RANDOM_SUBSETS = 32
RANDOM_SUBSETS_OF_ALL = 256


def number_of_subsets(num_players: int, num_scales: int) -> int:
    """How many subsets of at most M players there are."""
    return sum(math.comb(num_players, size) for size in range(1, min(num_players, num_scales) + 1))


def from_children(
    scale_logits: ScaleLogits, num_scales: int, size: int, members: Array, children: Array, below: Any
) -> jax.Array:
    """A(S) [N, C] of coalitions of one size, out of those [N_below, C] of the size below: the recurrence.

    Args:
      size: k; any number above M will do for larger ones.
      members: int32 [N, k]; read for k <= M.
      children: int32 [N, w], rows of `below`, filled up with -1; the mean is over those that are there.
      below: not read for k = 1.
    """
    if size == 1:
        joint = scale_logits(members)
    elif size <= num_scales:
        joint = (scale_logits(members) + (size - 1) * _mean_of_children(children, below)) / size
    else:
        joint = _mean_of_children(children, below)
    # Read twice, computed once; and done with the table of the level below before that is written to.
    return jax.lax.optimization_barrier(joint)


def of_masks(scale_logits: ScaleLogits, num_scales: int, mask: Array) -> jax.Array:
    """A(S) [N, C] of any coalitions, mask bool [N, P], none of them empty: exact, or, where there are more than 2^20
    subsets of at most M players, with means over 32 random subsets of each size, the same ones for the same S (that of
    everyone: as `of_everyone`)."""
    num_players = mask.shape[1]
    if number_of_subsets(num_players, num_scales) > MAX_SUBSETS:
        full = of_everyone(scale_logits, num_scales, num_players)
        found = _from_random_subsets(scale_logits, num_scales, mask)
        return jnp.where(jnp.asarray(mask).all(axis=1, keepdims=True), full, found)
    sizes = range(1, min(num_players, num_scales) + 1)
    return _from_tables([scale_logits(lattice.combinations(num_players, size)) for size in sizes], mask)


def of_everyone(scale_logits: ScaleLogits, num_scales: int, num_players: int) -> jax.Array:
    """A(everyone) [1, C]; where there are more than 2^20 subsets, means over 256 random ones of each size, in which
    every player occurs equally often."""
    too_many = number_of_subsets(num_players, num_scales) > MAX_SUBSETS
    rng = np.random.default_rng(0)
    means = []
    for size in range(1, min(num_players, num_scales) + 1):
        some = too_many and math.comb(num_players, size) > RANDOM_SUBSETS_OF_ALL
        members = (
            balanced.subsets(num_players, size, RANDOM_SUBSETS_OF_ALL, rng)
            if some
            else lattice.combinations(num_players, size)
        )
        means.append(scale_logits(members).mean(axis=0))
    return jnp.stack(means).mean(axis=0)[None]


def temperatures(form: Form, prepared: Any) -> jax.Array | None:
    """What joint logits are divided by, float [T], by the number of frames; None: they are not."""
    return form.temperature(prepared) if isinstance(form, Scales) and form.temperature is not None else None


def tempered(form: Form, prepared: Any, logits: jax.Array, mask: Array) -> jax.Array:
    """Joint logits [N, C] of coalitions of frames, mask bool [N, T], divided by their temperatures."""
    by_size = temperatures(form, prepared)
    if by_size is None:
        return logits
    return logits / by_size[jnp.asarray(mask).sum(axis=1, dtype=jnp.int32) - 1][:, None]


def _mean_of_children(children: Array, below: jax.Array) -> jax.Array:
    """Mean of `below` [N_below, C] over the children that are there, [N, C]; NaN where there are none."""
    width = children.shape[1]
    if isinstance(children, np.ndarray) and len(below) <= DENSE_CHILDREN * width and (children >= 0).all():
        return matmul(_mean_matrix(children, below), below)
    children = jnp.asarray(children)
    num_children = (children >= 0).astype(below.dtype).sum(axis=1, keepdims=True)
    if width > UNROLLED_CHILDREN:
        children = jnp.pad(children, ((0, 0), (0, -width % UNROLLED_CHILDREN)), constant_values=-1)

    def add(columns: jax.Array, total: jax.Array) -> jax.Array:
        for position in range(columns.shape[1]):
            column = columns[:, position]
            row = below.at[jnp.maximum(column, 0)].get(mode="promise_in_bounds")
            total = total + (column >= 0).astype(below.dtype)[:, None] * row
        return total

    total = jnp.zeros((children.shape[0], below.shape[1]), below.dtype)
    if width <= UNROLLED_CHILDREN:
        total = add(children, total)
    else:
        # Children come first in their rows, so the loop ends with the longest row of them.
        most = (children >= 0).any(axis=0).sum()

        def add_some(turn: jax.Array, total: jax.Array) -> jax.Array:
            start = turn * UNROLLED_CHILDREN
            return add(jax.lax.dynamic_slice_in_dim(children, start, UNROLLED_CHILDREN, axis=1), total)

        total = jax.lax.fori_loop(0, -(-most // UNROLLED_CHILDREN), add_some, total)
    return total / num_children


def _mean_matrix(children: np.ndarray, below: jax.Array) -> np.ndarray:
    """[N, N_below]: the mean over `children` int [N, k], none of them missing."""
    matrix = np.zeros((len(children), len(below)), below.dtype)
    np.put_along_axis(matrix, children, 1 / children.shape[1], axis=1)
    return matrix


def _from_tables(of_sizes: list[jax.Array], mask: Array) -> jax.Array:
    """A(S) [N, C]: a product of f_s of all subsets of size s = 1.., [C(P, s), C] each, with which of them are in S."""
    num_players = mask.shape[1]
    num_subsets = sum(len(table) for table in of_sizes)

    def joint(mask: jax.Array) -> jax.Array:
        present = mask.astype(of_sizes[0].dtype)
        total = jnp.zeros((len(mask), of_sizes[0].shape[1]), of_sizes[0].dtype)
        for size, table in enumerate(of_sizes, start=1):
            subset = lattice.combinations(num_players, size)
            held = present[:, subset[:, 0]]
            for position in range(1, size):
                held = held * present[:, subset[:, position]]
            total = total + matmul(held, table) / jnp.maximum(held.sum(axis=1, keepdims=True), 1)
        return total / jnp.minimum(present.sum(axis=1, keepdims=True), len(of_sizes))

    return in_chunks(joint, jnp.asarray(mask), max(1, min(ROWS_AT_ONCE, HELD_AT_ONCE // num_subsets)))


def _from_random_subsets(scale_logits: ScaleLogits, num_scales: int, mask: Array) -> jax.Array:
    """A(S) [N, C], with means over random subsets of S of each size, drawn with a seed that S alone decides."""
    num_players = mask.shape[1]
    codes = np.random.default_rng(0).integers(2**32, size=num_players, dtype=np.uint32)

    def joint(mask: jax.Array) -> jax.Array:
        members = masks.members_of(mask, num_players)
        held = mask.sum(axis=1, dtype=jnp.int32)[:, None]
        seeds = (mask.astype(jnp.uint32) * codes[None]).sum(axis=1, dtype=jnp.uint32)
        keys = jax.vmap(jax.random.key)(seeds)
        total: Any = 0
        for size in range(1, min(num_scales, num_players) + 1):
            uniform = jax.vmap(lambda k, s=size: jax.random.uniform(jax.random.fold_in(k, s), (s, RANDOM_SUBSETS)))(
                keys
            )
            chosen = _positions(uniform, held)
            subsets = jnp.take_along_axis(members[:, None, :], jnp.maximum(chosen, 0), axis=2).reshape(-1, size)
            mean = scale_logits(subsets).reshape(len(members), RANDOM_SUBSETS, -1).mean(axis=1)
            total = total + jnp.where(held >= size, mean, 0)
        return total / jnp.minimum(held, num_scales).astype(total.dtype)

    return in_chunks(joint, jnp.asarray(mask), ROWS_AT_ONCE)


def _positions(uniform: jax.Array, held: jax.Array) -> jax.Array:
    """Different random numbers below held [N, 1], increasing, int32 [N, n, s], from uniform ones [N, s, n]."""
    found: list[jax.Array] = []
    for turn in range(uniform.shape[1]):
        left = held - turn
        new = jnp.minimum((uniform[:, turn] * left.astype(uniform.dtype)).astype(jnp.int32), left - 1)
        # The new-th of the numbers that were not drawn yet.
        for earlier in found:
            new = new + (new >= earlier).astype(jnp.int32)
        for position, earlier in enumerate(found):
            found[position], new = jnp.minimum(earlier, new), jnp.maximum(earlier, new)
        found.append(new)
    return jnp.stack(found, axis=2)

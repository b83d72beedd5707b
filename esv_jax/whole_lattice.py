"""Sums over all 2^T coalitions, streamed in tiles of rows, for the exact estimators.

Nothing of size 2^T is held: a tile's coalitions are made on the device from their ranks, and games that carry state
keep two sizes of it. Sizes with a program of their own (`Game.own_program`) have a loop each and all larger ones share
one, so compile time does not grow with the number of frames.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Game, Level
from esv_jax.coalitions import lattice, unrank, weights

# Coalitions worked on at a time: enough to keep matrix products busy, few enough for their scores to stay in cache.
TILE_ROWS = 2048
# Games that take any sizes together ask for the indicator alone.
NOT_HELD: Any = None


def sum_over_all(
    game: Game, prepared: Any, num_frames: int, with_frame: np.ndarray, without_frame: np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """The sum over coalitions S of v(S) times a weight that depends on |S| and on whether the frame is in S.

    Args:
      game: its functions; `empty` is not read.
      prepared: of game.prepare.
      num_frames: T.
      with_frame: float64 [T + 1], weight of v(S) for the frames in S, by |S|; that of size 0 is not read.
      without_frame: float64 [T + 1], weight for the frames not in S.

    Returns:
      (values [T, C], full [C]), the sums over all S but the empty one, and the worth of all frames.
    """
    by_size = (with_frame, without_frame)
    if game.sum_over_all is None:
        return _visit_all(game, prepared, num_frames, by_size)
    values, full, trusted = game.sum_over_all(prepared, *by_size)
    one_by_one = functools.partial(_visit_all, game, prepared, num_frames, by_size)
    return jax.lax.cond(trusted, lambda: (values, full), one_by_one)


def sum_over_sizes(
    game: Game, prepared: Any, num_frames: int, last: int, with_frame: np.ndarray, without_frame: np.ndarray
) -> tuple[jax.Array, jax.Array, Any]:
    """`sum_over_all` of the coalitions of 1..last frames, for games with a program for each of these sizes.

    Returns:
      (values [T, C], logits of the first coalitions of size `last`, carry of all of them).
    """
    values: Any = 0
    logits: Any = None
    carry = None
    for size in range(1, last + 1):
        part, logits, carry = _one_size(game, prepared, num_frames, size, carry, (with_frame, without_frame))
        values = values + part
    return values, logits, carry


def _visit_all(game: Game, prepared: Any, num_frames: int, by_size: Any) -> tuple[jax.Array, jax.Array]:
    if game.own_program == 0:
        return _any_order(game, prepared, num_frames, by_size)
    last_own = num_frames if game.own_program is None else min(game.own_program, num_frames)
    values, logits, below = sum_over_sizes(game, prepared, num_frames, last_own, *by_size)
    if last_own < num_frames:
        part, logits = _larger_sizes(game, prepared, num_frames, last_own, below, by_size)
        values = values + part
    return values, game.link(logits[:1])[0]


def _weigh(coefficient: jax.Array, worths: jax.Array) -> jax.Array:
    # Values are small differences of sums: reduced precision on accelerators would show.
    return jnp.matmul(coefficient.T, worths, precision=jax.lax.Precision.HIGHEST)


def _any_order(game: Game, prepared: Any, num_frames: int, by_size: Any) -> tuple[jax.Array, jax.Array]:
    """For games without state that take any sizes together: coalition n holds the frames of n's bits."""
    tile = min(2**num_frames, 2 * TILE_ROWS)

    def one_tile(position: Any) -> jax.Array:
        number = position * tile + jnp.arange(tile, dtype=jnp.int32)
        # Coalition 0 has no logits: the full one stands in for it, with weight 0.
        number_or_full = jnp.where(number == 0, 2**num_frames - 1, number)
        inside, worths = _worths_of_numbers(game, prepared, num_frames, number_or_full)
        coefficient = weights.coefficients(inside, by_size, worths.dtype)
        return _weigh(jnp.where(number[:, None] == 0, 0, coefficient), worths)

    values = jax.lax.fori_loop(1, 2**num_frames // tile, lambda n, values: values + one_tile(n), one_tile(0))
    _, full = _worths_of_numbers(game, prepared, num_frames, jnp.full(1, 2**num_frames - 1, jnp.int32))
    return values, full[0]


def _worths_of_numbers(game: Game, prepared: Any, num_frames: int, number: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(indicator [N, T], worths [N, C]) of coalitions given by the bits of int32 numbers [N]."""
    inside = (number[:, None] >> jnp.arange(num_frames, dtype=jnp.int32)[None, :]) & 1
    return inside, game.link(game.logits(prepared, Level(NOT_HELD, NOT_HELD, inside), None)[0])


def _one_size(game: Game, prepared: Any, num_frames: int, size: int, below: Any, by_size: Any) -> tuple[Any, Any, Any]:
    """(values [T, C], logits of a first tile, carry of all rows) of the coalitions of one size."""
    num_rows = math.comb(num_frames, size)
    if num_rows <= TILE_ROWS:
        members = lattice.combinations(num_frames, size)
        logits, carry = game.logits(prepared, Level(members, lattice.child_ranks(members)), below)
        inside = (members[:, :, None] == np.arange(num_frames)).any(axis=1).astype(np.int32)
        worths = game.link(logits)
        return _weigh(weights.coefficients(inside, by_size, worths.dtype), worths), logits, carry
    num_tiles = -(-num_rows // TILE_ROWS)
    tile = -(-num_rows // num_tiles)

    def one_tile(position: Any) -> tuple[jax.Array, jax.Array, Any]:
        row = position * tile + jnp.arange(tile, dtype=jnp.int32)
        members, children = unrank.members_and_children(jnp.minimum(row, num_rows - 1), num_frames, size, size)
        logits, carry = game.logits(prepared, Level(members, children), below)
        worths = game.link(logits)
        inside = lattice.membership(members, num_frames, worths.dtype)
        coefficient = jnp.where((row < num_rows)[:, None], weights.coefficients(inside, by_size, worths.dtype), 0)
        return _weigh(coefficient, worths), logits, carry

    shapes = jax.eval_shape(one_tile, 0)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes[:2])
    table = jax.tree.map(lambda s: jnp.zeros((num_tiles * tile, *s.shape[1:]), s.dtype), shapes[2])

    def add(position: jax.Array, so_far: Any) -> Any:
        values, _, table = so_far
        part, logits, carry = one_tile(position)
        return values + part, logits, _put(table, carry, position * tile)

    return jax.lax.fori_loop(0, num_tiles, add, (*zeros, table))


def _larger_sizes(
    game: Game, prepared: Any, num_frames: int, below_size: int, below: Any, by_size: Any
) -> tuple[jax.Array, jax.Array]:
    """(values [T, C], logits of the full coalition [1, C]) of all sizes beyond `below_size`, in one loop over tiles."""
    sizes = range(below_size + 1, num_frames + 1)
    rows = {size: math.comb(num_frames, size) for size in sizes}
    tile = min(TILE_ROWS, max(rows.values()))
    size_of_tile = np.concatenate([np.full(-(-n // tile), size, np.int32) for size, n in rows.items()])
    start_of_tile = np.concatenate([np.arange(0, n, tile, dtype=np.int32) for n in rows.values()])
    # Even sizes are kept in the first half of the table, odd ones in the second.
    half = max(math.comb(num_frames, below_size), max(-(-n // tile) for n in rows.values()) * tile)
    table = jax.tree.map(lambda a: jnp.zeros((2 * half, *a.shape[1:]), a.dtype), below)
    table = _put(table, below, below_size % 2 * half)
    rows_of_size = np.array([math.comb(num_frames, size) for size in range(num_frames + 1)], np.int32)

    def one_tile(position: Any, table: Any) -> tuple[jax.Array, Any, jax.Array]:
        size = jnp.asarray(size_of_tile)[position]
        row = jnp.asarray(start_of_tile)[position] + jnp.arange(tile, dtype=jnp.int32)
        last = jnp.asarray(rows_of_size)[size] - 1
        members, children = unrank.members_and_children(jnp.minimum(row, last), num_frames, size, num_frames)
        children = jnp.where(children >= 0, children + (1 - size % 2) * half, -1)
        logits, carry = game.logits(prepared, Level(members, children), table)
        worths = game.link(logits)
        inside = lattice.membership(members, num_frames, worths.dtype)
        coefficient = jnp.where((row <= last)[:, None], weights.coefficients(inside, by_size, worths.dtype), 0)
        start = size % 2 * half + jnp.asarray(start_of_tile)[position]
        return _weigh(coefficient, worths), _put(table, carry, start), logits[:1]

    def add(position: jax.Array, so_far: Any) -> Any:
        values, table, _ = so_far
        part, table, logits = one_tile(position, table)
        return values + part, table, logits

    shapes = jax.eval_shape(one_tile, 0, table)
    zeros = [jnp.zeros(shapes[i].shape, shapes[i].dtype) for i in (0, 2)]
    values, _, logits = jax.lax.fori_loop(0, len(size_of_tile), add, (zeros[0], table, zeros[1]))
    return values, logits


def _put(table: Any, rows: Any, start: Any) -> Any:
    return jax.tree.map(lambda t, r: jax.lax.dynamic_update_slice_in_dim(t, r, start, axis=0), table, rows)

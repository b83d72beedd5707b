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
from esv_jax.precise import matmul

# Coalitions worked on at a time: enough to keep matrix products busy, few enough for their scores to stay in cache.
TILE_ROWS = 2048
# Up to so many frames, all coalitions are constants of the program (their ranks fit in int16). Beyond, they are made on
# the device.
LISTED_FRAMES = 16
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
    if trusted is True:
        return values, full
    one_by_one = functools.partial(_visit_all, game, prepared, num_frames, by_size)
    return jax.lax.cond(trusted, lambda: (values, full), one_by_one)


def sum_over_sizes(
    game: Game, prepared: Any, num_frames: int, last: int, with_frame: np.ndarray, without_frame: np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """`sum_over_all` of the coalitions of 1..last frames, and the worth [C] of the first coalition of size `last`."""
    by_size = (with_frame, without_frame)
    rows = [math.comb(num_frames, size) for size in range(1, last + 1)]
    few = next((n for n, count in enumerate(rows) if count > TILE_ROWS and n > 0), last)
    own = last if game.own_program is None else max(few, min(game.own_program, last))
    values, logits, below = _unrolled(game, prepared, num_frames, few, by_size)
    if few == last:
        return values, game.link(logits)[0]
    visit = functools.partial(_visit_size, game, prepared, num_frames, by_size)
    # Two tables in turn: a loop can write to one in place because it only reads the other.
    num_rows = max(_num_tiles(n) * _tile_of(n) for n in rows[few - 1 :])
    empty = jax.tree.map(lambda a: jnp.zeros((num_rows, *a.shape[1:]), a.dtype), below)
    state = values, logits, _put(empty, below, 0), empty
    # Sizes beyond `own` share a program, or two, one for each direction; an odd one is counted among the others.
    own += (last - own) % 2
    for size in range(few + 1, own + 1):
        state = visit(size, size, state)
    if own < last:

        def two_sizes(step: jax.Array, state: Any) -> Any:
            size = own + 1 + 2 * step
            return visit(size + 1, num_frames, visit(size, num_frames, state))

        state = jax.lax.fori_loop(0, (last - own) // 2, two_sizes, state)
    values, logits, _, _ = state
    return values, game.link(logits)[0]


def _visit_all(game: Game, prepared: Any, num_frames: int, by_size: Any) -> tuple[jax.Array, jax.Array]:
    if game.own_program == 0:
        return _any_order(game, prepared, num_frames, by_size)
    return sum_over_sizes(game, prepared, num_frames, num_frames, *by_size)


def _any_order(game: Game, prepared: Any, num_frames: int, by_size: Any) -> tuple[jax.Array, jax.Array]:
    """For games without state that take any sizes together: coalition n holds the frames of n's bits."""
    tile = min(2**num_frames, 2 * TILE_ROWS)

    def one_tile(position: Any) -> jax.Array:
        number = position * tile + jnp.arange(tile, dtype=jnp.int32)
        # Coalition 0 has no logits: the full one stands in for it, with weight 0.
        number_or_full = jnp.where(number == 0, 2**num_frames - 1, number)
        inside, worths = _worths_of_numbers(game, prepared, num_frames, number_or_full)
        coefficient = weights.coefficients(inside, by_size, worths.dtype)
        return matmul(jnp.where(number[:, None] == 0, 0, coefficient).T, worths)

    values = jax.lax.fori_loop(1, 2**num_frames // tile, lambda n, values: values + one_tile(n), one_tile(0))
    _, full = _worths_of_numbers(game, prepared, num_frames, jnp.full(1, 2**num_frames - 1, jnp.int32))
    return values, full[0]


def _worths_of_numbers(game: Game, prepared: Any, num_frames: int, number: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(indicator [N, T], worths [N, C]) of coalitions given by the bits of int32 numbers [N]."""
    inside = (number[:, None] >> jnp.arange(num_frames, dtype=jnp.int32)[None, :]) & 1
    return inside, game.link(game.logits(prepared, Level(NOT_HELD, NOT_HELD, inside), None)[0])


def _unrolled(game: Game, prepared: Any, num_frames: int, last: int, by_size: Any) -> tuple[jax.Array, jax.Array, Any]:
    """(values [T, C], logits [1, C] of the first coalition of size `last`, carry of that size), all known beforehand.

    Worths of all sizes are made and weighed at once: many small steps would cost more than what they do.
    """
    found, inside, carry = [], [], None
    for size in range(1, last + 1):
        members = lattice.combinations(num_frames, size)
        logits, carry = game.logits(prepared, Level(members, lattice.child_ranks(members)), carry)
        found.append(logits)
        inside.append(lattice.inside(members, num_frames))
    worths = game.link(jnp.concatenate(found))
    coefficient = weights.coefficients(np.concatenate(inside).astype(np.int32), by_size, worths.dtype)
    return matmul(coefficient.T, worths), found[-1][:1], carry


def _visit_size(
    game: Game, prepared: Any, num_frames: int, by_size: Any, size: int | jax.Array, width: int, state: Any
) -> Any:
    """Adds the coalitions of one size, in tiles, to (values [T, C], logits [1, C], carry of the size below, table).

    Returns the same, with the two tables changed round. `width` is the columns of the rows; a traced size has T.
    """
    values, logits, below, table = state
    most = math.comb(num_frames, width if isinstance(size, int) else num_frames // 2)
    tile = _tile_of(most)
    num_rows = jnp.asarray(_num_rows(num_frames))[size]
    first_of_size = np.cumsum(_num_rows(num_frames), dtype=np.int32) - _num_rows(num_frames) - 1
    known = _listed(num_frames, width) if num_frames <= LISTED_FRAMES else None
    with_frame, without_frame = (jnp.asarray(w, values.dtype)[size] for w in by_size)

    def one_tile(position: jax.Array, so_far: Any) -> Any:
        values, _, table = so_far
        start = position * tile
        row = start + jnp.arange(tile, dtype=jnp.int32)
        if known is None:
            level = unrank.level(jnp.minimum(row, num_rows - 1), num_frames, size, width)
        else:
            first = start if width < num_frames else jnp.asarray(first_of_size)[size] + start
            level = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, tile).astype(jnp.int32), known)
        logits, carry = game.logits(prepared, level, below)
        table = _put(table, carry, start)
        if carry is logits:
            # Read back, so that nothing is computed twice to save a trip to memory.
            logits = jax.lax.dynamic_slice_in_dim(table, start, tile, axis=0)
        coefficient = jnp.where(jnp.asarray(level.inside).T > 0, with_frame, without_frame)
        coefficient = jnp.where((row < num_rows)[None, :], coefficient, 0)
        return values + matmul(coefficient, game.link(logits)), logits[:1], table

    num_tiles = _num_tiles(most) if isinstance(size, int) else (num_rows + (tile - 1)) // tile
    values, logits, table = jax.lax.fori_loop(0, num_tiles, one_tile, (values, logits, table))
    return values, logits, table, below


@functools.lru_cache(maxsize=4)
def _listed(num_frames: int, width: int) -> Level:
    """Coalitions of `width` frames, or, if that is all frames, of every size, with TILE_ROWS rows to spare. int16."""
    sizes = [width] if width < num_frames else range(1, num_frames + 1)
    levels = []
    for size in sizes:
        members = lattice.combinations(num_frames, size)
        pad = ((0, 0), (0, width - size))
        levels.append(
            Level(
                np.pad(members, pad, constant_values=-1),
                np.pad(lattice.child_ranks(members), pad, constant_values=-1),
                lattice.inside(members, num_frames),
            )
        )
    spare = ((0, TILE_ROWS), (0, 0))
    return Level(*(np.pad(np.concatenate(a), spare).astype(np.int16) for a in zip(*levels, strict=True)))


def _num_rows(num_frames: int) -> np.ndarray:
    """int32 [T + 1]: coalitions of every size 0..T."""
    return np.array([math.comb(num_frames, size) for size in range(num_frames + 1)], np.int32)


def _num_tiles(num_rows: int) -> int:
    return -(-num_rows // TILE_ROWS)


def _tile_of(num_rows: int) -> int:
    """Rows of a tile: as few tiles as can be, equally large."""
    return -(-num_rows // _num_tiles(num_rows))


def _put(table: Any, rows: Any, start: Any) -> Any:
    return jax.tree.map(lambda t, r: jax.lax.dynamic_update_slice_in_dim(t, r, start, axis=0), table, rows)

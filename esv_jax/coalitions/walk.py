"""Sums over all 2^P coalitions, streamed in tiles of rows, for the exact estimators and for interactions.

What is summed is said by coefficients of a coalition, Q of them: one a player for values, one a pair for interactions.

Nothing of size 2^P is held: a tile's coalitions are made on the device from their ranks, and games of the form `Scales`
keep the joint logits of two sizes. Sizes up to M have a loop each and all larger ones share one, so compile time does
not grow with the number of players.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Form, Link, Masks, Scales
from esv_jax.coalitions import joint, lattice, masks, unrank
from esv_jax.coalitions.lattice import Level
from esv_jax.coalitions.weights import Coefficients
from esv_jax.precise import matmul

# Coalitions worked on at a time: enough to keep matrix products busy, few enough for their scores to stay in cache.
TILE_ROWS = 2048
# Up to so many players, all coalitions are constants of the program (their ranks fit in int16). Beyond, they are made
# on the device.
LISTED_PLAYERS = 16

# (sums [Q, C], full [C])
Sums = tuple[jax.Array, jax.Array]
# (size, level, joint logits of the size below) -> logits [N, C] of the level.
StepUp = Callable[[int, Level, Any], jax.Array]
# (logits [N, C] of coalitions of one size, that size) -> worths [N, C].
WorthsOfSize = Callable[[jax.Array, Any], jax.Array]


def sum_over_all(
    form: Form,
    logits: Callable[[Any], jax.Array],
    link: Link,
    num_players: int,
    coefficients: Coefficients,
    temperature: jax.Array | None = None,
) -> Sums:
    """The sums over coalitions S of v(S) times each of the Q coefficients of S.

    Args:
      form: of the game; not `Host`.
      logits: of the game, given what it prepared.
      link: of the game.
      num_players: P, at most 32.
      coefficients: of v(S), as `weights.of_players` gives them.
      temperature: float [P], what joint logits are divided by, by |S|; for the form `Scales`, of its own `temperature`.

    Returns:
      (sums [Q, C], full [C]), over all S but the empty one, and the worth of everyone.
    """
    if isinstance(form, Masks):
        return _any_order(logits, link, num_players, coefficients)
    if isinstance(form, Scales):

        def step_up(size: int, level: Level, below: Any) -> jax.Array:
            return joint.from_children(logits, form.num_scales, size, level.members, level.children, below)

        worths = _worths_of_size(link, temperature)
        return _by_size(step_up, worths, num_players, num_players, form.num_scales, True, coefficients)
    return sum_over_sizes(logits, link, num_players, num_players, coefficients)


def sum_over_sizes(
    logits: Callable[[Any], jax.Array], link: Link, num_players: int, last: int, coefficients: Coefficients
) -> Sums:
    """`sum_over_all` for the coalitions of 1..last players alone, logits those of the form `Subsets`, and the worth [C]
    of the first coalition of size `last`."""

    def step_up(size: int, level: Level, below: Any) -> jax.Array:
        return logits(level.members)

    return _by_size(step_up, _worths_of_size(link, None), num_players, last, last, False, coefficients)


def _worths_of_size(link: Link, temperature: jax.Array | None) -> WorthsOfSize:
    """The recurrence goes on with logits as they are, so they are divided by their size's temperature here alone."""
    return lambda logits, size: link(logits if temperature is None else logits / temperature[size - 1])


def _any_order(logits: Callable[[Any], jax.Array], link: Link, num_players: int, coefficients: Coefficients) -> Sums:
    """Coalition n holds the players of n's bits."""
    tile = min(2**num_players, 2 * TILE_ROWS)

    def worths(number: jax.Array) -> Sums:
        bits = (number[:, None] >> jnp.arange(num_players, dtype=jnp.int32)[None, :]) & 1
        return bits, link(logits(bits.astype(bool)))

    def one_tile(position: Any) -> jax.Array:
        number = position * tile + jnp.arange(tile, dtype=jnp.int32)
        # Coalition 0 has no logits: everyone stands in for it, with weight 0.
        bits, of_tile = worths(jnp.where(number == 0, 2**num_players - 1, number))
        coefficient = coefficients(bits, of_tile.dtype)
        return matmul(jnp.where(number[:, None] == 0, 0, coefficient).T, of_tile)

    sums = jax.lax.fori_loop(1, 2**num_players // tile, lambda n, sums: sums + one_tile(n), one_tile(0))
    _, full = worths(jnp.full(1, 2**num_players - 1, jnp.int32))
    return sums, full[0]


def _by_size(
    step_up: StepUp,
    worths_of: WorthsOfSize,
    num_players: int,
    last: int,
    num_own: int,
    keeps: bool,
    coefficients: Coefficients,
) -> Sums:
    """Sizes 1..last in turn, the first `num_own` in programs of their own; it `keeps` two sizes' logits if need be.

    The smallest sizes are made and weighed at once: many small steps would cost more than what they do.
    """
    rows = [math.comb(num_players, size) for size in range(1, last + 1)]
    at_once = next((n for n, count in enumerate(rows) if count > TILE_ROWS and n > 0), last)
    sums, logits, below = _smallest(step_up, worths_of, num_players, at_once, coefficients)
    if at_once == last:
        return sums, worths_of(logits, last)[0]
    visit = functools.partial(_visit_size, step_up, worths_of, num_players, keeps, coefficients)
    tables: Any = ((), ())
    if keeps:
        # Two tables in turn: a loop can write to one in place because it only reads the other.
        num_rows = max(_num_tiles(n) * _tile_of(n) for n in rows[at_once - 1 :])
        none = jnp.zeros((num_rows, below.shape[1]), below.dtype)
        tables = _put(none, below, 0), none
    state = sums, logits, *tables
    num_own = max(at_once, min(num_own, last))
    # Larger sizes share a program, or two, one for each direction; an odd one is counted among the others.
    num_own += (last - num_own) % 2
    for size in range(at_once + 1, num_own + 1):
        state = visit(size, size, state)
    if num_own < last:

        def two_sizes(step: jax.Array, state: Any) -> Any:
            size = num_own + 1 + 2 * step
            return visit(size + 1, num_players, visit(size, num_players, state))

        state = jax.lax.fori_loop(0, (last - num_own) // 2, two_sizes, state)
    sums, logits, _, _ = state
    return sums, worths_of(logits, last)[0]


def _smallest(
    step_up: StepUp, worths_of: WorthsOfSize, num_players: int, last: int, coefficients: Coefficients
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(sums [Q, C], logits [1, C] of the first coalition of size `last`, logits of that size), all at once."""
    worth: list[jax.Array] = []
    rows: list[np.ndarray] = []
    below: Any = None
    for size in range(1, last + 1):
        members = lattice.combinations(num_players, size)
        mask = masks.of_members(members, num_players)
        below = step_up(size, Level(members, lattice.child_ranks(members), mask), below)
        worth.append(worths_of(below, size))
        rows.append(mask)
    worths = jnp.concatenate(worth)
    coefficient = coefficients(np.concatenate(rows), worths.dtype)
    return matmul(coefficient.T, worths), below[:1], below


def _visit_size(
    step_up: StepUp,
    worths_of: WorthsOfSize,
    num_players: int,
    keeps: bool,
    coefficients: Coefficients,
    size: int | jax.Array,
    width: int,
    state: Any,
) -> Any:
    """Adds the coalitions of one size, in tiles, to (sums [Q, C], logits [1, C], logits of the size below, table).

    Returns the same, with the two tables changed round. `width` is the columns of the rows; a traced size has P.
    """
    sums, logits, below, table = state
    most = math.comb(num_players, width if isinstance(size, int) else num_players // 2)
    tile = _tile_of(most)
    num_rows = jnp.asarray(_num_rows(num_players))[size]
    first_of_size = np.cumsum(_num_rows(num_players), dtype=np.int32) - _num_rows(num_players) - 1
    listed = _listed(num_players, width) if num_players <= LISTED_PLAYERS else None

    def one_tile(position: jax.Array, so_far: Any) -> Any:
        sums, _, table = so_far
        start = position * tile
        row = start + jnp.arange(tile, dtype=jnp.int32)
        if listed is None:
            level = unrank.level(jnp.minimum(row, num_rows - 1), num_players, size, width)
        else:
            first = start if width < num_players else jnp.asarray(first_of_size)[size] + start
            level = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, tile).astype(jnp.int32), listed)
        logits = step_up(width, level, below)
        if keeps:
            # Read back, so that nothing is computed twice to save a trip to memory.
            table = _put(table, logits, start)
            logits = jax.lax.dynamic_slice_in_dim(table, start, tile, axis=0)
        coefficient = jnp.where((row < num_rows)[:, None], coefficients(level.mask, sums.dtype), 0)
        return sums + matmul(coefficient.T, worths_of(logits, size)), logits[:1], table

    num_tiles = _num_tiles(most) if isinstance(size, int) else (num_rows + (tile - 1)) // tile
    sums, logits, table = jax.lax.fori_loop(0, num_tiles, one_tile, (sums, logits, table))
    return sums, logits, table, below


@functools.lru_cache(maxsize=4)
def _listed(num_players: int, width: int) -> Level:
    """Coalitions of `width` players, or, if that is all, of every size; the last row TILE_ROWS times more, so that a
    model is only ever asked about real coalitions. int16."""
    sizes = [width] if width < num_players else range(1, num_players + 1)
    levels = []
    for size in sizes:
        members = lattice.combinations(num_players, size)
        pad = ((0, 0), (0, width - size))
        levels.append(
            Level(
                np.pad(members, pad, constant_values=-1),
                np.pad(lattice.child_ranks(members), pad, constant_values=-1),
                masks.of_members(members, num_players),
            )
        )
    spare = ((0, TILE_ROWS), (0, 0))
    return Level(*(np.pad(np.concatenate(a), spare, mode="edge").astype(np.int16) for a in zip(*levels, strict=True)))


def _num_rows(num_players: int) -> np.ndarray:
    """int32 [P + 1]: coalitions of every size 0..P."""
    return np.array([math.comb(num_players, size) for size in range(num_players + 1)], np.int32)


def _num_tiles(num_rows: int) -> int:
    return -(-num_rows // TILE_ROWS)


def _tile_of(num_rows: int) -> int:
    """Rows of a tile: as few tiles as can be, equally large."""
    return -(-num_rows // _num_tiles(num_rows))


def _put(table: jax.Array, rows: jax.Array, start: Any) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(table, rows, start, axis=0)

"""Plans: which coalitions an estimator evaluates. Made on the host in NumPy, from a number of frames and a key."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from esv_jax import checks
from esv_jax.base import Level, Plan
from esv_jax.coalitions import lattice


def pack(levels: Sequence[Level]) -> Plan:
    """A plan of the given levels (NumPy): neighbouring sizes with as many rows are also stacked into runs."""
    runs = []
    for _, group in itertools.groupby(levels, key=lambda level: len(level.members)):
        same = list(group)
        shape = (len(same), *same[-1].members.shape)
        members = np.full(shape, -1, np.int32)
        children = np.full(shape, -1, np.int32)
        for position, level in enumerate(same):
            members[position, :, : level.members.shape[1]] = level.members
            row, column = np.nonzero(level.children >= 0)
            # The n-th held child of a row goes to column n.
            starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[1]))[:-1]])
            children[position, row, np.arange(len(row)) - starts[row]] = level.children[row, column]
        runs.append(Level(members, children))
    return Plan(tuple(levels), tuple(runs))


def free(inside: np.ndarray) -> Plan:
    """A plan of coalitions bool [N, T] without regard to children, rows by increasing size, the last one all frames.

    Sizes without coalitions have an empty level. One run holds all rows, for games that take sizes together.
    """
    num_rows, num_frames = inside.shape
    sizes = inside.sum(axis=1)
    row, frame = np.nonzero(inside)
    column = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    members = np.full((num_rows, num_frames), -1, np.int32)
    members[row, column] = frame
    levels = []
    for size in range(1, num_frames + 1):
        start, stop = np.searchsorted(sizes, [size, size + 1])
        levels.append(Level(members[start:stop, :size], np.full((stop - start, size), -1, np.int32)))
    return Plan(tuple(levels), (Level(members[None], np.zeros((1, num_rows, 0), np.int32)),))


@functools.lru_cache(maxsize=8)
def exhaustive(num_frames: int) -> Plan:
    """All 2^T - 1 coalitions: levels of C(T, k) rows in colexicographic order. The arrays are shared and read-only.

    Raises:
      InputError: `num_frames` is not a positive integer.
    """
    checks.check_positive("num_frames", num_frames)
    levels = tuple(_exhaustive_level(num_frames, size) for size in range(1, num_frames + 1))
    return Plan(levels, tuple(Level(level.members[None], level.children[None]) for level in levels))


def _exhaustive_level(num_frames: int, size: int) -> Level:
    members = lattice.combinations(num_frames, size)
    children = lattice.child_ranks(members)
    children.flags.writeable = False
    return Level(members, children)


def constructive(num_frames: int, per_size: int, iterations: int, key: Any) -> Plan:
    """The paper's sampler: level k is drawn without repeats from what the coalitions of level k-1 grow into.

    Each level takes min(per_size, all) of the distinct candidates {S + i : S in level k-1, i not in S}, every candidate
    with the same chance. Every coalition therefore has at least one child in its plan. Iterations are drawn
    independently and stacked; a child is always of the same iteration.

    Args:
      num_frames: T.
      per_size: m, the most coalitions of one size in one iteration.
      iterations: how many independent draws are stacked.
      key: a JAX PRNG key, concrete.

    Raises:
      InputError: a count below 1, no key, or a traced key.
    """
    checks.check_positive("num_frames", num_frames)
    rng = host_generator(key)
    return pack(_join([_constructive_once(num_frames, per_size, rng) for _ in range(iterations)]))


def orderings(num_frames: int, num_pairs: int, key: Any) -> Plan:
    """Prefixes of random orderings of the frames and of their reverses; the child of a prefix is the one before.

    Levels 1..T-1 have 2 num_pairs rows, row num_pairs + r that of the reverse of row r's ordering; level T has one row.

    Raises:
      InputError: no key, or a traced key.
    """
    order = host_generator(key).permuted(np.tile(np.arange(num_frames), (num_pairs, 1)), axis=1)
    order = np.concatenate([order, order[:, ::-1]])
    rows = np.arange(len(order))
    levels = []
    for size in range(1, num_frames):
        members = np.sort(order[:, :size], axis=1).astype(np.int32)
        added = order[:, size - 1 : size]
        before = np.zeros_like(rows) if size == 1 else rows
        levels.append(Level(members, np.where(members == added, before[:, None], -1).astype(np.int32)))
    everyone = np.arange(num_frames, dtype=np.int32)[None]
    child = np.full((1, num_frames), -1, np.int32)
    # For any of the orderings with this frame last.
    child[0, order[:, -1]] = rows if num_frames > 1 else 0
    return pack([*levels, Level(everyone, child)])


def _constructive_once(num_frames: int, per_size: int, rng: np.random.Generator) -> list[Level]:
    codes = frame_codes(num_frames)
    inside = np.zeros((1, num_frames), bool)
    below = np.zeros(1, np.uint64)
    levels = []
    for _ in range(num_frames):
        grown_from, added = np.nonzero(~inside)
        pairs = _draw_distinct(below[grown_from] + codes[added], per_size, rng)
        inside = inside[grown_from[pairs]]
        inside[np.arange(len(pairs)), added[pairs]] = True
        here = below[grown_from[pairs]] + codes[added[pairs]]
        members = np.nonzero(inside)[1].reshape(len(pairs), -1).astype(np.int32)
        levels.append(Level(members, find_children(members, here, below, codes)))
        below = here
    return levels


def _draw_distinct(candidates: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of `most` (or all) different values of `candidates` uint64, each value with the same chance.

    Every value gets a random priority, the same for its repeats, and the smallest ones win: no need to sort them all.
    The positions are in the order of the values.
    """
    priority = _scramble(candidates ^ rng.integers(2**64, dtype=np.uint64))
    look_at = 2 * most
    while True:
        nearest = np.argpartition(priority, look_at)[:look_at] if look_at < len(priority) else np.arange(len(priority))
        _, first = np.unique(priority[nearest], return_index=True)
        # The whole of a value's repeats may straddle the cut, which does no harm: only its first is kept.
        if len(first) >= most or look_at >= len(priority):
            chosen = nearest[first[:most]]
            return chosen[np.argsort(candidates[chosen])]
        look_at *= 2


def _scramble(values: np.ndarray) -> np.ndarray:
    """A bijection of uint64 that looks random (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def frame_codes(num_frames: int) -> np.ndarray:
    """uint64 [T]: the code of a coalition is the sum of its frames' codes, and tells coalitions apart.

    Up to 64 frames the codes are bits, so that is certain. Beyond, they are fixed random numbers: two of n coalitions
    share a code with a chance of about n^2 / 2^65 (1e-8 for a million coalitions).
    """
    if num_frames <= 64:
        return np.left_shift(np.uint64(1), np.arange(num_frames, dtype=np.uint64))
    return np.random.default_rng(2020).integers(2**64, size=num_frames, dtype=np.uint64)


def find_children(
    members: np.ndarray, codes_here: np.ndarray, codes_below: np.ndarray, frame_codes: np.ndarray
) -> np.ndarray:
    """Rows in the level below (codes sorted) of every coalition less one member, int32 [N, k]; -1 if not there."""
    wanted = codes_here[:, None] - frame_codes[members]
    # Few of the wanted coalitions are there when sampled: a table of hashed codes rules out most of them cheaply.
    bits = np.uint64(64 - max(4, (16 * len(codes_below)).bit_length()))
    seen = np.zeros(2 ** int(64 - bits), bool)
    seen[_hash(codes_below, bits)] = True
    row, column = np.nonzero(seen[_hash(wanted, bits)])
    maybe = wanted[row, column]
    found = np.minimum(np.searchsorted(codes_below, maybe), len(codes_below) - 1)
    children = np.full(members.shape, -1, np.int32)
    children[row, column] = np.where(codes_below[found] == maybe, found, -1)
    return children


def _hash(codes: np.ndarray, shift: np.uint64) -> np.ndarray:
    return (codes * np.uint64(0x9E3779B97F4A7C15)) >> shift


def _join(draws: list[list[Level]]) -> list[Level]:
    """Stacks independent draws level by level; a child's row moves by the rows of the draws before its own."""
    levels = []
    # The empty coalition, row 0 below level 1, is shared by all draws.
    starts = np.zeros(len(draws), int)
    for same_size in zip(*draws, strict=True):
        children = [
            np.where(level.children >= 0, level.children + start, -1)
            for level, start in zip(same_size, starts, strict=True)
        ]
        members = np.concatenate([level.members for level in same_size])
        levels.append(Level(members, np.concatenate(children).astype(np.int32)))
        starts = np.cumsum([0] + [len(level.members) for level in same_size])[:-1]
    return levels


def host_generator(key: Any) -> np.random.Generator:
    """A NumPy generator seeded by a JAX PRNG key (new style or raw uint32).

    Raises:
      InputError: the key is missing, traced, or no key.
    """
    if key is None:
        raise checks.InputError("this estimator samples coalitions and needs key=jax.random.key(seed), found none")
    advice = "make the plan first, outside, with estimator.plan(num_frames=T, key=key), and pass plan="
    checks.check_concrete("key", key, advice)
    try:
        data = jax.random.key_data(key)
    except (TypeError, ValueError) as error:
        raise checks.InputError(f"key should be a JAX PRNG key as of jax.random.key(0), found {key!r}") from error
    if data.ndim != 1:
        raise checks.InputError(f"key should be one JAX PRNG key, found an array of them, of shape {data.shape[:-1]}")
    return np.random.default_rng(np.asarray(data).ravel().tolist())

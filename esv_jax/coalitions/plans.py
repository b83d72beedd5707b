"""Plans: which coalitions an estimator evaluates. Made on the host in NumPy, from a number of players and a key."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import checks
from esv_jax.base import Plan
from esv_jax.coalitions import lattice, masks


class Grown(NamedTuple):
    """Coalitions of one size k that grow out of those of the size below.

    Attributes:
      mask: bool [N, P].
      children: int32 [N, k], the row in the size below of the coalition without its p-th member, -1 where it is not
        there. Nobody is row 0 below size 1.
    """

    mask: np.ndarray
    children: np.ndarray


def of_masks(mask: np.ndarray, made_by: str) -> Plan:
    """A plan of coalitions bool [N, P], rows by increasing size, the last one everyone.

    Raises:
      InputError: they are not such.
    """
    checks.check_shape("mask", mask, ("N", "P"))
    size = np.asarray(mask).sum(axis=1)
    if not len(mask) or size[0] < 1 or size[-1] != mask.shape[1] or (np.diff(size) < 0).any():
        raise checks.InputError(
            "mask should hold coalitions by increasing size from 1, the last one everyone; found the sizes "
            f"{size[:3].tolist()} ... {size[-1:].tolist()} of {mask.shape[1]} players"
        )
    sizes = np.bincount(size, minlength=mask.shape[1] + 1)[1:]
    mask = np.array(mask, bool)
    mask.flags.writeable = False
    return Plan(mask, (), tuple(sizes.tolist()), made_by)


def of_lineage(grown: Sequence[Grown], made_by: str) -> Plan:
    """A plan of all sizes 1..P that tells which coalitions grew out of which."""
    plan = of_masks(np.concatenate([level.mask for level in grown]), made_by)
    runs = []
    for _, group in itertools.groupby(grown, key=lambda level: len(level.mask)):
        same = list(group)
        children = np.full((len(same), *same[-1].children.shape), -1, np.int32)
        for position, level in enumerate(same):
            row, column = np.nonzero(level.children >= 0)
            # The n-th child of a row that is there goes to column n.
            starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(level.mask)))[:-1]])
            children[position, row, np.arange(len(row)) - starts[row]] = level.children[row, column]
        children.flags.writeable = False
        runs.append(children)
    return Plan(plan.mask, tuple(runs), plan.sizes, made_by)


@functools.lru_cache(maxsize=8)
def exhaustive(num_players: int, made_by: str) -> Plan:
    """All 2^P - 1 coalitions, those of a size in colexicographic order. The arrays are shared and read-only."""
    checks.check_positive("num_players", num_players)
    sizes = range(1, num_players + 1)
    mask = np.concatenate([masks.of_members(lattice.combinations(num_players, s), num_players) for s in sizes])
    return of_masks(mask, made_by)


def constructive(num_players: int, per_size: int, iterations: int, key: Any, made_by: str) -> Plan:
    """The paper's sampler: size k is drawn without repeats from what the coalitions of size k-1 grow into.

    Each size takes min(per_size, all) of the distinct candidates {S + i : S of size k-1, i not in S}, every candidate
    with the same chance. Every coalition therefore has at least one child in its plan. Iterations are drawn
    independently and stacked; a child is always of the same iteration.

    Args:
      num_players: P.
      per_size: m, the most coalitions of one size in one iteration.
      iterations: how many independent draws are stacked.
      key: a JAX PRNG key, concrete.
      made_by: name of the estimator.

    Raises:
      InputError: a count below 1, no key, or a traced key; or more coalitions than a plan may hold.
    """
    checks.check_positive("num_players", num_players)
    of_size = (min(per_size, math.comb(num_players, size)) for size in range(1, num_players + 1))
    check_size(iterations * sum(of_size), made_by)
    # Every iteration has its own generator: more of them hold fewer ones.
    of_iterations = host_generator(key).spawn(iterations)
    return of_lineage(_join([_constructive_once(num_players, per_size, rng) for rng in of_iterations]), made_by)


def check_size(num_coalitions: int, made_by: str) -> None:
    """Raises InputError if these are more coalitions than a plan may hold."""
    if num_coalitions > checks.MOST_COALITIONS:
        raise checks.InputError(
            f"{made_by} asks for {num_coalitions:,} coalitions at once, more than {checks.MOST_COALITIONS:,}"
        )


def orderings(num_players: int, num_pairs: int, key: Any, made_by: str) -> Plan:
    """Prefixes of random orderings of the players and of their reverses; the child of a prefix is the one before.

    Sizes 1..P-1 have 2 num_pairs rows, row num_pairs + r that of the reverse of row r's ordering; size P has one row.

    Raises:
      InputError: no key, or a traced key.
    """
    # Row by row: more orderings begin with fewer of the same key.
    order = host_generator(key).permuted(np.tile(np.arange(num_players), (num_pairs, 1)), axis=1)
    order = np.concatenate([order, order[:, ::-1]])
    rows = np.arange(len(order))
    place = np.argsort(order, axis=1)
    grown = []
    for size in range(1, num_players):
        mask = place < size
        before = np.zeros_like(rows) if size == 1 else rows
        joined = masks.members_of(mask, size) == order[:, size - 1 : size]
        grown.append(Grown(mask, np.where(joined, before[:, None], -1).astype(np.int32)))
    child = np.full((1, num_players), -1, np.int32)
    # For any of the orderings with this player last.
    child[0, order[:, -1]] = rows if num_players > 1 else 0
    return of_lineage([*grown, Grown(masks.everyone(num_players), child)], made_by)


def grow(mask_of_size: Sequence[np.ndarray]) -> list[Grown]:
    """Who grew out of whom, for coalitions bool [N_k, P] of the sizes k = 1..P; rows of a size come sorted."""
    codes = player_codes(mask_of_size[0].shape[1])
    below = np.zeros(1, np.uint64)
    grown = []
    for size, mask in enumerate(mask_of_size, start=1):
        code = (mask * codes).sum(axis=1, dtype=np.uint64)
        order = np.argsort(code)
        mask, code = mask[order], code[order]
        grown.append(Grown(mask, _find_children(masks.members_of(mask, size), code, below, codes)))
        below = code
    return grown


def _constructive_once(num_players: int, per_size: int, rng: np.random.Generator) -> list[Grown]:
    codes = player_codes(num_players)
    mask = np.zeros((1, num_players), bool)
    below = np.zeros(1, np.uint64)
    grown = []
    for size in range(1, num_players + 1):
        grown_from, added = np.nonzero(~mask)
        pairs = _draw_distinct(below[grown_from] + codes[added], per_size, rng)
        mask = mask[grown_from[pairs]]
        mask[np.arange(len(pairs)), added[pairs]] = True
        here = below[grown_from[pairs]] + codes[added[pairs]]
        grown.append(Grown(mask, _find_children(masks.members_of(mask, size), here, below, codes)))
        below = here
    return grown


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


def player_codes(num_players: int) -> np.ndarray:
    """uint64 [P]: the code of a coalition is the sum of its players' codes, and tells coalitions apart.

    Up to 64 players the codes are bits, so that is certain. Beyond, they are fixed random numbers: two of n coalitions
    share a code with a chance of about n^2 / 2^65 (1e-8 for a million coalitions).
    """
    if num_players <= 64:
        return np.left_shift(np.uint64(1), np.arange(num_players, dtype=np.uint64))
    return np.random.default_rng(2020).integers(2**64, size=num_players, dtype=np.uint64)


def _find_children(members: np.ndarray, codes: np.ndarray, codes_below: np.ndarray, of_players: np.ndarray) -> Any:
    """Rows in the size below (its codes sorted) of every coalition less one member, int32 [N, k]; -1 if not there."""
    wanted = codes[:, None] - of_players[members]
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


def _join(draws: list[list[Grown]]) -> list[Grown]:
    """Stacks independent draws size by size; a child's row moves by the rows of the draws before its own."""
    joined = []
    # Nobody, row 0 below size 1, is shared by all draws.
    starts = np.zeros(len(draws), int)
    for same_size in zip(*draws, strict=True):
        children = [
            np.where(level.children >= 0, level.children + start, -1)
            for level, start in zip(same_size, starts, strict=True)
        ]
        mask = np.concatenate([level.mask for level in same_size])
        joined.append(Grown(mask, np.concatenate(children).astype(np.int32)))
        starts = np.cumsum([0] + [len(level.mask) for level in same_size])[:-1]
    return joined


def host_generator(key: Any) -> np.random.Generator:
    """A NumPy generator seeded by a JAX PRNG key (new style or raw uint32).

    Raises:
      InputError: the key is missing, traced, or no key.
    """
    if key is None:
        raise checks.InputError("this estimator samples coalitions and needs key=jax.random.key(seed), found none")
    advice = "make the plan first, outside, with estimator.plan(num_players=P, key=key), and pass plan="
    checks.check_concrete("key", key, advice)
    try:
        data = jax.random.key_data(key)
    except (TypeError, ValueError) as error:
        raise checks.InputError(f"key should be a JAX PRNG key as of jax.random.key(0), found {key!r}") from error
    if data.ndim != 1:
        raise checks.InputError(f"key should be one JAX PRNG key, found an array of them, of shape {data.shape[:-1]}")
    # Moved openly, as `jax.transfer_guard` wants it.
    return np.random.default_rng(np.asarray(jax.device_get(data)).ravel().tolist())

"""Plans: which coalitions an estimator evaluates. Made on the host in NumPy, from a number of frames and a key."""

import functools
from typing import Any

import jax
import numpy as np

from esv_jax import checks
from esv_jax.base import Level, Plan
from esv_jax.coalitions import lattice


@functools.lru_cache(maxsize=8)
def exhaustive(num_frames: int) -> Plan:
    """All 2^T - 1 coalitions: levels of C(T, k) rows in colexicographic order. The arrays are shared and read-only.

    Raises:
      InputError: `num_frames` is not a positive integer.
    """
    checks.check_positive("num_frames", num_frames)
    return Plan(tuple(_exhaustive_level(num_frames, size) for size in range(1, num_frames + 1)))


def _exhaustive_level(num_frames: int, size: int) -> Level:
    members = lattice.combinations(num_frames, size)
    children = lattice.child_ranks(members)
    children.flags.writeable = False
    return Level(members, children)


def constructive(num_frames: int, per_size: int, iterations: int, key: Any) -> Plan:
    """The paper's sampler: level k is drawn without repeats from what the coalitions of level k-1 grow into.

    Each level takes min(per_size, all) of the distinct candidates {S + i : S in level k-1, i not in S}, every candidate
    with the same chance. Every coalition therefore has at least one child in its plan. Iterations are
    drawn independently and stacked; a child is always of the same iteration.

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
    draws = [_constructive_once(num_frames, per_size, rng) for _ in range(iterations)]
    return _stack(draws)


def _constructive_once(num_frames: int, per_size: int, rng: np.random.Generator) -> list[Level]:
    codes = frame_codes(num_frames)
    inside = np.zeros((1, num_frames), bool)
    below = np.zeros(1, np.uint64)
    levels = []
    for _ in range(num_frames):
        grown_from, added = np.nonzero(~inside)
        candidates, first = np.unique(below[grown_from] + codes[added], return_index=True)
        drawn = rng.permutation(len(candidates))[:per_size]
        drawn.sort()
        pairs = first[drawn]
        inside = inside[grown_from[pairs]]
        inside[np.arange(len(pairs)), added[pairs]] = True
        members = np.nonzero(inside)[1].reshape(len(pairs), -1).astype(np.int32)
        current = candidates[drawn]
        levels.append(Level(members, find_children(members, current, below, codes)))
        below = current
    return levels


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
    rows = np.minimum(np.searchsorted(codes_below, wanted), len(codes_below) - 1)
    return np.where(codes_below[rows] == wanted, rows, -1).astype(np.int32)


def _stack(draws: list[list[Level]]) -> Plan:
    """Joins independent draws level by level; a child's row moves by the rows of the draws before its own."""
    levels = []
    below = [0] * len(draws)
    for same_size in zip(*draws, strict=True):
        starts = np.concatenate([[0], np.cumsum(below)[:-1]])
        children = [
            np.where(level.children >= 0, level.children + start, -1)
            for level, start in zip(same_size, starts, strict=True)
        ]
        members = np.concatenate([level.members for level in same_size])
        levels.append(Level(members, np.concatenate(children).astype(np.int32)))
        # The empty coalition, row 0 below level 1, is shared by all draws.
        below = [len(level.members) for level in same_size]
    return Plan(tuple(levels))


def host_generator(key: Any) -> np.random.Generator:
    """A NumPy generator seeded by a JAX PRNG key (new style or raw uint32).

    Raises:
      InputError: the key is missing, traced, or no key.
    """
    if key is None:
        raise checks.InputError("this estimator samples coalitions and needs key=jax.random.key(seed), found none")
    checks.check_concrete(
        "key", key, "make the plan first, outside, with estimator.plan(num_frames=T, key=key), and pass plan="
    )
    try:
        data = jax.random.key_data(key)
    except (TypeError, ValueError) as error:
        raise checks.InputError(f"key should be a JAX PRNG key as of jax.random.key(0), found {key!r}") from error
    return np.random.default_rng(np.asarray(data).ravel().tolist())

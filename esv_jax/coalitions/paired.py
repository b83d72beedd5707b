"""Coalitions in pairs with their complements, drawn by size without repeats. Host NumPy."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import checks
from esv_jax.base import Plan
from esv_jax.coalitions import lattice, masks, plans

# A random order of so many coalitions is a permutation of their list; of more it is drawn as far as it is needed.
MOST_PERMUTED = 2**16
FIRST_BLOCK = 16
ROWS_AT_ONCE = 2**16


class Strata(NamedTuple):
    """How many pairs {S, the rest} are drawn with |S| = 1, 2, ..., floor(P/2); S is the smaller one.

    Where |S| = P/2, S is the one with player 0.

    Attributes:
      drawn: int64 [floor(P/2)], number of pairs, at most `population`.
      population: float64 [floor(P/2)], how many there are; beyond 2^100 as 2^100.
    """

    drawn: np.ndarray
    population: np.ndarray


def population(num_players: int) -> np.ndarray:
    """How many pairs there are by the size 1..floor(P/2) of their smaller part, float64; beyond 2^100 as 2^100."""
    exact = [math.comb(num_players, s) // (1 + (2 * s == num_players)) for s in range(1, num_players // 2 + 1)]
    return np.array([float(min(n, 2**100)) for n in exact])


def up_to(num_players: int, most: int) -> Strata:
    """At most `most` pairs of every size."""
    pairs = population(num_players)
    return Strata(np.minimum(pairs, most).astype(np.int64), pairs)


def allocate(num_players: int, num_pairs: int, share: np.ndarray) -> Strata:
    """`num_pairs` pairs (or all there are), in proportion to `share` [floor(P/2)] > 0 as far as sizes have so many.

    Sizes with fewer pairs than their share are exhausted and the others divide what they leave. Depends on nothing
    random, so that all plans of a budget have the same shapes.
    """
    pairs = population(num_players)
    return Strata(divide(num_pairs, share, pairs), pairs)


def divide(count: int, share: np.ndarray, population: np.ndarray) -> np.ndarray:
    """`count` draws over strata in proportion to `share` > 0, at most `population` in each; int64, shapes alike.

    One draw after another to the stratum with the largest share / (2 n + 1), n its draws so far (Webster's method): no
    stratum loses a draw when there are more of them.
    """
    if count >= population.sum():
        return population.astype(np.int64)
    # A stratum has its draws whose quotients are at least a threshold, which is found from above by bisection.
    low, high = share.min() / (2 * count + 1), 2 * share.max()
    for _ in range(64):
        middle = (low + high) / 2
        if _above(middle, share, population).sum() <= count:
            high = middle
        else:
            low = middle
    # One less than that, so that rounding gives none too many; the last ones in turn, the first stratum of equals.
    drawn = np.maximum(_above(high, share, population) - 1, 0)
    for _ in range(count - int(drawn.sum())):
        drawn[np.argmax(np.where(drawn < population, share / (2 * drawn + 1), -1))] += 1
    return drawn.astype(np.int64)


def _above(threshold: float, share: np.ndarray, population: np.ndarray) -> np.ndarray:
    """How many draws n = 0, 1, ... of each stratum have share / (2 n + 1) >= threshold; float64."""
    return np.minimum(population, np.floor((share / threshold + 1) / 2))


def plan(num_players: int, strata: Strata, key: Any, made_by: str) -> Plan:
    """Draws the pairs; with everyone as last row. Row j and row N - 2 - j of all rows are complements.

    Of one key a plan holds all coalitions of one with fewer pairs of every size.

    Raises:
      InputError: no key, or a traced key; or more coalitions than a plan may hold.
    """
    plans.check_size(2 * int(strata.drawn.sum()) + 1, made_by)
    return of_pairs(draw(num_players, strata, plans.host_generator(key)), made_by)


def of_pairs(smaller: np.ndarray, made_by: str) -> Plan:
    """The plan of the pairs whose smaller parts are bool [pairs, P], in the order that `plan` tells of."""
    return plans.of_masks(np.concatenate([smaller, ~smaller[::-1], masks.everyone(smaller.shape[1])]), made_by)


def odd_parts(worths: jax.Array, strata: Strata) -> jax.Array:
    """(v(S) - v(the rest)) / 2 [pairs, C], S the smaller parts, of worths [N, C] in the order that `plan` tells of.

    Raises:
      InputError: there are not as many worths as `strata` say. Static.
    """
    expected = 2 * int(strata.drawn.sum()) + 1
    if len(worths) != expected:
        raise checks.InputError(f"plan should hold {expected} coalitions, found {len(worths)}")
    small, large = worths[: len(worths) // 2], worths[len(worths) // 2 : -1]
    return (small - large[::-1]) / 2


def draw(num_players: int, strata: Strata, rng: np.random.Generator) -> np.ndarray:
    """The smaller parts of the pairs, by size, bool [pairs, P].

    Of every size the first ones in a random order of all, which the generator alone decides: more pairs hold fewer ones
    of the same generator.
    """
    of_sizes = rng.spawn(len(strata.drawn))
    smaller = [_draw(num_players, size, int(strata.drawn[size - 1]), r) for size, r in enumerate(of_sizes, start=1)]
    return np.concatenate([np.zeros((0, num_players), bool), *smaller])


def check_budget(num_players: int, max_evaluations: int, least: int) -> None:
    """Raises InputError where the budget allows neither `least` evaluations nor all 2^P - 1."""
    checks.check_positive("num_players", num_players)
    if max_evaluations < least and max_evaluations < 2**num_players - 1:
        raise checks.InputError(
            f"max_evaluations should be at least {least} for {num_players} players, found {max_evaluations}"
        )


def _draw(num_players: int, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """The first `count` coalitions of one size in a random order of all of them, bool [count, P]; all as listed."""
    halves = 2 * size == num_players
    population = math.comb(num_players, size) // (1 + halves)
    if count == population:
        return masks.of_members(_listed(num_players, size), num_players)
    if population <= MOST_PERMUTED:
        return masks.of_members(_listed(num_players, size)[rng.permutation(population)[:count]], num_players)
    codes = plans.player_codes(num_players)
    mask = np.zeros((0, num_players), bool)
    rows = drawn = 0
    # Draws without their repeats, in blocks that do not depend on `count`; behind as many as there are, what is left.
    while len(mask) < count and drawn < population:
        rows = max(FIRST_BLOCK, drawn)
        parts = [_random(num_players, size, min(ROWS_AT_ONCE, rows - n), rng) for n in range(0, rows, ROWS_AT_ONCE)]
        drawn += rows
        more = np.concatenate(parts)
        mask = np.concatenate([mask, np.where(more[:, :1], more, ~more) if halves else more])
        mask = mask[_first_of_each(mask, codes)]
    if len(mask) < count:
        mask = np.concatenate([mask, masks.of_members(rng.permutation(_listed(num_players, size)), num_players)])
        mask = mask[_first_of_each(mask, codes)]
    return mask[:count]


def _listed(num_players: int, size: int) -> np.ndarray:
    """The members of all smaller parts of one size, int [population, size], in colexicographic order."""
    if 2 * size < num_players:
        return lattice.combinations(num_players, size)
    rest = lattice.combinations(num_players - 1, size - 1) + 1
    return np.concatenate([np.zeros_like(rest, shape=(len(rest), 1)), rest], axis=1)


def _random(num_players: int, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Coalitions of one size drawn independently, bool [count, P]."""
    mask = np.zeros((count, num_players), bool)
    chosen = np.argpartition(rng.random(mask.shape), size - 1, axis=1)[:, :size]
    np.put_along_axis(mask, chosen, True, axis=1)
    return mask


def _first_of_each(mask: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The rows, increasing, at which a coalition occurs for the first time."""
    return np.sort(np.unique((mask * codes).sum(axis=1, dtype=np.uint64), return_index=True)[1])

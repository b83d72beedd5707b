"""Coalitions in pairs with their complements, drawn by size without repeats. Host NumPy."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import checks
from esv_jax.base import Plan
from esv_jax.coalitions import lattice, masks, plans


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
    """`count` draws over strata in proportion to `share` > 0, at most `population` in each; int64, shapes alike."""
    if count >= population.sum():
        return population.astype(np.int64)
    wanted = np.zeros_like(population)
    open_strata = np.ones(len(population), bool)
    while True:
        left = count - wanted[~open_strata].sum()
        wanted[open_strata] = left * share[open_strata] / share[open_strata].sum()
        full = open_strata & (wanted >= population)
        if not full.any():
            break
        wanted[full] = population[full]
        open_strata &= ~full
    drawn = np.floor(wanted + 1e-9)
    # Largest remainders first; exhausted strata have none.
    by_remainder = np.argsort(drawn - wanted, kind="stable")
    drawn[by_remainder[: round(count - drawn.sum())]] += 1
    return drawn.astype(np.int64)


def plan(num_players: int, strata: Strata, key: Any, made_by: str) -> Plan:
    """Draws the pairs; with everyone as last row. Row j and row N - 2 - j of all rows are complements.

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
    """The smaller parts of the pairs, by size, bool [pairs, P]."""
    smaller = [_draw(num_players, size, int(n), rng) for size, n in enumerate(strata.drawn, start=1)]
    return np.concatenate([np.zeros((0, num_players), bool), *smaller])


def check_budget(num_players: int, max_evaluations: int, least: int) -> None:
    """Raises InputError where the budget allows neither `least` evaluations nor all 2^P - 1."""
    checks.check_positive("num_players", num_players)
    if max_evaluations < least and max_evaluations < 2**num_players - 1:
        raise checks.InputError(
            f"max_evaluations should be at least {least} for {num_players} players, found {max_evaluations}"
        )


def _draw(num_players: int, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` different coalitions of one size, every set of them with the same chance, bool [count, P]."""
    halves = 2 * size == num_players
    if math.comb(num_players, size) <= max(64, 4 * count):
        members = lattice.combinations(num_players, size)
        mask = masks.of_members(members, num_players)
        mask = mask[mask[:, 0]] if halves else mask
        return mask[rng.permutation(len(mask))[:count]]
    codes = plans.player_codes(num_players)
    mask = np.zeros((0, num_players), bool)
    while len(mask) < count:
        # Most draws are new: at least 3/4 of the population was not drawn before.
        more = np.zeros((2 * (count - len(mask)) + 8, num_players), bool)
        chosen = np.argpartition(rng.random(more.shape), size - 1, axis=1)[:, :size]
        np.put_along_axis(more, chosen, True, axis=1)
        more = np.where(more[:, :1], more, ~more) if halves else more
        mask = np.concatenate([mask, more])
        _, first = np.unique((mask * codes).sum(axis=1, dtype=np.uint64), return_index=True)
        mask = mask[np.sort(first)]
    return mask[:count]

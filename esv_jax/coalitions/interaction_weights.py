"""Weights of coalitions in interactions of two players, by how many they are and how many of the two are among them.

An interaction is a weighted sum over the coalitions R of the others of what i adds that j changes,

    D_ij(R) = v(R + i + j) - v(R + i) - v(R + j) + v(R),

so that v(S) counts by |S| and by how many of i and j are in S, and with it what an index says of single players:

    k-sii            mean over |R| of means of D_ij: the Shapley interaction index (Grabisch & Roubens 1999). Of a
                     player its Shapley value less half of its interactions, so that all add up (n-Shapley values:
                     Bordt & von Luxburg 2023; of trees, Lundberg et al. 2020).
    shapley-taylor   2/P sum over R of D_ij / C(P-1, |R|); of a player v(i) - v(nobody). They add up (Sundararajan,
                     Dhamdhere & Agarwal 2020).
    banzhaf          the mean of D_ij over all R; of a player the mean of v(S + i) - v(S), its Banzhaf value. They do
                     not add up (Grabisch & Roubens 1999).
"""

import functools
import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array, WeightsBySize
from esv_jax.coalitions import weights
from esv_jax.coalitions.weights import Coefficients

Index = Literal["k-sii", "shapley-taylor", "banzhaf"]


class PairWeights(NamedTuple):
    """Weights of v(S) by |S| = 0..P, float64 [P + 1] each.

    Attributes:
      of_player: for a player in S, and for one not in S.
      of_pair: for none of two players in S, one, both.
    """

    of_player: WeightsBySize
    of_pair: tuple[np.ndarray, np.ndarray, np.ndarray]


def check_index(index: str) -> None:
    """Raises InputError unless there is such an index."""
    if index not in get_args(Index):
        raise checks.InputError(f"index should be one of {', '.join(get_args(Index))}, found {index!r}")


@functools.lru_cache(maxsize=64)
def by_size(index: Index, num_players: int) -> PairWeights:
    """The weights of an index. Of one player there is its value alone."""
    others, size = num_players - 2, np.arange(num_players + 1)
    # Of D_ij by |R| = 0..P-2, and of a player's marginal contribution by the size of what it is added to.
    rest = np.arange(max(others, -1) + 1)
    counted, among_all = (np.array([float(math.comb(n, r)) for r in rest]) for n in (others, num_players - 1))
    of_rest = {
        "k-sii": lambda: 1 / ((num_players - 1) * counted),
        "shapley-taylor": lambda: 2 / (num_players * among_all),
        "banzhaf": lambda: np.full(len(rest), 0.5**others),
    }[index]()
    none, one, both = (np.zeros(num_players + 1) for _ in range(3))
    none[: len(rest)], one[1 : len(rest) + 1], both[2:] = of_rest, -of_rest, of_rest
    if index == "shapley-taylor":
        inside, outside = (size == 1).astype(float), -(size == 0).astype(float)
    elif index == "banzhaf":
        inside = np.where(size > 0, 0.5 ** (num_players - 1), 0)
        outside = -np.where(size < num_players, 0.5 ** (num_players - 1), 0)
    else:
        inside, outside = weights.shapley(num_players)
        # A player has so many interactions with players in S, and so many with the others.
        inside = inside - ((size - 1) * both + (num_players - size) * one) / 2
        outside = outside - (size * one + (num_players - 1 - size) * none) / 2
    return PairWeights((inside, outside), (none, one, both))


def coefficients(index: Index, num_players: int) -> Coefficients:
    """Of an index: Q = P (P + 1) / 2, first the players, then their pairs (0, 1), (0, 2), ..., (P - 2, P - 1)."""
    return functools.partial(_coefficients, by_size(index, num_players))


def _coefficients(by_size: PairWeights, mask: Array, dtype: jax.typing.DTypeLike) -> Array:
    first, second = np.triu_indices(mask.shape[1], 1)
    of_players = weights.of_players(by_size.of_player)(mask, dtype)
    none, one, both = weights.at_sizes(by_size.of_pair, mask, dtype)
    here, there = mask[:, first], mask[:, second]
    of_pairs = weights.where(here, weights.where(there, both, one), weights.where(there, one, none))
    join = np if isinstance(mask, np.ndarray) else jnp
    return join.concatenate([of_players, of_pairs], axis=1)


def as_matrix(sums: jax.Array, num_players: int) -> jax.Array:
    """[P, P, C], symmetrical, players on its diagonal, of sums [Q, C] in the order of `coefficients`."""
    place = np.diag(np.arange(num_players))
    upper = np.triu_indices(num_players, 1)
    place[upper] = np.arange(num_players, len(sums))
    return sums[place + np.triu(place, 1).T]

"""Multi-scale games whose sub-scores are averaged after their softmax: linear in them, so no lattice is needed.

With p_s(R) = softmax(f_s(R)), v(S) = mean over s <= min(|S|, M) of the mean of p_s over the size-s subsets R of S is

    v(S) = sum over R inside S of h_s(|S|) p_s(R),    h_s(k) = 1 / (min(k, M) C(k, s)),  s = |R| <= k.

An index that weighs v(S) by w(k) for the players in S, k = |S|, and by u(k) for the others (Shapley: w(k) =
1 / (P C(P-1, k-1)), u(k) = -1 / (P C(P-1, k))) therefore weighs p_s(R), by counting the S that hold R, by

    alpha(P, s) = sum_k h_s(k) w(k) C(P-s, k-s)                                        for the members of R,
    beta(P, s)  = sum_k h_s(k) ( w(k) C(P-s-1, k-s-1) + u(k) C(P-s-1, k-s) )           for all other players,

so its exact values take the sum_{s <= M} C(P, s) evaluations of the heads and nothing else. For the Shapley value,
with a = C(P, s) alpha and b = C(P, s) beta, the binomials cancel, whatever P is:

    a(P, s) = sum over k = s..P of 1 / (k min(k, M)),    s a + (P - s) b = 1 / min(P, M)    (efficiency).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from esv_jax.base import Array, identity
from esv_jax.coalitions import walk, weights


def subset_weights(
    num_players: int, num_scales: int, with_player: np.ndarray, without_player: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, beta), float64 [P + 1] each, by the size s of R; 0 for s = 0 and s > M.

    Args:
      num_players: P.
      num_scales: M.
      with_player: w by size, float64 [P + 1].
      without_player: u by size, float64 [P + 1].
    """
    alpha, beta = np.zeros(num_players + 1), np.zeros(num_players + 1)
    for s in range(1, min(num_scales, num_players) + 1):
        others = num_players - s
        for k in range(s, num_players + 1):
            h = 1 / (min(k, num_scales) * math.comb(k, s))
            alpha[s] += h * with_player[k] * math.comb(others, k - s)
            if others > 0:
                held = math.comb(others - 1, k - s - 1) if k > s else 0
                beta[s] += h * (with_player[k] * held + without_player[k] * math.comb(others - 1, k - s))
    return alpha, beta


def shapley_weights_of_means(num_players: int, num_scales: int) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) for s = 1..min(M, P), float64: weights of the mean of p_s over all subsets, in place of alpha and beta."""
    size = np.arange(1, num_players + 1)
    terms = 1 / (size * np.minimum(size, num_scales))
    last = min(num_scales, num_players)
    a = np.cumsum(terms[::-1])[::-1][:last]
    others = num_players - size[:last]
    return a, np.where(others > 0, (1 / last - size[:last] * a) / np.maximum(others, 1), 0)


@functools.lru_cache(maxsize=64)
def exact(prepare: Any, scores: Callable[[Any, Array], jax.Array], num_scales: int) -> Any:
    """`Game.exact` of the game of scores p_s = scores(prepared, members)."""

    def sum_over_all(params: Any, video: Any, *by_size: np.ndarray) -> walk.Sums:
        num_players = len(by_size[0]) - 1
        of_subsets = subset_weights(num_players, num_scales, *by_size)
        last = min(num_scales, num_players)
        of_heads = functools.partial(scores, prepare(params, video))
        values, _ = walk.sum_over_sizes(of_heads, identity, num_players, last, weights.of_players(of_subsets))
        # The Shapley value shares out v(all) - v(empty), and v(empty) is not part of these sums.
        return values, values.sum(axis=0)

    return sum_over_all

"""Multi-scale games whose sub-scores are averaged after their softmax: linear in them, so no lattice is needed.

With p_s(R) = softmax(f_s(R)), v(S) = mean over s <= min(|S|, M) of the mean of p_s over the size-s subsets R of S is

    v(S) = sum over R inside S of h_s(|S|) p_s(R),    h_s(k) = 1 / (min(k, M) C(k, s)),  s = |R| <= k.

An index that weighs v(S) by w(k) for the frames in S, k = |S|, and by u(k) for the others (Shapley: w(k) =
1 / (T C(T-1, k-1)), u(k) = -1 / (T C(T-1, k))) therefore weighs p_s(R), by counting the S that hold R, by

    alpha(T, s) = sum_k h_s(k) w(k) C(T-s, k-s)                                        for the members of R,
    beta(T, s)  = sum_k h_s(k) ( w(k) C(T-s-1, k-s-1) + u(k) C(T-s-1, k-s) )           for all other frames,

so its exact values take the sum_{s <= M} C(T, s) evaluations of the heads and nothing else. For the Shapley value,
with a = C(T, s) alpha and b = C(T, s) beta, the binomials cancel, whatever T is:

    a(T, s) = sum over k = s..T of 1 / (k min(k, M)),    s a + (T - s) b = 1 / min(T, M)    (efficiency).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from esv_jax.base import Array, Game, Level
from esv_jax.coalitions import walk as whole_lattice


def subset_weights(
    num_frames: int, num_scales: int, with_frame: np.ndarray, without_frame: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, beta), float64 [T + 1] each, by the size s of R; 0 for s = 0 and s > M.

    Args:
      num_frames: T.
      num_scales: M.
      with_frame: w by size, float64 [T + 1].
      without_frame: u by size, float64 [T + 1].
    """
    alpha, beta = np.zeros(num_frames + 1), np.zeros(num_frames + 1)
    for s in range(1, min(num_scales, num_frames) + 1):
        others = num_frames - s
        for k in range(s, num_frames + 1):
            h = 1 / (min(k, num_scales) * math.comb(k, s))
            alpha[s] += h * with_frame[k] * math.comb(others, k - s)
            if others > 0:
                held = math.comb(others - 1, k - s - 1) if k > s else 0
                beta[s] += h * (with_frame[k] * held + without_frame[k] * math.comb(others - 1, k - s))
    return alpha, beta


def shapley_weights_of_means(num_frames: int, num_scales: int) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) for s = 1..min(M, T), float64: weights of the mean of p_s over all subsets, in place of alpha and beta."""
    size = np.arange(1, num_frames + 1)
    terms = 1 / (size * np.minimum(size, num_scales))
    last = min(num_scales, num_frames)
    a = np.cumsum(terms[::-1])[::-1][:last]
    others = num_frames - size[:last]
    return a, np.where(others > 0, (1 / last - size[:last] * a) / np.maximum(others, 1), 0)


@functools.lru_cache(maxsize=64)
def shortcut(prepare: Any, score_of: Callable[[Any, Level], jax.Array], num_scales: int) -> Any:
    """`Game.sum_over_all` of the game of scores p_s = score_of(prepared, level)."""

    def score(prepared: Any, level: Level, carry: None) -> tuple[jax.Array, None]:
        return score_of(prepared, level), None

    no_array: Any = None
    heads = Game(no_array, prepare, score, lambda worths: worths, own_program=num_scales)

    def sum_over_all(prepared: Any, with_frame: np.ndarray, without_frame: np.ndarray) -> tuple[Array, Array, bool]:
        num_frames = len(with_frame) - 1
        alpha, beta = subset_weights(num_frames, num_scales, with_frame, without_frame)
        last = min(num_scales, num_frames)
        values, _ = whole_lattice.sum_over_sizes(heads, prepared, num_frames, last, alpha, beta)
        # The Shapley value shares out v(all) - v(empty), and v(empty) is not part of these sums.
        return values, values.sum(axis=0), True

    return sum_over_all

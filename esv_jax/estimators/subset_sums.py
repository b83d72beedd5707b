"""Sampled values of multi-scale games whose sub-scores are averaged after their softmax."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import CERTAIN, Estimate, Estimator, Link, Plan, check_maker, samples
from esv_jax.coalitions import balanced, lattice, masks, paired, plans
from esv_jax.games import score_average
from esv_jax.precise import matmul

# A frame's own residuals count as much as this many of all frames together in its standard error.
BORROWED = 4


@functools.lru_cache(maxsize=64, typed=True)
def subset_sums(*, max_evaluations: int, num_scales: int) -> Estimator:
    """Element Shapley Values of `multiscale_game(..., average="scores")` from a sample of subsets of at most M frames.

    Such a game is linear in the scores p_s(R) of its heads (`games.score_average`), so the value of a frame is

        sum over s <= M of ( a(P, s) mean of 1[i in R] p_s(R) + b(P, s) mean of 1[i not in R] p_s(R) ) - v(empty) / P,

    means over all subsets R of size s; here over a sample of each size (all of them where the budget allows), in which
    every frame occurs equally often. Unbiased, and efficient: what the sum of the values lacks to full - empty is
    divided evenly. Besides the whole video no coalition of more than M frames is looked at, and the error at a fixed
    number of evaluations falls with P: a is about log(P) / M, and a frame is in s of P subsets.

    `std_error` takes rows as independent, which overstates it slightly, and lends every frame the spread of all: a
    frame of many may occur in a handful of subsets.

    Args:
      max_evaluations: how many subsets to evaluate at most, at least 2 M.
      num_scales: M, the number of the game's functions.
    """
    checks.check_budget("max_evaluations", max_evaluations)
    checks.check_positive("num_scales", num_scales)
    name = f"subset_sums(max_evaluations={max_evaluations}, num_scales={num_scales})"

    def plan(num_players: int, *, key: Any = None) -> Plan:
        checks.check_positive("num_players", num_players)
        counts = _counts(num_players, num_scales, max_evaluations)
        rows = []
        # Every size has its own generator: a larger plan holds the smaller ones of its key.
        of_sizes = plans.host_generator(key).spawn(len(counts))
        for size, (count, rng) in enumerate(zip(counts, of_sizes, strict=True), start=1):
            everything = count == math.comb(num_players, size)
            members = (
                lattice.combinations(num_players, size)
                if everything
                else balanced.subsets(num_players, size, int(count), rng)
            )
            rows.append(masks.of_members(members, num_players))
        return plans.of_masks(np.concatenate([*rows, masks.everyone(num_players)]), name)

    def estimate(plan: Plan, worths: jax.Array, logits: jax.Array, empty: jax.Array, link: Link) -> Estimate:
        check_maker(plan, name)
        counts = _counts(plan.mask.shape[1], num_scales, max_evaluations)
        return _of_subsets(masks.as_float(plan.mask, worths.dtype), worths, empty, counts)

    def grown(num_players: int, max_evaluations: int) -> Estimator:
        # Everyone is one more.
        return subset_sums(max_evaluations=max_evaluations - 1, num_scales=num_scales)

    return Estimator(name, plan, estimate, samples, of_scales=True, grown=grown)


def _counts(num_players: int, num_scales: int, max_evaluations: int) -> np.ndarray:
    """Subsets of each size 1..min(M, P), by what a single one adds to the error; at least two, for standard errors."""
    if max_evaluations < 2 * num_scales:
        raise checks.InputError(
            f"max_evaluations should be at least {2 * num_scales} for {num_scales} scales, found {max_evaluations}"
        )
    a, b = score_average.shapley_weights_of_means(num_players, num_scales)
    size = np.arange(1, len(a) + 1)
    population = np.array([float(min(math.comb(num_players, s), 2**100)) for s in size])
    share = np.sqrt((size * a**2 + (num_players - size) * b**2) / num_players)
    least = np.minimum(population, 2)
    rest = max_evaluations - int(least.sum())
    return least.astype(np.int64) + paired.divide(rest, share, population - least)


def _of_subsets(mask: jax.Array, scores: jax.Array, empty: jax.Array, counts: np.ndarray) -> Estimate:
    num_players, last = mask.shape[1], len(counts)
    bounds = np.cumsum(counts)[:-1].tolist()
    of_sizes = jnp.split(scores[:-1], bounds)
    means = jnp.stack([of_size.mean(axis=0) for of_size in of_sizes])
    values = jnp.tile(-empty / num_players, (num_players, 1))
    variance = jnp.zeros_like(values)
    weights = zip(*score_average.shapley_weights_of_means(num_players, last), strict=True)
    held_by = jnp.split(mask[:-1], bounds)
    for position, ((a, b), of_size, held) in enumerate(zip(weights, of_sizes, held_by, strict=True)):
        count, size = len(of_size), position + 1
        # What is taken off comes from the other sizes, which are drawn independently: no bias.
        size_mean = (means.sum(axis=0) - means[position]) / (last - 1) if last > 1 else empty
        centred = of_size - size_mean[None]
        of_members = matmul(held.T, centred) / count
        values = values + (a - b) * of_members + (b * centred.mean(axis=0) + size_mean / (last * num_players))[None]
        if count < math.comb(num_players, size):
            variance = variance + _variance(held, of_size - means[position][None], float(a), float(b), size)
    missing = scores[-1] - empty - values.sum(axis=0)
    values = values + missing[None] / num_players
    return Estimate(values, jnp.sqrt(variance), values, jnp.asarray(CERTAIN, values.dtype))


def _variance(mask: jax.Array, residual: jax.Array, a: float, b: float, size: int) -> jax.Array:
    """[P, C], from the deviations [N, C] of a size's scores from their mean."""
    count, num_players = mask.shape
    squares = residual**2 * (count / max(count - 1, 1))
    mean = squares.mean(axis=0)
    occurs = mask.sum(axis=0)[:, None]
    pooled = (mean * ((size * a**2 + (num_players - size) * b**2) / num_players) / count)[None]
    own = ((a**2 - b**2) * matmul(mask.T, squares) + b**2 * count * mean[None]) / count**2
    return (occurs * own + BORROWED * pooled) / (occurs + BORROWED)

"""Sampled values of multi-scale games whose sub-scores are averaged after their softmax."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array, Attribution, Estimator, Level, Plan
from esv_jax.coalitions import balanced, lattice, paired, plans
from esv_jax.games import score_average
from esv_jax.precise import matmul

# A frame's own residuals count as much as this many of all frames together in its standard error.
BORROWED = 4


@functools.lru_cache(maxsize=64, typed=True)
def subset_sums(*, max_evaluations: int, num_scales: int) -> Estimator:
    """Element Shapley Values of `multiscale_game(..., average="scores")` from a sample of subsets of at most M frames.

    Such a game is linear in the scores p_s(R) of its heads (`games.score_average`), so the value of a frame is

        sum over s <= M of ( a(T, s) mean of 1[i in R] p_s(R) + b(T, s) mean of 1[i not in R] p_s(R) ) - v(empty) / T,

    means over all subsets R of size s; here over a sample of each size (all of them where the budget allows), in which
    every frame occurs equally often. Unbiased; the values add up to `full` - v(empty), where `full` is estimated from
    the same sample. No coalition of more than M frames is looked at, and the error at a fixed number of evaluations
    falls with T: a is about log(T) / M, and a frame is in s of T subsets.

    `std_error` takes rows as independent, which overstates it slightly, and lends every frame the spread of all: a
    frame of many may occur in a handful of subsets.

    Args:
      max_evaluations: how many subsets to evaluate at most, at least 2 M.
      num_scales: M, the number of the game's functions.
    """
    checks.check_positive("max_evaluations", max_evaluations)
    checks.check_positive("num_scales", num_scales)

    def plan(num_frames: int, *, key: Any = None) -> Plan:
        checks.check_positive("num_frames", num_frames)
        levels = []
        rng = plans.host_generator(key)
        for size, count in enumerate(_counts(num_frames, num_scales, max_evaluations), start=1):
            everything = count == math.comb(num_frames, size)
            members = (
                lattice.combinations(num_frames, size)
                if everything
                else balanced.subsets(num_frames, size, int(count), rng)
            )
            levels.append(Level(members, np.full(members.shape, -1, np.int32)))
        nothing = [np.zeros((0, size), np.int32) for size in range(len(levels) + 1, num_frames + 1)]
        return Plan((*levels, *(Level(rows, rows) for rows in nothing)), ())

    return Estimator(plan, _no_levels, _no_levels, _no_levels, of_subsets=functools.partial(_of_subsets, num_scales))


def _counts(num_frames: int, num_scales: int, max_evaluations: int) -> np.ndarray:
    """Subsets of each size, by what a single one adds to the error; at least two, for standard errors."""
    if max_evaluations < 2 * num_scales:
        raise checks.InputError(
            f"max_evaluations should be at least {2 * num_scales} for {num_scales} scales, found {max_evaluations}"
        )
    a, b = score_average.shapley_weights_of_means(num_frames, num_scales)
    size = np.arange(1, len(a) + 1)
    population = np.array([float(min(math.comb(num_frames, s), 2**100)) for s in size])
    share = np.sqrt((size * a**2 + (num_frames - size) * b**2) / num_frames)
    least = np.minimum(population, 2)
    rest = max_evaluations - int(least.sum())
    return least.astype(np.int64) + paired.divide(rest, share, population - least)


def _no_levels(*_: Any) -> Any:
    raise checks.InputError('subset_sums is for games of multiscale_game(..., average="scores"), found another game')


def _of_subsets(
    num_scales: int,
    num_frames: int,
    levels: Sequence[Level],
    scores: Sequence[jax.Array],
    empty: Array,
    scales_of_game: int,
) -> Attribution:
    if scales_of_game != num_scales:
        raise checks.InputError(f"num_scales should be that of the game, {scales_of_game}, found {num_scales}")
    dtype = scores[0].dtype
    empty = jnp.asarray(empty, dtype)
    last = min(num_scales, num_frames)
    means = jnp.stack([of_size.mean(axis=0) for of_size in scores])
    values = jnp.tile(-empty / num_frames, (num_frames, 1))
    variance = jnp.zeros_like(values)
    by_size = zip(*score_average.shapley_weights_of_means(num_frames, num_scales), strict=True)
    for position, (a, b) in enumerate(by_size):
        level, of_size = levels[position], scores[position]
        count, size = len(of_size), position + 1
        inside = lattice.membership(level.members, num_frames, dtype)
        # What is taken off comes from the other sizes, which are drawn independently: no bias.
        level_mean = (means.sum(axis=0) - means[position]) / (last - 1) if last > 1 else empty
        centred = of_size - level_mean[None]
        held = matmul(inside.T, centred) / count
        values = values + (a - b) * held + (b * centred.mean(axis=0) + level_mean / (last * num_frames))[None]
        if count < math.comb(num_frames, size):
            variance = variance + _variance(inside, of_size - means[position][None], float(a), float(b), size)
    return Attribution(values, jnp.sqrt(variance), means.sum(axis=0) / last, empty)


def _variance(inside: jax.Array, residual: jax.Array, a: float, b: float, size: int) -> jax.Array:
    """[T, C], from the deviations [N, C] of a size's scores from their mean."""
    count, num_frames = inside.shape
    squares = residual**2 * (count / max(count - 1, 1))
    mean = squares.mean(axis=0)
    occurs = inside.sum(axis=0)[:, None]
    pooled = (mean * ((size * a**2 + (num_frames - size) * b**2) / num_frames) / count)[None]
    own = ((a**2 - b**2) * matmul(inside.T, squares) + b**2 * count * mean[None]) / count**2
    return (occurs * own + BORROWED * pooled) / (occurs + BORROWED)

"""Intervals that a model cannot narrow by having seen the sample: it is fitted without each fold of it in turn.

What a model says of pairs it has not seen is a control variate of their odd parts: V regresses what these have beyond
beta times that, and adds beta times the values of the models; beta in [0, 1] is what the pairs confirm.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.estimators import least_squares
from esv_jax.estimators.least_squares import Design
from esv_jax.precise import matmul

# A frame's own variance, that of all frames, and that of all frames and classes, in what intervals are made of.
OWN, OF_FRAMES, OF_ALL = 0.5, 0.4, 0.1
# With fewer degrees of freedom left there is no interval.
LEAST_DEGREES = 1.5


class Crossed(NamedTuple):
    """V and its errors; the fields of `base.Estimate`.

    V is `alone` + `beta` times the mean of the models' values, float [P, C], whose sum over the players is the total.
    """

    alone: jax.Array
    beta: jax.Array
    std_error: jax.Array
    degrees: jax.Array
    influence: jax.Array
    deviation: jax.Array


def folds(fpc: np.ndarray, count: int) -> np.ndarray:
    """Which fold 0..count - 1 a pair is held out in, int [pairs]; -1 for those of exhausted sizes.

    Pairs are sorted by size: every fold has its share of each.
    """
    drawn = np.flatnonzero(fpc > 0)
    fold = np.full(len(fpc), -1)
    fold[drawn] = np.arange(len(drawn)) % min(count, len(drawn))
    return fold


def around(
    designs: tuple[Design, ...],
    odd: jax.Array,
    predicted: jax.Array,
    total: jax.Array,
    weight: np.ndarray,
    fpc: np.ndarray,
) -> Crossed:
    """V by the design that leaves least of pairs that it has not seen.

    Args:
      designs: of the pairs.
      odd, predicted: float [pairs, C], odd parts of worths, and what models that have not seen them say.
      total: float [C], the sum of values over the players.
      weight, fpc: of the pairs, as `least_squares.pair_weights` tells.
    """
    counted = jnp.asarray(weight * fpc, odd.dtype)[:, None]
    unseen = jnp.asarray(np.sqrt(fpc), odd.dtype)[:, None]
    drawn = jnp.asarray(fpc > 0)
    tried = []
    for design in designs:
        alone, of_odd = least_squares.values(design, odd, total)
        same, of_predicted = least_squares.values(design, predicted, total)
        of_odd, of_predicted = least_squares.left_out(design, of_odd), least_squares.left_out(design, of_predicted)
        power = (counted * of_predicted**2).sum(axis=0)
        beta = jnp.where(power > 0, (counted * of_odd * of_predicted).sum(axis=0) / jnp.where(power > 0, power, 1), 0)
        beta = jnp.clip(beta, 0, 1)[None]
        # Least squares is linear, and so is what it leaves.
        deviation = unseen * (of_odd - beta * of_predicted)
        own = matmul(design.influence**2, deviation**2)
        mixed = OWN * own + OF_FRAMES * own.mean(axis=0, keepdims=True) + OF_ALL * own.mean()
        degrees = jnp.where(drawn, 1 - design.leverage, 0).sum()
        few = len(odd) < least_squares.least_pairs(len(alone))
        degrees = jnp.where(few | (degrees < LEAST_DEGREES), 0, degrees)
        left = (counted * (of_odd - beta * of_predicted) ** 2).sum()
        std_error = jnp.sqrt(jnp.maximum(own, mixed))
        tried.append(
            (left, Crossed(alone - beta * same, beta, std_error, degrees, jnp.asarray(design.influence), deviation))
        )
    return _least(tried)


def best_fit(
    designs: tuple[Design, ...], odd: jax.Array, total: jax.Array, weight: np.ndarray, fpc: np.ndarray
) -> jax.Array:
    """Values [P, C] by the design that leaves least of pairs that it has not seen."""
    counted = jnp.asarray(weight * fpc, odd.dtype)[:, None]
    tried = []
    for design in designs:
        values, residual = least_squares.values(design, odd, total)
        tried.append(((counted * least_squares.left_out(design, residual) ** 2).sum(), values))
    return _least(tried)


def lean(values: jax.Array, middle: jax.Array, crossed: Crossed, doubt: float) -> jax.Array:
    """`values` [P, C] moved to V, `middle` [P, C], as far as these differ by more than V's errors (James & Stein 1961).

    The squares of these errors count `doubt` times; V without an interval is not leant on.
    """
    num_players = len(values)
    if num_players < 4:
        return values
    away = middle - values
    noise = matmul(crossed.influence**2, crossed.deviation**2).sum(axis=0)
    distance = (away**2).sum(axis=0)
    share = 1 - doubt * (num_players - 3) / (num_players - 1) * noise / jnp.where(distance > 0, distance, 1)
    return values + jnp.where((distance > 0) & (crossed.degrees > 0), jnp.clip(share, 0, 1), 0)[None] * away


def _least(tried: list[tuple[jax.Array, Any]]) -> Any:
    """What comes with the least number; the first where that of others is NaN."""
    found = tried[0]
    for other in tried[1:]:
        better = other[0] < found[0]
        found = jax.tree.map(lambda a, b, better=better: jnp.where(better, b, a), found, other)
    return found[1]

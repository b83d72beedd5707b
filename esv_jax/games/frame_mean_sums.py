"""Sums over all coalitions of a game that averages frame logits, without visiting the coalitions one by one.

Split the frames into two halves. For S = L + R with L in the one half, R in the other and k = |S|,

    softmax(mean over S of x)[c] = e_L[c] e_R[c] / Z(L, R),    e_L[c] = exp(sum over L of x[c] / k),    Z = e_L . e_R

so for all L of one size and all R of one size the normalisers are one matrix product over classes, and the weighted
sums of worths are two more: three multiply-adds a coalition and class, and no exponential. Visited one by one, the
coalitions cost 2 T multiply-adds and an exponential each.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Masks, WeightsBySize
from esv_jax.coalitions import lattice, masks, walk, weights
from esv_jax.precise import matmul

# exp(-60) is far above the smallest float32, and the sums lose nothing that float32 could hold.
WIDEST_LOGITS = 60.0
# With fewer frames, their coalitions all at once take less than the many small products.
FEWEST_FRAMES = 12


class Half(NamedTuple):
    """All coalitions of half of the frames, by size, every size filled up to the same number of rows R.

    Attributes:
      total: float [sizes, R, C], sum of the frames' logits.
      mask: float [sizes, R, frames].
      real: float [sizes, R, 1], 0 for the rows that fill up.
    """

    total: jax.Array
    mask: jax.Array
    real: jax.Array


def sum_over_all(
    logits: jax.Array,
    mean_logits: Callable[[Any], jax.Array],
    by_size: WeightsBySize,
    temperature: jax.Array | None = None,
) -> walk.Sums:
    """`walk.sum_over_all` for v(S) = softmax(mean over S of logits [T, C] / temperature of |S|).

    Where logits of a frame differ by more than 60, products may underflow: then all coalitions are visited. With vmap,
    that is so for all videos as soon as it is for one, or every video would be computed both ways.

    Args:
      mean_logits: mask [N, T] -> [N, C], divided by their temperatures, to visit them by.
      temperature: float [T], of 1..T frames; None: 1.
    """
    num_frames = logits.shape[0]
    if temperature is None:
        temperature = jnp.ones(num_frames, logits.dtype)
    if num_frames < FEWEST_FRAMES:
        return _all_at_once(logits, by_size, temperature)
    in_reach = (logits.max(axis=1) - logits.min(axis=1)).max() < WIDEST_LOGITS * temperature.min()
    return jax.lax.cond(
        _everywhere(in_reach),
        lambda: _by_halves(logits, by_size, temperature),
        lambda: walk.sum_over_all(Masks(), mean_logits, jax.nn.softmax, num_frames, weights.of_players(by_size)),
    )


@jax.custom_batching.custom_vmap
def _everywhere(condition: jax.Array) -> jax.Array:
    return condition


@_everywhere.def_vmap
def _everywhere_of_all(size: int, batched: Any, condition: jax.Array) -> tuple[jax.Array, bool]:
    return condition.all(), False


def _by_halves(logits: jax.Array, by_size: WeightsBySize, temperature: jax.Array) -> walk.Sums:
    num_frames = logits.shape[0]
    with_player, without_player = by_size
    middle = num_frames // 2
    # Softmax does not see what all classes share.
    logits = logits - logits.max(axis=1, keepdims=True)
    first, second = _half(logits[:middle]), _half(logits[middle:])
    gain = jnp.asarray(with_player - without_player, logits.dtype)
    base = jnp.asarray(without_player, logits.dtype)
    num_sizes = second.total.shape[0]
    # By size 0..T; that of 0 is not read.
    divisor = jnp.arange(num_frames + 1, dtype=logits.dtype) * jnp.concatenate([temperature[:1], temperature])

    def add(pair: jax.Array, sums: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        a, b = pair // num_sizes, pair % num_sizes
        left, right = (jax.tree.map(lambda x, i=i: x[i], half) for half, i in ((first, a), (second, b)))
        size = a + b
        e_left = jnp.exp(left.total / divisor[size]) * left.real
        e_right = jnp.exp(right.total / divisor[size]) * right.real
        normaliser = matmul(e_left, e_right.T)
        # The inner where keeps gradients finite in the rows that fill up.
        share = jnp.where(normaliser > 0, 1 / jnp.where(normaliser > 0, normaliser, 1), 0)
        worth_left = e_left * matmul(share, e_right)
        worth_right = e_right * matmul(share.T, e_left)
        values_left, values_right, everyone = sums
        return (
            values_left + gain[size] * matmul(left.mask.T, worth_left),
            values_right + gain[size] * matmul(right.mask.T, worth_right),
            everyone + base[size] * worth_left.sum(axis=0),
        )

    zeros = tuple(jnp.zeros((n, logits.shape[1]), logits.dtype) for n in (middle, num_frames - middle))
    num_pairs = first.total.shape[0] * num_sizes
    # Pair 0 is the empty coalition.
    sums = jax.lax.fori_loop(1, num_pairs, add, (*zeros, jnp.zeros_like(logits[0])))
    return jnp.concatenate(sums[:2]) + sums[2][None, :], jax.nn.softmax(logits.mean(axis=0) / temperature[-1])


def _half(logits: jax.Array) -> Half:
    num_frames = logits.shape[0]
    members = [lattice.combinations(num_frames, size) for size in range(num_frames + 1)]
    most = max(len(rows) for rows in members)
    mask = np.zeros((num_frames + 1, most, num_frames), np.float32)
    real = np.zeros((num_frames + 1, most, 1), np.float32)
    for size, rows in enumerate(members):
        mask[size, np.arange(len(rows))[:, None], rows] = 1
        real[size, : len(rows)] = 1
    mask_of = jnp.asarray(mask, logits.dtype)
    return Half(matmul(mask_of, logits), mask_of, jnp.asarray(real, logits.dtype))


def _all_at_once(logits: jax.Array, by_size: WeightsBySize, temperature: jax.Array) -> walk.Sums:
    num_frames = logits.shape[0]
    with_player, without_player = by_size
    mask = masks.every(num_frames)[1:]
    size = mask.sum(axis=1)
    means = matmul(jnp.asarray(mask / size[:, None], logits.dtype), logits)
    worths = jax.nn.softmax(means / temperature[size - 1][:, None])
    coefficient = np.where(mask, with_player[size][:, None], without_player[size][:, None])
    return matmul(jnp.asarray(coefficient.T, logits.dtype), worths), worths[-1]

"""Sums over all coalitions of a game that averages frame logits, without visiting the coalitions one by one.

Split the frames into two halves. For S = L + R with L in the one half, R in the other and k = |S|,

    softmax(mean over S of x)[c] = e_L[c] e_R[c] / Z(L, R),    e_L[c] = exp(sum over L of x[c] / k),    Z = e_L . e_R

so for all L of one size and all R of one size the normalisers are one matrix product over classes, and the weighted
sums of worths are two more: three multiply-adds a coalition and class, and no exponential. Visited one by one, the
coalitions cost 2 T multiply-adds and an exponential each.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.coalitions import lattice
from esv_jax.precise import matmul

# exp(-60) is far above the smallest float32, and the sums lose nothing that float32 could hold.
WIDEST_LOGITS = 60.0
# With fewer frames, their coalitions all at once take less than the many small products.
FEWEST_FRAMES = 12


class Half(NamedTuple):
    """All coalitions of half of the frames, by size, every size filled up to the same number of rows P.

    Attributes:
      total: float [sizes, P, C], sum of the frames' logits.
      inside: float [sizes, P, frames], indicator.
      real: float [sizes, P, 1], 0 for the rows that fill up.
    """

    total: jax.Array
    inside: jax.Array
    real: jax.Array


def sum_over_all(
    logits: jax.Array, with_frame: np.ndarray, without_frame: np.ndarray
) -> tuple[jax.Array, jax.Array, jax.Array | bool]:
    """`whole_lattice.sum_over_all` for v(S) = softmax(mean over S of logits [T, C]).

    Returns:
      (values [T, C], full [C], trusted: bool [], or True where it always is): not trusted where logits of a frame
      differ by more than 60 (products may then underflow).
    """
    num_frames = logits.shape[0]
    if num_frames < FEWEST_FRAMES:
        return *_one_by_one(logits, with_frame, without_frame), True
    middle = num_frames // 2
    # Softmax does not see what all classes share.
    logits = logits - logits.max(axis=1, keepdims=True)
    trusted = -logits.min() < WIDEST_LOGITS
    first, second = _half(logits[:middle]), _half(logits[middle:])
    gain = jnp.asarray(with_frame - without_frame, logits.dtype)
    base = jnp.asarray(without_frame, logits.dtype)
    num_sizes = second.total.shape[0]

    def add(pair: jax.Array, sums: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        a, b = pair // num_sizes, pair % num_sizes
        left, right = (jax.tree.map(lambda x, i=i: x[i], half) for half, i in ((first, a), (second, b)))
        size = a + b
        e_left = jnp.exp(left.total / size) * left.real
        e_right = jnp.exp(right.total / size) * right.real
        normaliser = matmul(e_left, e_right.T)
        # The inner where keeps gradients finite in the rows that fill up.
        share = jnp.where(normaliser > 0, 1 / jnp.where(normaliser > 0, normaliser, 1), 0)
        worth_left = e_left * matmul(share, e_right)
        worth_right = e_right * matmul(share.T, e_left)
        values_left, values_right, everyone = sums
        return (
            values_left + gain[size] * matmul(left.inside.T, worth_left),
            values_right + gain[size] * matmul(right.inside.T, worth_right),
            everyone + base[size] * worth_left.sum(axis=0),
        )

    zeros = tuple(jnp.zeros((n, logits.shape[1]), logits.dtype) for n in (middle, num_frames - middle))
    num_pairs = first.total.shape[0] * num_sizes
    # Pair 0 is the empty coalition.
    sums = jax.lax.fori_loop(1, num_pairs, add, (*zeros, jnp.zeros_like(logits[0])))
    return jnp.concatenate(sums[:2]) + sums[2][None, :], jax.nn.softmax(logits.mean(axis=0)), trusted


def _half(logits: jax.Array) -> Half:
    num_frames = logits.shape[0]
    members = [lattice.combinations(num_frames, size) for size in range(num_frames + 1)]
    most = max(len(rows) for rows in members)
    inside = np.zeros((num_frames + 1, most, num_frames), np.float32)
    real = np.zeros((num_frames + 1, most, 1), np.float32)
    for size, rows in enumerate(members):
        inside[size, np.arange(len(rows))[:, None], rows] = 1
        real[size, : len(rows)] = 1
    indicator = jnp.asarray(inside, logits.dtype)
    return Half(matmul(indicator, logits), indicator, jnp.asarray(real, logits.dtype))


def _one_by_one(logits: jax.Array, with_frame: np.ndarray, without_frame: np.ndarray) -> tuple[jax.Array, jax.Array]:
    num_frames = logits.shape[0]
    inside = (np.arange(1, 2**num_frames)[:, None] >> np.arange(num_frames)) & 1
    size = inside.sum(axis=1)
    worths = jax.nn.softmax(matmul(jnp.asarray(inside / size[:, None], logits.dtype), logits))
    coefficient = np.where(inside > 0, with_frame[size][:, None], without_frame[size][:, None])
    return matmul(jnp.asarray(coefficient.T, logits.dtype), worths), worths[-1]

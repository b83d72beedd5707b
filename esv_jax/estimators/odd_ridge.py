"""Ridge regression of the odd parts of worths on a kernel whose Shapley values are known: for few pairs.

Coalitions at Hamming distance h are alike by k_t(h) = (1 + t)^(P - h) (1 - t)^h; only the odd part of a game enters its
values, so the odd part of the kernel serves, o_t(h) = (k_t(h) - k_t(P - h)) / 2, with a share of the additive kernel
(P - 2 h) / P and of one that sees sizes alone.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.estimators.logit_fit import or_inf
from esv_jax.precise import matmul

DECAYS = (0.05, 0.2, 0.5)
ADDITIVE = (0.0, 3.0)
OF_SIZES = (0.0, 1.0, 10.0)
# Strengths of the ridge, relative to 10 largest eigenvalues over the number of rows.
RIDGES = 10.0 ** np.linspace(-6, 0.5, 9)


class _Tables(NamedTuple):
    """What the candidates need, made on the host in float64.

    Attributes:
      odd: float [candidates, P + 1], the kernel by Hamming distance. sizes: float [candidates], the share of the other.
      inside, outside: float [candidates, P + 1], the Shapley value of a frame in a centre of m = 0..P frames, and of
        one not in it, in the game S -> kernel(S, centre).
    """

    odd: np.ndarray
    sizes: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


def _tables(num_players: int) -> _Tables:
    candidates = list(itertools.product(DECAYS, ADDITIVE, OF_SIZES))
    distance = np.arange(num_players + 1)
    odd = []
    for decay, additive, _ in candidates:
        log = (num_players - distance) * math.log1p(decay) + distance * math.log1p(-decay)
        kernel = np.exp(log - log.max())
        part = (kernel - kernel[::-1]) / 2
        odd.append(part / part[0] + additive * (num_players - 2 * distance) / num_players)
    table = np.array(odd)
    inside, outside = np.zeros_like(table), np.zeros_like(table)
    steps = table[:, :-1] - table[:, 1:]
    log_choose = [
        [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)] for n in distance
    ]
    for m in distance:
        # Who else is there: j of the centre's, l of the others.
        for own, others, of in ((m - 1, num_players - m, inside), (m, num_players - 1 - m, outside)):
            if own < 0 or others < 0:
                continue
            j, l = np.meshgrid(np.arange(own + 1), np.arange(others + 1), indexing="ij")
            chance = (
                np.exp(
                    np.array(log_choose[own])[j]
                    + np.array(log_choose[others])[l]
                    - np.array(log_choose[num_players - 1])[j + l]
                )
                / num_players
            )
            if of is inside:
                inside[:, m] = (chance * steps[:, m - 1 - j + l]).sum(axis=(1, 2))
            else:
                outside[:, m] = -(chance * steps[:, m - j + l]).sum(axis=(1, 2))
    return _Tables(table, np.array([share for _, _, share in candidates]), inside, outside)


def values(mask: jax.Array, odd: jax.Array, total: jax.Array, counts: jax.Array) -> jax.Array:
    """Values [P, C] that sum to total [C], of the fit with the least leave-one-out error.

    One kernel and one ridge for all classes, one eigendecomposition for all ridges.

    Args:
      mask: float [pairs, P], the smaller parts S of pairs.
      odd: float [pairs, C], (v(S) - v(the rest)) / 2.
      counts: float [pairs], how much a pair's leave-one-out error counts.
    """
    num_pairs, num_players = mask.shape
    if num_players == 1:
        return total[None]
    tables = jax.tree.map(lambda a: jnp.asarray(a, odd.dtype), _tables(num_players))
    rows = jnp.concatenate([mask, jnp.ones((1, num_players), mask.dtype)])
    targets = jnp.concatenate([odd, total[None] / 2])
    counts = jnp.append(counts, 0.0)
    size = rows.sum(axis=1)
    signs = 2 * rows - 1
    distance = jnp.round((num_players - matmul(signs, signs.T)) / 2).astype(jnp.int32)
    same = size[:, None] == size[None]
    other = size[:, None] + size[None] == num_players
    of_sizes = same.astype(odd.dtype) - other.astype(odd.dtype)
    ridges = jnp.asarray(RIDGES, odd.dtype)

    def candidate(table: _Tables) -> tuple[jax.Array, jax.Array]:
        kernel = table.odd[distance] + table.sizes * of_sizes
        # Independent of worths: the derivative of a decomposition with equal eigenvalues would be NaN.
        spectrum, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(kernel))
        spectrum = jnp.maximum(spectrum, 0)
        moments = matmul(vectors.T, targets)

        def error(ridge: jax.Array) -> jax.Array:
            shrunk = 1 / (spectrum + ridge)
            alpha = matmul(vectors, shrunk[:, None] * moments)
            left_out = alpha / (vectors**2 * shrunk[None]).sum(axis=1)[:, None]
            return (counts[:, None] * left_out**2).sum()

        strengths = ridges * 10 * spectrum[-1] / num_pairs
        errors = or_inf(jax.lax.map(error, strengths))
        best = jnp.argmin(errors)
        alpha = matmul(vectors, moments / (spectrum + strengths[best])[:, None])
        inside, outside = table.inside[size.astype(jnp.int32)], table.outside[size.astype(jnp.int32)]
        found = matmul(rows.T, inside[:, None] * alpha) + matmul(1 - rows.T, outside[:, None] * alpha)
        return errors[best], found

    errors, found = jax.lax.map(candidate, tables)
    found = found[jnp.argmin(errors)]
    return found + (total - found.sum(axis=0))[None] / num_players

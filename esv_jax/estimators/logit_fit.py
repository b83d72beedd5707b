"""Regression of a game's logits on what a coalition looks like: which frames, how many, and in which order.

Ridge regression on a basis of functions of the coalition. One factorisation serves all classes and all strengths of the
ridge; leave-one-out errors, pushed through the link, choose the strength and compare bases.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Link
from esv_jax.precise import matmul

# Strengths of the ridge, relative to the largest eigenvalue; float32 carries no smaller ones.
RIDGES = 10.0 ** np.arange(-6, 0.1, 0.75)
# With few rows leave-one-out errors say little of it, and games have no noise: a small one.
RIDGES_OF_ROWS = RIDGES[:3]
# Functions of a kernel basis are centred at this many coalitions at most.
MAX_CENTRES = 1024
# How much all directions count besides the learned ones.
UNLEARNED = 0.1
ARCCOS = (
    1.570796305,
    -0.2145988016,
    0.088978987,
    -0.0501743046,
    0.030891881,
    -0.0170881256,
    0.0066700901,
    -0.0012624911,
)


class Kernel(NamedTuple):
    """Similarity of coalitions: what a wide network with one layer of ReLUs can learn about them.

    The network sees every frame of a coalition with weights c_j cos(pi j r / (s-1)) / s^power, j = 0..3, where r is its
    rank among the s frames (a smooth description of the order). The similarity is its arc-cosine kernel (Cho & Saul
    2009), with a bias.

    Attributes:
      power: float []. waves: float [J], the c_j.
      metric: float [J P, J P], which directions of these J P numbers count how much.
    """

    power: jax.Array
    waves: jax.Array
    metric: jax.Array


def kernels(num_players: int, dtype: jax.typing.DTypeLike) -> Kernel:
    """The kernels to choose between, stacked: means over frames, who is there whatever the rank (of games in which
    removed frames leave a gap), and sums of four waves of constant norm."""
    root = np.sqrt(2)
    waves = np.array([[1, root, 0, 0], [0.5, 0, 0, 0], [1, root, root, root]])
    metric = np.tile(np.eye(4 * num_players), (3, 1, 1))
    return Kernel(jnp.asarray([1.0, 0.0, 0.5], dtype), jnp.asarray(waves, dtype), jnp.asarray(metric, dtype))


class Basis(NamedTuple):
    """Directions of functions x [F] of N coalitions, by their singular value decomposition at the `kept` rows.

    Attributes:
      centre: float [F], their mean. spectrum: float [K], increasing, their sums of squares.
      rotated: float [N, K], x - centre in these directions; where `of_rows`, the left singular vectors, K = N - 1.
      back: float [F, K], from coefficients there to those of x.
      kept: float [N], 1 or 0: which rows a fit sees.
      of_rows: decomposed were inner products of rows, fewer than functions.
    """

    centre: jax.Array
    spectrum: jax.Array
    rotated: jax.Array
    back: jax.Array
    kept: jax.Array
    of_rows: bool


class Fit(NamedTuple):
    """Logits of a coalition with functions x [F]: offset + (x - centre) @ coefficients.

    Attributes:
      centre: float [F]. offset: float [C]. coefficients: float [F, C].
      ridge: float [], the strength taken.
      error: float [], weighted mean over coalitions of the squared leave-one-out error of worths, summed over classes.
    """

    centre: jax.Array
    offset: jax.Array
    coefficients: jax.Array
    ridge: jax.Array
    error: jax.Array


def linear_functions(mask: jax.Array) -> jax.Array:
    """[N, 2 P + 2]: mask / s, mask / P, 1/s, 1/s^2: exact for means and for sums over frames."""
    size = mask.sum(axis=1, keepdims=True)
    return jnp.concatenate([mask / size, mask / mask.shape[1], 1 / size, 1 / size**2], axis=1)


def kernel_functions(kernel: Kernel, centres: jax.Array, mask: jax.Array) -> jax.Array:
    """[N, K + 2]: the similarity of coalitions `mask` [N, P] to `centres` [K, P], 1/s and 1/s^2."""
    size = mask.sum(axis=1, keepdims=True)
    similar = _arc_cosine(_waves(kernel, mask), _waves(kernel, centres))
    return jnp.concatenate([similar, 1 / size, 1 / size**2], axis=1)


def whitening(kernel: Kernel, centres: jax.Array) -> jax.Array:
    """[K + 2, K + 2]: functions @ whitening are orthonormal in the kernel: a ridge on them is one on its functions."""
    waves = _waves(kernel, centres)
    among = _arc_cosine(waves, waves)
    # The kernel matrix is smooth and has eigenvalues down to rounding: the jitter keeps its root accurate.
    jitter = 1e-5 * jnp.trace(among) / len(centres)
    identity = jnp.eye(len(centres), dtype=among.dtype)
    root = jnp.linalg.cholesky(among + jitter * identity)
    inverse = jax.scipy.linalg.solve_triangular(root, identity, lower=True)
    return jax.scipy.linalg.block_diag(inverse.T, jnp.eye(2, dtype=among.dtype))


def learned_metric(kernel: Kernel, centres: jax.Array, coefficients: jax.Array, mask: jax.Array) -> jax.Array:
    """The metric [J P, J P] in which a fit's logits vary alike in all directions: the root of their mean squared
    gradients (Radhakrishnan et al. 2024, recursive feature machines), in part.

    Args:
      coefficients: float [K, C] of the similarities to `centres` [K, P].
      mask: float [N, P], coalitions at which gradients are taken.
    """
    plain = _waves(kernel._replace(metric=jnp.eye(len(kernel.metric), dtype=mask.dtype)), mask)
    seen, seen_centres = matmul(plain, kernel.metric), _waves(kernel, centres)
    norms, norms_of_centres = (jnp.sqrt((a**2).sum(axis=1) + 1) for a in (seen, seen_centres))
    cosine = jnp.clip((matmul(seen, seen_centres.T) + 1) / (norms[:, None] * norms_of_centres[None]), -1, 1)
    # The gradient of the arc-cosine kernel in its first argument: towards each centre, and along itself.
    towards = 1 - jnp.arccos(cosine) / jnp.pi
    along = jnp.sqrt(1 - cosine**2) / jnp.pi * norms_of_centres[None] / norms[:, None]

    def add(total: jax.Array, of_class: jax.Array) -> tuple[jax.Array, None]:
        gradient = matmul(towards, of_class[:, None] * seen_centres) + matmul(along, of_class[:, None]) * seen
        return total + matmul(gradient.T, gradient), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(kernel.metric), coefficients.T)
    total = matmul(matmul(kernel.metric, total), kernel.metric.T)
    values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(total))
    values = jnp.maximum(values, 0)
    scale = jnp.sqrt(values / jnp.maximum(values.mean(), 1e-30) + UNLEARNED)
    metric = matmul(vectors * scale[None], vectors.T)
    return metric * jnp.sqrt((plain**2).sum() / (matmul(plain, metric) ** 2).sum())


def _waves(kernel: Kernel, mask: jax.Array) -> jax.Array:
    num_players = mask.shape[1]
    size = mask.sum(axis=1, keepdims=True)
    # Frames before: a product with a triangle is faster than a running sum.
    before = jnp.asarray(np.triu(np.ones((num_players, num_players)), 1), mask.dtype)
    angle = jnp.pi * matmul(mask, before) / jnp.maximum(size - 1, 1)
    scaled = mask / size**kernel.power
    rates = jnp.arange(len(kernel.waves), dtype=mask.dtype)
    waves = kernel.waves[None, :, None] * scaled[:, None] * jnp.cos(rates[None, :, None] * angle[:, None])
    return matmul(waves.reshape(len(mask), -1), kernel.metric)


def _arc_cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Arc-cosine kernel of degree 1, with a bias, of rows a [N, J P], b [K, J P] -> [N, K]."""
    product = matmul(a, b.T) + 1
    norms = jnp.sqrt(((a**2).sum(axis=1) + 1)[:, None] * ((b**2).sum(axis=1) + 1)[None, :])
    cosine = jnp.clip(product / norms, -1, 1)
    size = jnp.abs(cosine)
    # arccos(size) by Abramowitz & Stegun 4.4.46, to 2e-8: several times faster than jnp.arccos.
    series = jnp.full_like(size, ARCCOS[-1])
    for coefficient in ARCCOS[-2::-1]:
        series = series * size + coefficient
    acute = jnp.sqrt(1 - size) * series
    angle = jnp.where(cosine > 0, jnp.pi - acute, acute)
    return norms * (jnp.sqrt(jnp.maximum(1 - cosine**2, 0)) + angle * cosine) / jnp.pi


def linear_basis(functions: jax.Array, kept: jax.Array) -> Basis:
    """Of functions [N, F] at the rows `kept` float [N], 1 or 0; the ridge is on their coefficients."""
    if len(functions) < functions.shape[1]:
        return _basis_of_rows(functions, matmul(functions, functions.T), functions.T, kept)
    return _basis_of_functions(functions, jnp.eye(functions.shape[1], dtype=functions.dtype), kept)


def kernel_basis(kernel: Kernel, centres: jax.Array, mask: jax.Array, kept: jax.Array) -> Basis:
    """Of `kernel_functions`; the ridge is on the kernel's norm of functions, and on coefficients of sizes."""
    functions = kernel_functions(kernel, centres, mask)
    if len(centres) < len(mask):
        return _basis_of_functions(functions, whitening(kernel, centres), kept)
    # Every row is a centre: the similarities are the inner products.
    of_sizes = functions[:, len(centres) :]
    among = functions[:, : len(centres)] + matmul(of_sizes, of_sizes.T)
    dual = jnp.concatenate([jnp.eye(len(mask), dtype=mask.dtype), of_sizes.T])
    return _basis_of_rows(functions, among, dual, kept)


def _mean(rows: jax.Array, kept: jax.Array) -> jax.Array:
    """Of the rows [N, F] that are kept [N]."""
    return (kept[:, None] * rows).sum(axis=0) / kept.sum()


def _basis_of_functions(functions: jax.Array, whitening: jax.Array, kept: jax.Array) -> Basis:
    # Functions of coalitions alone, and a metric that gradients take as given: equal eigenvalues would make these NaN.
    functions, whitening = jax.lax.stop_gradient((functions, whitening))
    centre = _mean(functions, kept)
    centred = matmul(functions - centre[None], whitening)
    spectrum, vectors = jnp.linalg.eigh(matmul(centred.T, kept[:, None] * centred))
    return Basis(
        centre, jnp.maximum(spectrum, 0), matmul(centred, vectors), matmul(whitening, vectors), kept, of_rows=False
    )


def _basis_of_rows(functions: jax.Array, among: jax.Array, dual: jax.Array, kept: jax.Array) -> Basis:
    """By inner products `among` [N, N] of rows; `dual` [F, N] gives coefficients from multipliers of rows."""
    functions, among, dual = jax.lax.stop_gradient((functions, among, dual))
    centre = _mean(functions, kept)
    centring = jnp.diag(kept) - kept[:, None] * kept[None] / kept.sum()
    centred = matmul(matmul(centring, among), centring)
    # The mean is fitted apart: made the last direction, which is left out.
    apart = 2 * jnp.trace(centred) / kept.sum()
    spectrum, vectors = jnp.linalg.eigh(centred + apart * kept[:, None] * kept[None])
    spectrum, vectors = jnp.maximum(spectrum[:-1], 0), kept[:, None] * vectors[:, :-1]
    return Basis(centre, spectrum, vectors, matmul(dual, vectors), kept, of_rows=True)


def fit(basis: Basis, targets: jax.Array, link: Link, worths: jax.Array, counts: jax.Array) -> Fit:
    """Ridge regression of targets [N, C], link(targets) about worths [N, C], its strength by leave-one-out errors.

    `counts` [N] say how much a row's leave-one-out error counts.
    """
    kept, counts = basis.kept, counts * basis.kept
    offset = _mean(targets, kept)
    centred = targets - offset[None]
    moments = matmul(basis.rotated.T, kept[:, None] * centred)

    def left_out(ridge: jax.Array) -> jax.Array:
        shrunk = 1 / (basis.spectrum + ridge)
        if basis.of_rows:
            # What is left of a row, and how much of itself: the ridge cancels. No difference of nearly equal numbers.
            left = matmul(basis.rotated, shrunk[:, None] * moments)
            return left / jnp.maximum(matmul(basis.rotated**2, shrunk[:, None]), 1e-30)
        leverage = (basis.rotated**2 * shrunk[None]).sum(axis=1) + 1 / kept.sum()
        residual = centred - matmul(basis.rotated, shrunk[:, None] * moments)
        return residual / jnp.maximum(1 - leverage, 1e-4)[:, None]

    def error(ridge: jax.Array) -> jax.Array:
        missed = ((link(targets - left_out(ridge)) - worths) ** 2).sum(axis=1)
        return (counts * missed).sum() / counts.sum()

    ridges = jnp.asarray(RIDGES_OF_ROWS if basis.of_rows else RIDGES, targets.dtype) * basis.spectrum[-1]
    errors = or_inf(jax.lax.map(error, ridges))
    best = jnp.argmin(errors)
    coefficients = matmul(basis.back, moments / (basis.spectrum + ridges[best])[:, None])
    return Fit(basis.centre, offset, coefficients, ridges[best], errors[best])


def or_inf(error: jax.Array) -> jax.Array:
    """Errors, a NaN, of a fit that failed, as infinity: argmin would choose it."""
    return jnp.where(jnp.isnan(error), jnp.inf, error)


def predict(fitted: Fit, functions: jax.Array) -> jax.Array:
    """Logits [N, C]."""
    return fitted.offset[None] + matmul(functions - fitted.centre[None], fitted.coefficients)

"""A model of a game: a mean of fits of its logits and worths (`logit_fit`), which says what any coalition is worth."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Link, identity
from esv_jax.batches import in_chunks
from esv_jax.estimators import logit_fit

# The metric of the kernel is learned from gradients of the scores of so many classes, at so many coalitions.
GRADIENT_CLASSES, GRADIENT_ROWS = 16, 512
# With fewer coalitions a frame the metric fits their noise.
ROWS_TO_LEARN = 32
# With fewer coalitions a frame many models count a little, and what they miss is estimated by ridge regression.
ROWS_FOR_LEAST_SQUARES = 5
# Models weigh by their leave-one-out errors to this power, and not at all below this weight: a model more is asked
# about every coalition, and little gained by it where there are rows enough for least squares.
POWER, LEAST_WEIGHT, LEAST_WEIGHT_OF_FEW = 3, 0.1, 0.02
# Scores of coalitions that are held while they are made: 64 MB.
SCORES_AT_ONCE = 2**24


class Evaluated(NamedTuple):
    """Coalitions in the plan's order: mask float [N, P], worths float [N, C], logits float [N, C]."""

    mask: jax.Array
    worths: jax.Array
    logits: jax.Array


class Model(NamedTuple):
    """What was fitted to a game: a mean of fits to K kernels and two targets.

    Attributes:
      linear: in the frames; of each target [2, ...]. smooth: in similarities to `centres` [K', P]; [K, 2, ...].
      kernel: those of `smooth` [K, ...].
      of_linear, of_smooth: float [2] and [K, 2], how much each counts; sum to 1 together.
      unexplained: float [], mean squared leave-one-out error over the variance of worths.
    """

    linear: logit_fit.Fit
    smooth: logit_fit.Fit
    kernel: logit_fit.Kernel
    centres: jax.Array
    of_linear: jax.Array
    of_smooth: jax.Array
    unexplained: jax.Array


def targets(state: Evaluated, link: Link) -> tuple[tuple[Link, Link], jax.Array]:
    """What is fitted, float [2, N, C], and the links from there to worths."""
    if link is not identity:
        return (link, identity), jnp.stack([state.logits, state.worths])
    probable = (state.worths > 0).all() & (jnp.abs(state.worths.sum(axis=1) - 1) < 1e-3).all()
    logs = jnp.where(probable, jnp.log(jnp.where(probable, state.worths, 1)), state.worths)
    return (jax.nn.softmax, identity), jnp.stack([logs, state.worths])


def fit(
    state: Evaluated,
    links: tuple[Link, Link],
    targets: jax.Array,
    counts: jax.Array,
    kept: jax.Array,
    most_centres: int,
) -> Model:
    """The mean of models of the rows `kept` float [N], 1 or 0, by their leave-one-out errors."""
    num_rows, num_players = state.mask.shape
    centres = state.mask[_some(num_rows, most_centres)]
    varied = jnp.argsort(-state.worths.var(axis=0))[:GRADIENT_CLASSES]
    some = state.mask[_some(num_rows, GRADIENT_ROWS)]

    def fits(basis: logit_fit.Basis) -> logit_fit.Fit:
        found = [logit_fit.fit(basis, t, link, state.worths, counts) for link, t in zip(links, targets, strict=True)]
        return jax.tree.map(lambda *a: jnp.stack(a), *found)

    def candidate(learned: jax.Array, given: tuple[logit_fit.Kernel, jax.Array]) -> tuple[jax.Array, Any]:
        kernel, learns = given
        kernel = kernel._replace(metric=jnp.where(learns, learned, kernel.metric))
        found = fits(logit_fit.kernel_basis(kernel, centres, state.mask, kept))
        if again:
            coefficients = found.coefficients[jnp.argmin(found.error)]
            learned = logit_fit.learned_metric(kernel, centres, coefficients[: len(centres), varied], some)
        return learned, (kernel, found)

    # The last kernel twice more, each time in the metric learned from the fit before.
    again = 2 if num_rows >= ROWS_TO_LEARN * num_players else 0
    order, learns = np.array([0, 1, 2] + [2] * again), np.array([False] * 3 + [True] * again)
    given = jax.tree.map(lambda a: a[order], logit_fit.kernels(num_players, state.worths.dtype))
    _, (kernel, smooth) = jax.lax.scan(candidate, given.metric[0], (given, jnp.asarray(learns)))
    linear = fits(logit_fit.linear_basis(logit_fit.linear_functions(state.mask), kept))
    errors = jnp.concatenate([linear.error[None], smooth.error])
    # A learned metric is worth more than a mean, and of many models one is cheaper.
    least = LEAST_WEIGHT_OF_FEW if num_rows < ROWS_FOR_LEAST_SQUARES * num_players else LEAST_WEIGHT
    weights = jnp.where(errors == errors.min(), 1.0, 0.0) if again else _weights(errors, least)
    weights = weights / weights.sum()
    share = (counts * kept)[:, None] / (counts * kept).sum()
    variance = (share * (state.worths - (share * state.worths).sum(axis=0)[None]) ** 2).sum()
    error = jnp.where(weights > 0, weights * errors, 0).sum()
    unexplained = error / jnp.where(variance > 0, variance, 1)
    return Model(linear, smooth, kernel, centres, weights[0], weights[1:], unexplained)


def _weights(errors: jax.Array, least: float) -> jax.Array:
    """How much models of such errors count, up to a factor; nothing below the share `least`."""
    logs = jnp.log(jnp.maximum(errors, jnp.finfo(errors.dtype).tiny))
    weights = jnp.exp(POWER * (logs.min() - logs))
    return jnp.where(weights < least * weights.sum(), 0, weights)


def _some(num_rows: int, most: int) -> np.ndarray:
    """At most so many rows, evenly."""
    return np.unique(np.linspace(0, num_rows - 1, min(num_rows, most)).astype(int))


def worths(model: Model, links: tuple[Link, Link], mask: jax.Array) -> jax.Array:
    """Worths [N, C] by the model for coalitions [N, P]."""

    def mean(fits: logit_fit.Fit, weights: jax.Array, functions: jax.Array) -> jax.Array:
        total = jnp.zeros((len(functions), fits.offset.shape[-1]), functions.dtype)
        for i, link in enumerate(links):
            fitted = jax.tree.map(lambda a, i=i: a[i], fits)
            said = jax.lax.cond(
                weights[i] > 0,
                lambda fitted=fitted, link=link: link(logit_fit.predict(fitted, functions)),
                lambda total=total: jnp.zeros_like(total),
            )
            total = total + jnp.where(weights[i] > 0, weights[i] * said, 0)
        return total

    def some(rows: jax.Array) -> jax.Array:
        def add(total: jax.Array, of: tuple[logit_fit.Kernel, logit_fit.Fit, jax.Array]) -> tuple[jax.Array, None]:
            kernel, fits, weights = of
            return total + jax.lax.cond(
                (weights > 0).any(),
                lambda: mean(fits, weights, logit_fit.kernel_functions(kernel, model.centres, rows)),
                lambda: jnp.zeros_like(total),
            ), None

        linear = mean(model.linear, model.of_linear, logit_fit.linear_functions(rows))
        return jax.lax.scan(add, linear, (model.kernel, model.smooth, model.of_smooth))[0]

    return in_chunks(some, mask, rows_at_once(model))


def rows_at_once(model: Model) -> int:
    return max(1, min(2048, SCORES_AT_ONCE // model.linear.offset.shape[-1]))

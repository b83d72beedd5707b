"""Sums over all coalitions from the worths of some: a model of the game says what the others are worth.

For what `cross_fit` is to values: any sums of v(S) with coefficients, of which those of interactions are not odd.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.base import Link, Masks, identity
from esv_jax.coalitions import paired, walk
from esv_jax.coalitions.weights import Coefficients
from esv_jax.estimators import cross_fit, game_model, least_squares, logit_fit
from esv_jax.estimators.game_model import Evaluated, Model
from esv_jax.precise import matmul

FOLDS = 5
# Models that leave out a fold have so many centres at most: they say how sure the sums are, and that is all.
CENTRES_OF_FOLDS = 256
# A sum's own variance, and that of all sums, in what standard errors are made of.
OWN = 0.5


def complete(
    state: Evaluated, strata: paired.Strata, empty: jax.Array, link: Link, coefficients: Coefficients
) -> tuple[jax.Array, jax.Array]:
    """(sums [Q, C], standard errors [Q, C]) of v(S) over all S, from pairs of coalitions drawn by `strata`.

    A model is fitted to what was evaluated (`game_model`), asked about all coalitions, and its word replaced by the
    worths that are known. What is missed is what the model misses of the others. Its variance is taken for the sum of
    two: that of residuals as large as those of pairs that models have not seen; and, as models err for many coalitions
    at once, that of sums made without a fold of the pairs each (Tukey's jackknife).

    Args:
      state: a plan's coalitions in its order, everyone last.
      strata: how many pairs of each size were drawn, and of how many.
      empty: float [C].
      link: from logits to worths.
      coefficients: of v(S), nobody's among them.
    """
    dtype, (num_rows, num_players) = state.worths.dtype, state.mask.shape
    weight, fpc = least_squares.pair_weights(num_players, strata)
    links, targets = game_model.targets(state, link)
    counts = jnp.asarray(np.concatenate([weight * fpc, (weight * fpc)[::-1], [0]]), dtype)
    fit = functools.partial(game_model.fit, state, links, targets, counts)
    of_rows = jnp.asarray(coefficients(state.mask, dtype))
    of_nobody = jnp.asarray(coefficients(np.zeros((1, num_players), bool), np.float64)[0], dtype)[:, None] * empty[None]

    def sums(model: Model, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The sums [Q, C] by a model and the worths that are `seen` [N], 1 or 0; and the residuals [N, C]."""
        said = functools.partial(game_model.worths, model, links)
        of_all, _ = walk.sum_over_all(
            Masks(), lambda mask: said(mask.astype(dtype)), identity, num_players, coefficients
        )
        residual = state.worths - said(state.mask)
        return of_all + matmul(of_rows.T, seen[:, None] * residual) + of_nobody, residual

    fold = cross_fit.folds(fpc, FOLDS)
    held_out = np.arange(int(fold.max()) + 1)[:, None] == fold[None]
    others = ~np.concatenate([held_out, held_out[:, ::-1], np.zeros((len(held_out), 1), bool)], axis=1)

    def without(seen: jax.Array) -> tuple[jax.Array, jax.Array]:
        return sums(fit(seen, most_centres=min(num_rows, CENTRES_OF_FOLDS)), seen)

    everything = jnp.ones(num_rows, dtype)
    found, _ = sums(fit(everything, most_centres=min(num_rows, logit_fit.MAX_CENTRES)), everything)
    of_folds, residuals = jax.lax.map(without, jnp.asarray(others, dtype))
    unseen = jnp.where(jnp.asarray(others)[:, :, None], 0, residuals).sum(axis=0)
    spread = (len(held_out) - 1) / len(held_out) * ((of_folds - of_folds.mean(axis=0)[None]) ** 2).sum(axis=0)
    variance = spread + _of_residuals(of_rows, unseen, strata)
    mixed = OWN * variance + (1 - OWN) * variance.mean(axis=0, keepdims=True)
    return found, jnp.sqrt(mixed)


def _of_residuals(of_rows: jax.Array, unseen: jax.Array, strata: paired.Strata) -> jax.Array:
    """The variance [Q, C] of sums of residuals over the pairs that were not drawn.

    Were residuals of n of N pairs unrelated, N - n of them would add up; a mean of all that is estimated by these n has
    N / n times that variance. Models leave something between the two: the geometric mean is taken.

    Args:
      of_rows: float [N, Q], coefficients.
      unseen: float [N, C], residuals of models that have not seen a pair.
    """
    num_pairs = len(unseen) // 2
    # Of a size there are so many for each that was drawn.
    each = strata.population / np.maximum(strata.drawn, 1)
    share = jnp.asarray(np.repeat((each - 1) * np.sqrt(each), strata.drawn), unseen.dtype)[:, None]

    def split(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        return rows[:num_pairs], rows[num_pairs:-1][::-1]

    (of_small, of_large), (small, large) = split(of_rows), split(unseen)
    # (a r + b s)^2 summed over pairs, without an array of all pairs, sums and classes.
    squares = matmul((share * of_small**2).T, small**2) + matmul((share * of_large**2).T, large**2)
    return jnp.maximum(squares + 2 * matmul((share * of_small * of_large).T, small * large), 0)

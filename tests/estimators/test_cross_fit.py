"""Cross-fitted values and their errors, by least squares under a constraint that is solved and refitted outright."""

import jax.numpy as jnp
import numpy as np

from esv_jax.coalitions import paired
from esv_jax.estimators import cross_fit, least_squares

P, C = 6, 3


def constrained(mask, odd, total, weight):
    """Values [P, C] that sum to total [C] and minimise sum w (odd - (sum of a pair's values - total / 2))^2."""
    system = np.block([[mask.T @ (weight[:, None] * mask), np.ones((P, 1))], [np.ones((1, P)), np.zeros((1, 1))]])
    right = np.concatenate([mask.T @ (weight[:, None] * (odd + total / 2)), total[None]])
    return np.linalg.solve(system, right)[:P]


def left_out(mask, odd, total, weight):
    """What fits without a pair leave of it."""
    rows = np.arange(len(mask))
    found = []
    for row in rows:
        rest = rows != row
        values = constrained(mask[rest], odd[rest], total, weight[rest])
        found.append(odd[row] + total / 2 - mask[row] @ values)
    return np.array(found)


def test_middle_and_errors_by_refitting(x64):
    rng = np.random.default_rng(0)
    strata = least_squares.strata(P, 41)
    assert (strata.drawn < strata.population).any()
    assert (strata.drawn == strata.population).any()
    mask = paired.draw(P, strata, rng).astype(float)
    weight, fpc = least_squares.pair_weights(P, strata)
    odd, total = rng.normal(size=(len(mask), C)), rng.normal(size=C)
    # Of the first class the models say something, of the second nothing, of the third the opposite of what is.
    predicted = np.stack([odd[:, 0], rng.normal(size=len(mask)), -odd[:, 2]], axis=1) + rng.normal(size=odd.shape) / 2
    of_models = rng.normal(size=(P, C))
    of_models += (total - of_models.sum(axis=0)) / P

    missed, of_models_missed = (left_out(mask, part, total, weight) for part in (odd, predicted))
    counted = (weight * fpc)[:, None]
    beta = (counted * missed * of_models_missed).sum(axis=0) / (counted * of_models_missed**2).sum(axis=0)
    beta = np.clip(beta, 0, 1)
    assert 0 < beta[0] < 1
    assert beta[2] == 0
    middle = constrained(mask, odd - beta * predicted, total * (1 - beta), weight) + beta * of_models
    unit = np.eye(len(mask))
    influence = constrained(mask, unit, np.zeros(len(mask)), weight)
    own = influence**2 @ (fpc[:, None] * (missed - beta * of_models_missed) ** 2)
    mixed = 0.5 * own + 0.4 * own.mean(axis=0) + 0.1 * own.mean()
    hat = np.einsum("np,pn->n", mask, influence)

    design = least_squares.design(jnp.asarray(mask), jnp.asarray(weight))
    given = (jnp.asarray(a) for a in (odd, predicted, total))
    found = cross_fit.around((design,), *given, weight, fpc)
    np.testing.assert_allclose(found.alone + found.beta * of_models, middle, atol=1e-9)
    np.testing.assert_allclose(found.std_error, np.sqrt(np.maximum(own, mixed)), rtol=1e-7)
    np.testing.assert_allclose(found.degrees, (1 - hat)[fpc > 0].sum(), rtol=1e-9)
    np.testing.assert_allclose(found.influence**2 @ found.deviation**2, own, rtol=1e-7)


def test_folds_share_out_every_size_and_hold_out_no_exhausted_pair():
    strata = least_squares.strata(P, 41)
    _, fpc = least_squares.pair_weights(P, strata)
    fold = cross_fit.folds(fpc, 5)
    np.testing.assert_array_equal(fold == -1, fpc == 0)
    size = np.repeat(np.arange(1, P // 2 + 1), strata.drawn)
    for count in np.unique(size[fpc > 0]):
        of_fold = np.bincount(fold[(size == count) & (fpc > 0)], minlength=5)
        assert of_fold.max() - of_fold.min() <= 1


def crossed(noise):
    """Whose squared errors sum to `noise` [C]; where the middle is, is told apart."""
    influence = jnp.full((P, 1), 1 / np.sqrt(P))
    deviation = jnp.sqrt(jnp.asarray(noise))[None]
    nothing = jnp.zeros((P, 2))
    return cross_fit.Crossed(nothing, nothing[:1], nothing, jnp.asarray(9.0), influence, deviation)


def test_values_lean_as_james_and_stein_say(x64):
    middle = jnp.zeros((P, 2)).at[0].set(2.0)  # 4 away from values of 0
    noise = [1.0, 100.0]
    found = cross_fit.lean(jnp.zeros((P, 2)), middle, crossed(noise), 1.0)
    np.testing.assert_allclose(found[0], [2 * (1 - (P - 3) / (P - 1) * 1 / 4), 0], atol=1e-12)
    doubted = cross_fit.lean(jnp.zeros((P, 2)), middle, crossed(noise), 4.0)
    np.testing.assert_allclose(doubted[0], [2 * (1 - 4 * (P - 3) / (P - 1) * 1 / 4), 0], atol=1e-12)
    without = crossed(noise)._replace(degrees=jnp.asarray(0.0))
    assert (cross_fit.lean(jnp.zeros((P, 2)), middle, without, 1.0) == 0).all()

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import weights
from esv_jax.games import frame_mean_sums
from tests import oracles

EMPTY = np.full(5, 0.2)


def frames_as_logits(params, frames):
    return frames


def not_asked(mask):
    """In the place of the mean logits, to see whether coalitions are visited: they would all be worth the same."""
    return jnp.zeros((len(mask), 5), jnp.float32)


def worth_of(logits):
    return lambda s: oracles.softmax(logits[list(s)].mean(axis=0)) if s else EMPTY


@pytest.mark.parametrize("fewest_frames", [0, 12])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 6, 7])
def test_products_of_halves_equal_the_permutation_oracle(num_frames, fewest_frames, monkeypatch):
    monkeypatch.setattr(frame_mean_sums, "FEWEST_FRAMES", fewest_frames)
    logits = 4 * np.random.default_rng(num_frames).normal(size=(num_frames, 5))
    by_size = weights.shapley(num_frames)
    values, full = frame_mean_sums.sum_over_all(jnp.asarray(logits, jnp.float32), not_asked, by_size)
    np.testing.assert_allclose(full, oracles.softmax(logits.mean(axis=0)), atol=1e-6)
    oracle = oracles.permutation_shapley(worth_of(logits), num_frames)
    np.testing.assert_allclose(values - 0.2 / num_frames, oracle, atol=1e-6)


def test_wide_logits_go_the_slow_way_and_stay_right(monkeypatch):
    monkeypatch.setattr(frame_mean_sums, "FEWEST_FRAMES", 0)
    # Frames sure of different classes by far more than exp can hold.
    logits = np.random.default_rng(0).normal(size=(5, 5)) * 200
    _, full = frame_mean_sums.sum_over_all(jnp.asarray(logits, jnp.float32), not_asked, weights.shapley(5))
    np.testing.assert_allclose(full, EMPTY, atol=1e-6)
    game = esv_jax.frame_mean_game(frames_as_logits, empty=EMPTY.astype(np.float32))
    values, full = game.exact(None, jnp.asarray(logits, jnp.float32), *weights.shapley(5))
    np.testing.assert_allclose(values - 0.2 / 5, oracles.permutation_shapley(worth_of(logits), 5), atol=1e-5)
    np.testing.assert_allclose(full, oracles.softmax(logits.mean(axis=0)), atol=1e-6)


def test_gradients_are_those_of_the_slow_way():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(12, 3)) * 3, jnp.float32)
    game = esv_jax.frame_mean_game(frames_as_logits, empty=np.full(3, 1 / 3, np.float32))

    def value(logits, game):
        return esv_jax.explain(esv_jax.exact(), game, None, logits).values[4, 1]

    slow = jax.grad(value)(logits, game._replace(exact=None))
    assert np.abs(slow).max() > 1e-3
    np.testing.assert_allclose(jax.grad(value)(logits, game), slow, atol=1e-6)


def test_nan_logits_show():
    game = esv_jax.frame_mean_game(frames_as_logits, empty=EMPTY.astype(np.float32))
    out = esv_jax.explain(esv_jax.exact(), game, None, np.full((4, 5), np.nan, np.float32))
    assert np.isnan(out.values).all()

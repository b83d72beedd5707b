import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import weights
from esv_jax.games import score_average
from tests import oracles
from tests.contracts.cases import EMPTY, GAMES, C, D

CASE = GAMES["multiscale_game, of scores"]


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 7])
def test_exact_values_equal_the_permutation_oracle(num_frames):
    """Fewer, as many and more frames than scales."""
    game, params = CASE.make(np.float32)
    video = np.random.default_rng(num_frames).normal(size=(num_frames, D)).astype(np.float32)
    worth = CASE.worth(video.astype(np.float64))
    out = esv_jax.explain(esv_jax.exact(), game, params, video)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, num_frames), atol=1e-6)
    np.testing.assert_allclose(out.full, worth(tuple(range(num_frames))), atol=1e-6)


def log_mean_of_shares(params, clips):
    return jnp.log(jax.nn.softmax(clips).mean(axis=1))


def test_many_frames_need_only_their_small_subsets():
    """2^30 coalitions. Where every head says the mean over frames of q, so does v(S): with m_i the mean of the others,

    esv[i] = 1/P ( sum over k of (q_i + (k - 1) m_i) / k  -  (P - 1) m_i  -  v(nobody) )
    """
    num_frames = 30
    video = np.random.default_rng(0).normal(size=(num_frames, C)).astype(np.float32)
    game = esv_jax.multiscale_game([log_mean_of_shares] * 3, empty=EMPTY.astype(np.float32), average="scores")
    out = esv_jax.explain(esv_jax.exact(), game, jnp.zeros(()), video)
    share = oracles.softmax(video.astype(np.float64))
    others = (share.sum(axis=0) - share) / (num_frames - 1)
    ordered = sum((share + (k - 1) * others) / k for k in range(1, num_frames + 1))
    np.testing.assert_allclose(out.values, (ordered - (num_frames - 1) * others - EMPTY) / num_frames, atol=1e-6)
    np.testing.assert_allclose(out.full, share.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(("num_players", "num_scales"), [(1, 1), (2, 3), (7, 3), (12, 8), (9, 9)])
def test_weights_of_means_are_those_of_the_lattice(num_players, num_scales):
    alpha, beta = score_average.subset_weights(num_players, num_scales, *weights.shapley(num_players))
    a, b = score_average.shapley_weights_of_means(num_players, num_scales)
    counts = np.array([math.comb(num_players, s) for s in range(1, len(a) + 1)])
    np.testing.assert_allclose(a, counts * alpha[1 : len(a) + 1], rtol=1e-12)
    np.testing.assert_allclose(b, counts * beta[1 : len(b) + 1], atol=1e-12)

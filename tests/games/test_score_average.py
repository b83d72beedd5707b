import itertools

import jax
import numpy as np
import pytest

import esv_jax
from tests import oracles
from tests.contracts import cases

NUM_SCALES = 3


def worth_of(video, params):
    """v(S) by definition: mean over sizes of the mean over subsets of the softmax of a head's logits."""

    def score(subset):
        return oracles.softmax(np.tanh(video[list(subset)].reshape(-1) @ params[f"w{len(subset)}"]))

    def worth(coalition):
        if not coalition:
            return cases.EMPTY
        sizes = range(1, min(len(coalition), NUM_SCALES) + 1)
        return np.mean(
            [np.mean([score(r) for r in itertools.combinations(coalition, s)], axis=0) for s in sizes], axis=0
        )

    return worth


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 7])
def test_exact_values_equal_the_permutation_oracle(num_frames):
    _, params = cases.GAMES["multiscale_game"].make(np.float32)
    game = esv_jax.multiscale_game(cases._HEADS, empty=cases.EMPTY.astype(np.float32), average="scores")
    video = np.random.default_rng(num_frames).normal(size=(num_frames, cases.D)).astype(np.float32)
    worth = worth_of(video.astype(np.float64), params)
    out = esv_jax.explain(esv_jax.exact(), game, params, video)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, num_frames), atol=1e-6)
    np.testing.assert_allclose(out.full, worth(tuple(range(num_frames))), atol=1e-6)
    by_lattice = esv_jax.explain(esv_jax.exact(), game, params, video, plan=esv_jax.exact().plan(num_frames=num_frames))
    np.testing.assert_allclose(out.values, by_lattice.values, atol=1e-6)


def test_many_frames_need_only_their_small_subsets():
    _, params = cases.GAMES["multiscale_game"].make(np.float32)
    game = esv_jax.multiscale_game(cases._HEADS, empty=cases.EMPTY.astype(np.float32), average="scores")
    video = np.random.default_rng(0).normal(size=(24, cases.D)).astype(np.float32)
    out = esv_jax.explain(esv_jax.exact(), game, params, video)
    sampled = [
        esv_jax.explain(esv_jax.stratified(per_size=64), game, params, video, key=jax.random.key(s)).full
        for s in range(20)
    ]
    # The paper's sampler estimates the joint score of all frames from lineages; their mean comes near.
    np.testing.assert_allclose(out.full, np.mean(sampled, axis=0), atol=0.02)
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-6)


def test_other_averages_are_refused():
    with pytest.raises(esv_jax.InputError, match='average should be "logits", or "scores"'):
        esv_jax.multiscale_game(cases._HEADS, empty=cases.EMPTY, average="votes")

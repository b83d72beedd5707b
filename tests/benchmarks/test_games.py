"""The games of the benchmarks: what their values are known to be, and that estimators have something to find."""

import itertools

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.benchmarks import games
from tests import oracles

JUMP = np.array([0.65, -0.35, -0.3])


@pytest.mark.parametrize(("name", "count"), [("pair", 2), ("triple", 3)])
@pytest.mark.parametrize("instance", [0, 1])
def test_all_of_a_few_frames_share_the_jump_equally(name, count, instance):
    case = games.GAMES[name](instance, 12)
    values = esv_jax.explain(esv_jax.exact(), case.game, case.params, case.video).values
    counted = case.video[:, 0] > 0
    assert counted.sum() == count
    np.testing.assert_allclose(values, counted[:, None] * JUMP / count, atol=1e-6)


def test_instances_count_other_frames():
    chosen = {tuple(np.flatnonzero(games.pair(instance, 12).video)) for instance in range(4)}
    assert len(chosen) > 1


@pytest.mark.parametrize("num_frames", [5, 12])
def test_step_jumps_beyond_half_of_the_frames_and_frames_are_equal(num_frames):
    case = games.step(0, num_frames)
    values = esv_jax.explain(esv_jax.exact(), case.game, case.params, case.video).values
    np.testing.assert_allclose(values, np.tile(JUMP / num_frames, (num_frames, 1)), atol=1e-6)
    half = num_frames // 2
    mask = np.arange(num_frames) < np.array([[half], [half + 1]])
    below, above = esv_jax.worths(case.game, case.params, case.video, mask)
    np.testing.assert_allclose(above - below, JUMP, atol=1e-6)


def test_the_values_of_the_transformer_are_those_of_brute_force():
    case = games.transformer(0, 5)
    subsets = [s for size in range(6) for s in itertools.combinations(range(5), size)]
    mask = np.array([[i in s for i in range(5)] for s in subsets])
    table = dict(zip(subsets, np.asarray(esv_jax.worths(case.game, case.params, case.video, mask)), strict=True))
    values = esv_jax.explain(esv_jax.exact(), case.game, case.params, case.video).values
    np.testing.assert_allclose(values, oracles.permutation_shapley(table.__getitem__, 5), atol=1e-6)


@pytest.mark.parametrize("name", ["transformer", "demo"])
def test_scores_are_probabilities_that_depend_on_frames_and_their_order(name):
    case = games.GAMES[name](0, 5)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [0, 1, 1, 0, 0]], bool)
    worths = np.asarray(esv_jax.worths(case.game, case.params, case.video, mask))
    np.testing.assert_allclose(worths.sum(axis=1), 1, atol=1e-5)
    assert (worths >= 0).all()
    assert np.abs(worths[0] - worths[1:]).max(axis=1).min() > 0.01
    backwards = np.asarray(esv_jax.worths(case.game, case.params, case.video[::-1].copy(), mask[:1]))
    assert np.abs(backwards - worths[:1]).max() > 0.01


def test_short_clips_of_the_demo_repeat_frames():
    assert len(games.demo(1, 64).video) == 64
    assert games.demo(1, 64).video.dtype == jax.numpy.float32

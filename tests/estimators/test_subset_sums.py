import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import balanced, weights
from esv_jax.games import score_average
from tests.contracts import cases

T, M = 7, 3
EMPTY = cases.EMPTY.astype(np.float32)


def game_and_video(num_frames=T):
    game = esv_jax.multiscale_game(cases._HEADS, empty=EMPTY, average="scores")
    _, params = cases.GAMES["multiscale_game"].make(np.float32)
    return game, params, np.random.default_rng(0).normal(size=(num_frames, cases.D)).astype(np.float32)


@pytest.mark.parametrize(("num_frames", "num_scales"), [(1, 1), (2, 3), (7, 3), (12, 8), (9, 9)])
def test_weights_of_means_are_those_of_the_lattice(num_frames, num_scales):
    alpha, beta = score_average.subset_weights(num_frames, num_scales, *weights.shapley(num_frames))
    a, b = score_average.shapley_weights_of_means(num_frames, num_scales)
    counts = np.array([math.comb(num_frames, s) for s in range(1, len(a) + 1)])
    np.testing.assert_allclose(a, counts * alpha[1 : len(a) + 1], rtol=1e-12)
    np.testing.assert_allclose(b, counts * beta[1 : len(b) + 1], atol=1e-12)


@pytest.mark.parametrize(("num_frames", "size", "count"), [(7, 3, 20), (10, 8, 33), (60, 8, 5), (5, 5, 3)])
def test_balanced_subsets(num_frames, size, count):
    rows = balanced.subsets(num_frames, size, count, np.random.default_rng(0))
    assert rows.shape == (count, size)
    assert (np.diff(rows, axis=1) > 0).all()
    occurs = np.bincount(rows.ravel(), minlength=num_frames)
    assert occurs.max() - occurs.min() <= 1


def test_every_row_of_balanced_subsets_is_uniform():
    # Size 2 of 3 frames: row 2 straddles the first two permutations.
    draws = [balanced.subsets(3, 2, 3, np.random.default_rng(seed)) for seed in range(3000)]
    for row in range(3):
        left_out = 3 - np.array([draw[row].sum() for draw in draws])
        shares = np.bincount(left_out, minlength=3) / len(draws)
        np.testing.assert_allclose(shares, 1 / 3, atol=5 * math.sqrt(2 / 9 / len(draws)))


def test_unbiased_efficient_and_covered():
    game, params, video = game_and_video()
    exact = esv_jax.explain(esv_jax.exact(), game, params, video)
    estimator = esv_jax.subset_sums(max_evaluations=25, num_scales=M)
    plans = [estimator.plan(T, key=jax.random.key(seed)) for seed in range(300)]
    runs = [esv_jax.explain(estimator, game, params, video, plan=plan) for plan in plans]
    values = np.stack([run.values for run in runs])
    error = values - np.asarray(exact.values)
    spread = values.std(axis=0, ddof=1)
    assert spread.max() > 0.01
    assert (np.abs(error.mean(axis=0)) < 4.5 * spread / math.sqrt(len(runs))).all()
    np.testing.assert_allclose(np.mean([run.full for run in runs], axis=0), exact.full, atol=0.01)
    for run in runs[:5]:
        np.testing.assert_allclose(run.values.sum(axis=0), run.full - run.empty, atol=1e-6)
    covered = np.abs(error) <= 1.96 * np.stack([run.std_error for run in runs])
    assert 0.92 <= covered.mean() <= 0.995


def test_all_subsets_give_the_exact_values():
    game, params, video = game_and_video()
    exact = esv_jax.explain(esv_jax.exact(), game, params, video)
    found = esv_jax.explain(
        esv_jax.subset_sums(max_evaluations=63, num_scales=M), game, params, video, key=jax.random.key(0)
    )
    np.testing.assert_allclose(found.values, exact.values, atol=1e-6)
    np.testing.assert_allclose(found.full, exact.full, atol=1e-6)
    np.testing.assert_array_equal(found.std_error, 0)


def softmax_of_last(params, clips):
    return 3 * clips[:, -1] + clips.mean(axis=1)


def test_the_error_does_not_grow_with_the_number_of_frames():
    game = esv_jax.multiscale_game([softmax_of_last] * 8, empty=EMPTY, average="scores")
    estimator = esv_jax.subset_sums(max_evaluations=400, num_scales=8)
    spread = {}
    for num_frames in (50, 1000):
        video = np.random.default_rng(1).normal(size=(num_frames, 4)).astype(np.float32)
        runs = [esv_jax.explain(estimator, game, jnp.zeros(()), video, key=jax.random.key(seed)) for seed in range(8)]
        spread[num_frames] = np.std([run.values for run in runs], axis=0, ddof=1).mean()
        told = np.mean([run.std_error for run in runs])
        assert 0.7 < told / spread[num_frames] < 1.5
    assert spread[1000] < spread[50]


def test_other_games_and_other_scales_are_refused():
    game, params, video = game_and_video()
    with pytest.raises(esv_jax.InputError, match="num_scales should be that of the game, 3, found 2"):
        esv_jax.explain(
            esv_jax.subset_sums(max_evaluations=30, num_scales=2), game, params, video, key=jax.random.key(0)
        )
    other = esv_jax.multiscale_game(cases._HEADS, empty=EMPTY)
    with pytest.raises(esv_jax.InputError, match="this estimator is for games of multiscale_game"):
        esv_jax.explain(
            esv_jax.subset_sums(max_evaluations=30, num_scales=3), other, params, video, key=jax.random.key(0)
        )
    with pytest.raises(esv_jax.InputError, match="at least 6 for 3 scales, found 5"):
        esv_jax.subset_sums(max_evaluations=5, num_scales=3).plan(9, key=jax.random.key(0))

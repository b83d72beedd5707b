import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import balanced
from tests import oracles
from tests.contracts.cases import EMPTY, GAMES, HEADS, D

T, M = 7, 3
CASE = GAMES["multiscale_game, of scores"]
VIDEO = np.random.default_rng(0).normal(size=(T, D)).astype(np.float32)


def exact():
    worth = CASE.worth(VIDEO.astype(np.float64))
    return oracles.permutation_shapley(worth, T), worth(tuple(range(T)))


@pytest.mark.parametrize(("num_players", "size", "count"), [(7, 3, 20), (10, 8, 33), (60, 8, 5), (5, 5, 3)])
def test_balanced_subsets(num_players, size, count):
    rows = balanced.subsets(num_players, size, count, np.random.default_rng(0))
    assert rows.shape == (count, size)
    assert (np.diff(rows, axis=1) > 0).all()
    occurs = np.bincount(rows.ravel(), minlength=num_players)
    assert occurs.max() - occurs.min() <= 1


def test_every_row_of_balanced_subsets_is_uniform():
    # Size 2 of 3 players: row 2 straddles the first two permutations.
    draws = [balanced.subsets(3, 2, 3, np.random.default_rng(seed)) for seed in range(3000)]
    for row in range(3):
        left_out = np.bincount(3 - np.array([draw[row].sum() for draw in draws]), minlength=3)
        # Chi-square with 2 degrees of freedom: 13.8 has probability 0.001.
        assert ((left_out - 1000) ** 2 / 1000).sum() < 13.8


def test_unbiased_efficient_and_covered():
    game, params = CASE.make(np.float32)
    values, full = exact()
    estimator = esv_jax.subset_sums(max_evaluations=25, num_scales=M)
    plans = [estimator.plan(T, key=jax.random.key(seed)) for seed in range(300)]
    runs = [esv_jax.explain(estimator, game, params, VIDEO, plan=plan) for plan in plans]
    error = np.stack([run.values for run in runs]).astype(np.float64) - values
    spread = error.std(axis=0, ddof=1)
    assert spread.max() > 0.01
    # 28 cells whose mean errors are in units of their own standard errors.
    deviation = error.mean(axis=0) / spread * math.sqrt(len(runs))
    assert np.abs(deviation).max() < 3.5
    for run in runs[:5]:
        np.testing.assert_allclose(run.full, full, atol=1e-6)
        np.testing.assert_allclose(run.values.sum(axis=0), run.full - run.empty, atol=1e-6)
    covered = np.abs(error) <= 1.96 * np.stack([run.std_error for run in runs])
    assert 0.92 <= covered.mean() <= 0.995


def test_all_subsets_give_the_exact_values():
    game, params = CASE.make(np.float32)
    values, full = exact()
    estimator = esv_jax.subset_sums(max_evaluations=63, num_scales=M)
    found = esv_jax.explain(estimator, game, params, VIDEO, key=jax.random.key(0))
    np.testing.assert_allclose(found.values, values, atol=1e-6)
    np.testing.assert_allclose(found.full, full, atol=1e-6)
    np.testing.assert_array_equal(found.std_error, 0)


def softmax_of_last(params, clips):
    return 3 * clips[:, -1] + clips.mean(axis=1)


def test_the_error_does_not_grow_with_the_number_of_frames():
    game = esv_jax.multiscale_game([softmax_of_last] * 3, empty=EMPTY.astype(np.float32), average="scores")
    estimator = esv_jax.subset_sums(max_evaluations=150, num_scales=3)
    spread = {}
    for num_frames in (50, 1000):
        video = np.random.default_rng(1).normal(size=(num_frames, 4)).astype(np.float32)
        plans = [estimator.plan(num_frames, key=jax.random.key(seed)) for seed in range(8)]
        runs = [esv_jax.explain(estimator, game, jnp.zeros(()), video, plan=plan) for plan in plans]
        spread[num_frames] = np.std([run.values for run in runs], axis=0, ddof=1).mean()
        told = np.mean([run.std_error for run in runs])
        assert 0.7 < told / spread[num_frames] < 1.5
    assert spread[1000] < spread[50]


def test_other_games_and_other_scales_are_refused():
    game, params = CASE.make(np.float32)
    two_scales = esv_jax.subset_sums(max_evaluations=30, num_scales=2)
    with pytest.raises(esv_jax.InputError, match="num_scales should be that of the game, 3, found 2"):
        esv_jax.explain(two_scales, game, params, VIDEO, key=jax.random.key(0))
    of_logits = esv_jax.multiscale_game(HEADS, empty=EMPTY)
    frame_mean, of_frames = GAMES["frame_mean_game"].make(np.float32)
    estimator = esv_jax.subset_sums(max_evaluations=30, num_scales=3)
    for other, of_other in ((of_logits, params), (frame_mean, of_frames)):
        with pytest.raises(esv_jax.InputError, match=r'is for games of multiscale_game\(..., average="scores"\)'):
            esv_jax.explain(estimator, other, of_other, VIDEO, key=jax.random.key(0))

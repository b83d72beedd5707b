"""The contract of a game: its worths are what its definition says, under every transformation."""

import functools
import sys

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import games
from tests import oracles
from tests.contracts.cases import GAMES, C, D
from tests.precision import x64

T = 5
each_game = pytest.mark.parametrize("case", GAMES.values(), ids=GAMES.keys())
each_dtype = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-12)])


def test_every_public_game_has_a_case():
    assert set(GAMES) == {name for name in vars(games) if name.endswith("_game")}


def videos(count, dtype=np.float64):
    return np.random.default_rng(0).normal(size=(count, T, D)).astype(dtype)


@each_game
@each_dtype
def test_exact_values_equal_the_permutation_oracle(case, dtype, tolerance):
    with x64(dtype == np.float64):
        game, params = case.make(dtype)
        video = videos(1, dtype)[0]
        out = esv_jax.explain(esv_jax.exact(), game, params, video)
        worth = case.worth(video.astype(np.float64))
        assert {a.dtype for a in out} == {np.dtype(dtype)}
        np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, T), atol=tolerance, rtol=0)
        np.testing.assert_allclose(out.full, worth(tuple(range(T))), atol=tolerance, rtol=0)
        np.testing.assert_allclose(out.empty, worth(()), atol=tolerance, rtol=0)
        np.testing.assert_array_equal(out.std_error, np.zeros((T, C)))


@each_game
def test_jit_equals_eager_and_vmap_equals_loop(case):
    game, params = case.make(np.float32)
    batch = videos(3, np.float32)
    one = functools.partial(esv_jax.explain, esv_jax.exact(), game)
    batched = jax.jit(jax.vmap(one, in_axes=(None, 0)))(params, batch)
    for b, video in enumerate(batch):
        eager = one(params, video)
        jitted = jax.jit(one)(params, video)
        for field in esv_jax.Attribution._fields:
            np.testing.assert_allclose(getattr(jitted, field), getattr(eager, field), atol=1e-6, rtol=0)
            np.testing.assert_allclose(getattr(batched, field)[b], getattr(eager, field), atol=1e-6, rtol=0)


@each_game
def test_a_sampled_plan_that_holds_all_coalitions_gives_the_exact_values(case):
    game, params = case.make(np.float32)
    video = videos(1, np.float32)[0]
    everything = esv_jax.stratified(per_size=100)
    out = esv_jax.explain(everything, game, params, video, key=jax.random.key(3))
    exact = esv_jax.explain(esv_jax.exact(), game, params, video)
    np.testing.assert_allclose(out.values, exact.values, atol=2e-6, rtol=0)
    np.testing.assert_allclose(out.std_error, 0, atol=1e-7)


@each_game
def test_new_videos_params_and_a_game_made_again_trace_nothing(case):
    batch = videos(2, np.float32)

    def explain(seed):
        game, params = case.make(np.float32)
        params = jax.tree.map(lambda a: a + np.float32(seed), params)
        return esv_jax.explain(esv_jax.exact(), game, params, batch[seed])

    first = explain(0)
    compiled = sys.modules["esv_jax.explaining.explain"]._walk_everything._cache_size()
    second = explain(1)
    assert sys.modules["esv_jax.explaining.explain"]._walk_everything._cache_size() == compiled
    assert np.abs(first.values - second.values).max() > 1e-3

"""The contract of a game: its worths are what its definition says, under every transformation."""

import functools

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.explaining import explain as explaining
from esv_jax.explaining.worths import worths_of_batch
from tests import oracles
from tests.contracts.cases import EMPTY, GAMES, C, D
from tests.precision import x64

T = 5
each_game = pytest.mark.parametrize("case", GAMES.values(), ids=GAMES.keys())
of_jax = {name: case for name, case in GAMES.items() if name != "host_game"}
each_game_of_jax = pytest.mark.parametrize("case", of_jax.values(), ids=of_jax.keys())
each_dtype = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-12)])


def test_every_exported_game_has_a_case():
    # Adapters of host_game, which need other packages: tests/interop/test_torch_game.py, ...
    exported = {name for name in vars(esv_jax) if name.endswith("_game")} - {"torch_game", "onnx_game", "prompt_game"}
    assert {name.partition(",")[0] for name in GAMES} == exported
    assert exported == {name for name in vars(esv_jax.games) if name.endswith("_game")}


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
        assert {a.dtype for a in out[:4]} == {np.dtype(dtype)}
        np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, T), atol=tolerance, rtol=0)
        np.testing.assert_allclose(out.full, worth(tuple(range(T))), atol=tolerance, rtol=0)
        np.testing.assert_allclose(out.empty, worth(()), atol=tolerance, rtol=0)
        np.testing.assert_array_equal(out.std_error, np.zeros((T, C)))
        assert (int(out.num_evaluations), bool(out.sampled)) == (2**T - 1, False)


@each_game
@each_dtype
def test_worths_of_any_coalitions_are_those_of_the_definition(case, dtype, tolerance):
    mask = np.random.default_rng(1).random((2, 40, T)) < 0.5
    mask[0, :3] = False
    with x64(dtype == np.float64):
        game, params = case.make(dtype)
        batch = videos(2, dtype)
        found = worths_of_batch(game, params, batch, mask)
        for video, rows, of_video in zip(batch, mask, found, strict=True):
            worth = case.worth(video.astype(np.float64))
            expected = np.array([worth(tuple(np.flatnonzero(row).tolist())) for row in rows])
            np.testing.assert_allclose(of_video, expected, atol=tolerance, rtol=0)
            np.testing.assert_allclose(esv_jax.worths(game, params, video, rows), of_video, atol=tolerance, rtol=0)
            nobody = esv_jax.worths(game, params, video, np.zeros((2, T), int))
            np.testing.assert_allclose(nobody, np.tile(EMPTY, (2, 1)), atol=1e-7)


@each_game_of_jax
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
def test_a_batch_is_its_videos_one_by_one(case):
    game, params = case.make(np.float32)
    estimator = esv_jax.regression(max_evaluations=21)
    plan = estimator.plan(T, key=jax.random.key(0))
    for how in ({"estimator": esv_jax.exact()}, {"estimator": estimator, "plan": plan}):
        batch = esv_jax.explain_batch(game=game, params=params, videos=videos(3, np.float32), **how)
        for b, video in enumerate(videos(3, np.float32)):
            single = esv_jax.explain(game=game, params=params, video=video, **how)
            for of_all, of_one in zip(batch, single, strict=True):
                np.testing.assert_allclose(of_all[b], of_one, atol=1e-6)


@each_game
def test_a_sampled_plan_that_holds_all_coalitions_gives_the_exact_values(case):
    game, params = case.make(np.float32)
    video = videos(1, np.float32)[0]
    everything = esv_jax.stratified(per_size=100)
    out = esv_jax.explain(everything, game, params, video, key=jax.random.key(3))
    exact = esv_jax.explain(esv_jax.exact(), game, params, video)
    np.testing.assert_allclose(out.values, exact.values, atol=2e-6, rtol=0)
    np.testing.assert_allclose(out.std_error, 0, atol=1e-7)
    planned = esv_jax.explain(esv_jax.exact(), game, params, video, plan=esv_jax.exact().plan(T))
    np.testing.assert_allclose(planned.values, exact.values, atol=2e-6, rtol=0)


@each_game
@pytest.mark.parametrize("estimator", [esv_jax.orderings(max_evaluations=17), esv_jax.stratified(per_size=2)])
def test_the_full_score_is_the_models_own(case, estimator):
    game, params = case.make(np.float32)
    video = np.random.default_rng(2).normal(size=(8, D)).astype(np.float32)
    own = case.worth(video.astype(np.float64))(tuple(range(8)))
    for seed in range(3):
        out = esv_jax.explain(estimator, game, params, video, key=jax.random.key(seed))
        np.testing.assert_allclose(out.full, own, atol=2e-6)


@each_game_of_jax
def test_new_videos_params_and_a_game_made_again_trace_nothing(case):
    batch = videos(2, np.float32)

    def explain(seed):
        game, params = case.make(np.float32)
        params = jax.tree.map(lambda a: a + np.float32(seed), params)
        return esv_jax.explain(esv_jax.exact(), game, params, batch[seed])

    first = explain(0)
    compiled = explaining._explain_all._cache_size()
    second = explain(1)
    assert explaining._explain_all._cache_size() == compiled
    assert np.abs(first.values - second.values).max() > 1e-3


def test_a_sampled_plan_is_told_of_where_the_game_could_sum_over_all():
    game, params = GAMES["trn_game"].make(np.float32)
    video = np.random.default_rng(2).normal(size=(8, D)).astype(np.float32)
    estimator = esv_jax.recommended(max_evaluations=30)
    by_itself = esv_jax.explain(estimator, game, params, video, key=jax.random.key(0))
    assert (int(by_itself.num_evaluations), bool(by_itself.sampled)) == (255, False)
    planned = esv_jax.explain(estimator, game, params, video, plan=estimator.plan(8, key=jax.random.key(0)))
    assert bool(planned.sampled)
    assert int(planned.num_evaluations) <= 30

"""The joint game where every subset of up to M frames is evaluated first."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.games import any_coalition
from tests import oracles
from tests.contracts.cases import GAMES


@pytest.mark.parametrize("name", ["multiscale_game", "trn_game"])
def test_all_subsets_give_the_joint_worth_of_any_coalition(name):
    case = GAMES[name]
    make_all = _all_subsets(name)
    video = np.random.default_rng(4).normal(size=(6, 3)).astype(np.float32)
    game, params = make_all()
    worth = case.worth(video.astype(np.float64))
    out = esv_jax.explain(esv_jax.exact(), game, params, video)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, 6), atol=2e-6)
    # A sampled plan holds few children; the worths are exact all the same.
    estimator = esv_jax.stratified(per_size=4)
    plan = estimator.plan(num_frames=6, key=jax.random.key(0))
    subsets = {level.members.shape[1]: level.members for level in plan.levels} | {0: np.zeros((1, 0), int)}
    sampled = esv_jax.explain(estimator, game, params, video, plan=plan)
    np.testing.assert_allclose(sampled.values, oracles.cell_means(worth, subsets, 6), atol=2e-6)
    from_children = esv_jax.explain(estimator, case.make(np.float32)[0], params, video, plan=plan)
    assert np.abs(from_children.values - sampled.values).max() > 1e-3


def _all_subsets(name):
    from tests.contracts import cases

    case = GAMES[name]

    def make():
        _, params = case.make(np.float32)
        empty = cases.EMPTY.astype(np.float32)
        if name == "multiscale_game":
            return esv_jax.multiscale_game(cases._HEADS, empty=empty, all_subsets=True), params
        model = esv_jax.models.MultiscaleTRN(num_scales=3, hidden_dim=5, num_classes=cases.C)
        return esv_jax.trn_game(model, empty=empty, all_subsets=True), params

    return make


def test_too_many_subsets():
    game = esv_jax.multiscale_game([lambda p, c: c.sum(1)] * 8, empty=np.ones(3, np.float32), all_subsets=True)
    plan = esv_jax.stratified(per_size=2).plan(num_frames=40, key=jax.random.key(0))
    with pytest.raises(esv_jax.InputError, match="takes at most 1048576 of them, found 100146723 for 40 frames"):
        esv_jax.explain(esv_jax.stratified(per_size=2), game, None, np.ones((40, 3), np.float32), plan=plan)


@pytest.mark.parametrize("name", ["multiscale_game", "trn_game"])
def test_plans_without_children_take_all_subsets_by_themselves(name):
    video = np.random.default_rng(5).normal(size=(6, 3)).astype(np.float32)
    estimator = esv_jax.regression(max_evaluations=40)
    plan = estimator.plan(num_frames=6, key=jax.random.key(0))
    game, params = GAMES[name].make(np.float32)
    found = esv_jax.explain(estimator, game, params, video, plan=plan)
    wanted = esv_jax.explain(estimator, _all_subsets(name)()[0], params, video, plan=plan)
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-5)


def table_logits(tables, level):
    """f_s(R) from a table by the bits of R."""
    return tables[level.members.shape[1] - 1][(1 << level.members).sum(axis=1)]


def test_random_subsets_estimate_the_joint_logits_without_bias():
    tables = np.random.default_rng(6).normal(size=(3, 64, 2)).astype(np.float32)
    rows = 256
    for coalition in [(0, 1, 2, 4, 5), (1, 3), (2,)]:
        members = np.full((rows, 6), -1, np.int32)
        members[:, : len(coalition)] = coalition
        level = esv_jax.Level(jnp.asarray(members), np.zeros((rows, 0), np.int32))
        found = np.asarray(any_coalition.from_random_subsets(table_logits, jnp.asarray(tables), level, 3))
        sizes = range(1, min(len(coalition), 3) + 1)
        wanted = np.mean(
            [
                np.mean([tables[s - 1][sum(2**i for i in r)] for r in itertools.combinations(coalition, s)], axis=0)
                for s in sizes
            ],
            axis=0,
        )
        error = found.std(axis=0) / np.sqrt(rows)
        assert (np.abs(found.mean(axis=0) - wanted) < 4.5 * error + 1e-6).all()
        assert (len(coalition) == 1) == (error.max() < 1e-7)


def test_random_positions_are_different_and_all_alike():
    held = jnp.full((400, 1), 5, jnp.int32)
    drawn = np.asarray(any_coalition._positions(jax.random.key(0), held, 3)).reshape(-1, 3)
    assert (np.diff(drawn, axis=1) > 0).all()
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(found) == 10
    assert drawn.min() == 0
    assert drawn.max() == 4
    np.testing.assert_allclose(counts / len(drawn), 0.1, atol=0.015)


def test_more_frames_than_have_tables():
    game = esv_jax.multiscale_game([lambda p, c: jnp.tanh(c).mean(axis=1) * 3] * 8, empty=np.ones(3, np.float32) / 3)
    video = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)
    estimator = esv_jax.regression(max_evaluations=1000)
    out = esv_jax.explain(estimator, game, jnp.zeros(()), video, key=jax.random.key(0))
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-5)
    # All heads see a mean over frames, so that this game is the one of the mean over frames.
    mean = esv_jax.frame_mean_game(lambda p, x: jnp.tanh(x) * 3, empty=np.ones(3, np.float32) / 3)
    wanted = esv_jax.explain(estimator, mean, jnp.zeros(()), video, key=jax.random.key(1))
    error = np.asarray(out.values - wanted.values)
    assert (error**2).mean() < 0.1 * (np.asarray(wanted.values) ** 2).mean()

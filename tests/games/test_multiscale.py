"""The joint game where every subset of up to M frames is evaluated first."""

import jax
import numpy as np
import pytest

import esv_jax
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

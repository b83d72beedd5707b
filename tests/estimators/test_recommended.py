"""One rule which estimator to take: by players, budget, and whether the game sums over all coalitions itself."""

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import weights
from esv_jax.explaining.explain import is_exact
from tests.contracts.cases import GAMES, C

GAME = esv_jax.frame_mean_game(lambda params, video: video, empty=np.full(C, 1 / C, np.float32))
ONE_BY_ONE = GAME._replace(exact=None)


def logits(num_frames):
    return np.random.default_rng(3).normal(size=(num_frames, C)).astype(np.float32) * 2


@pytest.mark.parametrize(
    ("num_players", "options", "sums", "chosen"),
    [
        # The budget holds all 2^P - 1 coalitions.
        (6, {"max_evaluations": 63}, False, esv_jax.exact()),
        (12, {}, False, esv_jax.exact()),
        (16, {"max_evaluations": 2**16 - 1}, False, esv_jax.exact()),
        (20, {"max_evaluations": 2**20 - 1}, False, esv_jax.exact()),
        (21, {"max_evaluations": 2**21}, False, esv_jax.regression(max_evaluations=2**21)),
        # It does not, and the game sums over them all.
        (16, {}, True, esv_jax.exact()),
        (16, {"max_evaluations": 17}, True, esv_jax.exact()),
        (17, {}, True, esv_jax.surrogate(max_evaluations=4096)),
        (17, {"max_exact_frames": 17}, True, esv_jax.exact()),
        (12, {"max_evaluations": 100, "max_exact_frames": 8}, True, esv_jax.surrogate(max_evaluations=100)),
        # It does not, and the game asks for every one.
        (6, {"max_evaluations": 62}, False, esv_jax.surrogate(max_evaluations=62)),
        (13, {}, False, esv_jax.surrogate(max_evaluations=4096)),
        (16, {"max_exact_frames": 30}, False, esv_jax.surrogate(max_evaluations=4096)),
        (1000, {}, False, esv_jax.surrogate(max_evaluations=4096)),
        (64, {"max_evaluations": 2**18}, False, esv_jax.surrogate(max_evaluations=2**18)),
        (64, {"max_evaluations": 2**18 + 1}, False, esv_jax.regression(max_evaluations=2**18 + 1)),
        (20, {"max_evaluations": 40}, False, esv_jax.surrogate(max_evaluations=40)),
        (20, {"max_evaluations": 21}, False, esv_jax.surrogate(max_evaluations=21)),
        (20, {"max_evaluations": 21}, True, esv_jax.surrogate(max_evaluations=21)),
    ],
)
def test_which_it_takes(num_players, options, sums, chosen):
    estimator, game = esv_jax.recommended(**options), GAME if sums else ONE_BY_ONE
    video = np.zeros((num_players, C), np.float32)
    by_size = estimator.weights(num_players, sums)
    if chosen is esv_jax.exact():
        for found, expected in zip(by_size, weights.shapley(num_players), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert is_exact(estimator, game, num_players)
        out = jax.eval_shape(lambda: esv_jax.explain(estimator, game, None, video))
        assert out.values.shape == (num_players, C), "no key is needed"
        return
    assert by_size is None
    if num_players <= 100:
        with pytest.raises(esv_jax.InputError, match=r"needs key=jax\.random\.key\(seed\), found none"):
            esv_jax.explain(estimator, game, None, video)
    budget = options.get("max_evaluations", 4096)
    if budget < 2**20:
        plan = estimator.plan(num_players, key=jax.random.key(0))
        of_chosen = chosen.plan(num_players, key=jax.random.key(0))
        assert len(plan.mask) <= budget
        np.testing.assert_array_equal(plan.mask, of_chosen.mask)


@pytest.mark.parametrize("budget", [7, 20, 40])
def test_its_values_are_those_of_what_it_takes(budget):
    estimator, chosen = esv_jax.recommended(max_evaluations=budget), esv_jax.surrogate(max_evaluations=budget)
    mine, its = (esv_jax.explain(of, ONE_BY_ONE, None, logits(6), key=jax.random.key(0)) for of in (estimator, chosen))
    for found, expected in zip(mine, its, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(mine.values.sum(axis=0), mine.full - mine.empty, atol=1e-6)


def test_a_host_game_is_asked_for_a_plan_of_all_it_takes():
    game, params = GAMES["host_game"].make(np.float32)
    video = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    found = esv_jax.explain(esv_jax.recommended(), game, params, video)
    exact = esv_jax.explain(esv_jax.exact(), game, params, video)
    np.testing.assert_allclose(found.values, exact.values, atol=1e-7)
    assert not found.sampled

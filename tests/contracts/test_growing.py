"""The plan of a larger budget holds that of a smaller one of the same key: for every estimator that samples."""

import itertools

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.estimators import least_squares
from tests.contracts.cases import ESTIMATORS

SMALLEST = {
    "stratified": lambda num_players: esv_jax.stratified(per_size=5),
    "stratified_paired": lambda num_players: esv_jax.stratified_paired(per_size=2),
    "orderings": lambda num_players: esv_jax.orderings(max_evaluations=2 * num_players - 1),
    "regression": lambda num_players: esv_jax.regression(max_evaluations=3 * num_players),
    "surrogate": lambda num_players: esv_jax.surrogate(max_evaluations=num_players + 1),
    "recommended": lambda num_players: esv_jax.recommended(max_evaluations=num_players + 1),
    "subset_sums": lambda num_players: esv_jax.subset_sums(max_evaluations=12, num_scales=4),
}


def test_every_estimator_that_samples_is_here():
    sampling = {name.partition(",")[0] for name, case in ESTIMATORS.items() if not case.is_exact}
    assert set(SMALLEST) == sampling


@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize("num_players", [5, 6, 11, 16, 20])
def test_larger_plans_hold_smaller_ones(name, num_players):
    smallest = SMALLEST[name](num_players)
    for seed in range(3):
        key = jax.random.key(seed)
        plans = [smallest.plan(num_players, key=key)]
        start = len(plans[0].mask)
        for budget in sorted((start + 1, start + 2, start + 7, 2 * start, 3 * start - 1, 10 * start)):
            plans.append(smallest.grown(num_players, budget).plan(num_players, key=key))
            assert len(plans[-1].mask) <= budget or len(plans[-1].mask) == start
        assert len(plans[-1].mask) >= min(3 * start, 2**num_players - 1)
        for smaller, larger in itertools.pairwise(map(coalitions, plans)):
            assert smaller <= larger


def coalitions(plan):
    return {row.tobytes() for row in np.asarray(plan.mask)}


def test_pairs_of_the_fewest_evaluations_decide_the_additive_game():
    """So that those of more, which hold them, do."""
    for num_players, seed in itertools.product((2, 3, 4, 6, 8), range(40)):
        pairs = least_squares.least_pairs(num_players)
        plan = least_squares.plan(num_players, 2 * pairs + 1, jax.random.key(seed), "any")
        rows = np.asarray(plan.mask, float)
        assert np.linalg.matrix_rank(np.concatenate([rows[: len(rows) // 2], rows[-1:]])) == num_players

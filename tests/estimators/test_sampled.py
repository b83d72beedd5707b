"""The sampling estimators against definitions in float64, and where they become exact."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from tests import oracles
from tests.contracts import tables

T, C = 7, 3


def table_of(seed, num_players=T):
    return np.random.default_rng(seed).normal(size=(2**num_players, C))


def explain(estimator, table, plan):
    game, params = tables.clip_game(table)
    return esv_jax.explain(estimator, game, params, tables.video(plan.mask.shape[1]), plan=plan)


def rows_of(plan):
    """Row numbers of a plan's coalitions in a table."""
    return plan.mask @ 2 ** np.arange(plan.mask.shape[1])


@pytest.mark.parametrize(
    "estimator", [esv_jax.regression(max_evaluations=2**T - 1), esv_jax.stratified_paired(per_size=100)]
)
@pytest.mark.parametrize("num_players", [1, 2, 3, 6, 7])
def test_exact_when_the_budget_holds_everything(x64, estimator, num_players):
    table = table_of(0, num_players)
    out = explain(estimator, table, estimator.plan(num_players, key=jax.random.key(0)))
    oracle = oracles.permutation_shapley(lambda s: table[sum(2**i for i in s)], num_players)
    np.testing.assert_allclose(out.values, oracle, atol=1e-10)
    np.testing.assert_allclose(out.std_error, 0, atol=1e-10)


@pytest.mark.parametrize(("evaluations", "controlled"), [(59, False), (61, True)])
def test_regression_solves_the_constrained_least_squares(x64, evaluations, controlled):
    """With three pairs an unknown, sizes have unknowns too, of opposite signs for parts and what they leave."""
    estimator = esv_jax.regression(max_evaluations=evaluations)
    table = table_of(1)
    plan = estimator.plan(T, key=jax.random.key(3))
    out = explain(estimator, table, plan)
    mask, row = plan.mask[:-1].astype(float), rows_of(plan)[:-1]
    size = mask.sum(axis=1).astype(int)
    drawn = np.bincount(size, minlength=T + 1)
    # Kernel weight of a size, divided over the rows drawn of it. KKT system of: sum of values = full - empty.
    weight = 1 / (size * (T - size)) / drawn[size]
    if controlled:
        of_sizes = [(size == s).astype(float) - (size == T - s) for s in range(1, (T + 1) // 2)]
        mask = np.column_stack([mask, *of_sizes])
    unknowns = mask.shape[1]
    kkt = np.zeros((unknowns + 1, unknowns + 1))
    kkt[:unknowns, :unknowns] = mask.T @ (weight[:, None] * mask)
    kkt[unknowns, :T] = kkt[:T, unknowns] = 1
    total = table[-1] - table[0]
    right = np.concatenate([mask.T @ (weight[:, None] * (table[row] - table[0])), total[None]])
    np.testing.assert_allclose(out.values, np.linalg.solve(kkt, right)[:T], atol=1e-10)


@pytest.mark.parametrize("num_players", [6, 8, 9])
def test_regression_tells_all_players_apart_at_its_least_budget(num_players):
    """Of plans drawn once, one in thirty does not, and its equations have no solution."""
    estimator = esv_jax.regression(max_evaluations=3 * num_players)
    for seed in range(200):
        mask = estimator.plan(num_players, key=jax.random.key(seed)).mask
        assert np.linalg.matrix_rank(mask.astype(float)) == num_players


def test_orderings_average_what_players_add(x64):
    estimator = esv_jax.orderings(max_evaluations=6 * (T - 1) + 1)
    table = table_of(2)
    plan = estimator.plan(T, key=jax.random.key(4))
    out = explain(estimator, table, plan)
    assert plan.sizes == (6,) * (T - 1) + (1,)
    prefixes = plan.mask[:-1].reshape(T - 1, 6, T)
    added = np.zeros((6, T, C))
    for r in range(6):
        before = np.zeros(T, bool)
        for after in [*prefixes[:, r], plan.mask[-1]]:
            (player,) = np.flatnonzero(after & ~before)
            added[r, player] = table[after @ 2 ** np.arange(T)] - table[before @ 2 ** np.arange(T)]
            before = after
        assert prefixes[0, (r + 3) % 6, player], "row r + 3 is the reverse of row r"
    np.testing.assert_allclose(out.values, added.mean(axis=0), atol=1e-12)
    pairs = (added[:3] + added[3:]) / 2
    own = pairs.var(axis=0, ddof=1) / 3
    np.testing.assert_allclose(out.std_error, np.sqrt((3 * own + 4 * own.mean(axis=0)) / 7), atol=1e-12)


def test_a_single_pair_of_orderings_knows_no_error():
    estimator = esv_jax.orderings(max_evaluations=2 * (T - 1) + 1)
    out = explain(estimator, table_of(2).astype(np.float32), estimator.plan(T, key=jax.random.key(4)))
    assert np.isfinite(out.values).all()
    assert np.isposinf(out.std_error).all()


def test_orderings_of_children_stay_efficient_but_for_the_score_of_everyone(x64):
    """The worths are then estimates, and so is that of everyone; `full` is not."""
    params = np.random.default_rng(5).normal(size=(4, C))
    fns = [lambda p, clips: jnp.tanh(clips @ p).mean(axis=1), lambda p, clips: (clips[:, 0] - clips[:, 1]) @ p]
    video = np.random.default_rng(6).normal(size=(5, 4))
    estimator = esv_jax.orderings(max_evaluations=33)
    plan = estimator.plan(5, key=jax.random.key(0))
    game = esv_jax.multiscale_game(fns, empty=np.full(C, 1 / C))
    out = esv_jax.explain(estimator, game, params, video, plan=plan)
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-12)
    of_children = esv_jax.multiscale_game(fns, empty=np.full(C, 1 / C), all_subsets=False)
    estimate = esv_jax.explain(estimator, of_children, params, video, plan=plan)
    np.testing.assert_allclose(estimate.full, out.full, atol=1e-12)
    assert np.abs(estimate.values.sum(axis=0) - (estimate.full - estimate.empty)).max() > 1e-3


def test_stratified_paired_is_the_sum_of_cell_means(x64):
    estimator = esv_jax.stratified_paired(per_size=14)
    table = table_of(3)
    plan = estimator.plan(T, key=jax.random.key(5))
    out = explain(estimator, table, plan)
    subsets = {0: np.zeros((1, 0), int)}
    for size in range(1, T + 1):
        mask = plan.mask[plan.mask.sum(axis=1) == size]
        subsets[size] = np.nonzero(mask)[1].reshape(len(mask), size)
        assert size == T or ((mask.sum(axis=0) > 0).all() and (mask.sum(axis=0) < len(mask)).all()), "no empty cells"
    values = oracles.cell_means(lambda s: table[sum(2**i for i in s)], subsets, T)
    gap = table[-1] - table[0] - values.sum(axis=0)
    np.testing.assert_allclose(out.values, values + gap / T, atol=1e-12)


def test_stratified_paired_stays_finite_with_empty_cells():
    estimator = esv_jax.stratified_paired(per_size=2)
    out = explain(estimator, table_of(4, 12).astype(np.float32), estimator.plan(12, key=jax.random.key(6)))
    assert np.isfinite(out.values).all()
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-5)


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        (esv_jax.regression, ({"max_evaluations": 40}, {"max_evaluations": 61})),
        (esv_jax.stratified, ({"per_size": 3}, {"per_size": 3, "iterations": 2})),
        (esv_jax.subset_sums, ({"max_evaluations": 40, "num_scales": 3}, {"max_evaluations": 40, "num_scales": 2})),
    ],
)
def test_a_plan_of_other_options_is_refused(estimator, options):
    first, second = (estimator(**of_one) for of_one in options)
    plan = first.plan(T, key=jax.random.key(0))
    with pytest.raises(esv_jax.InputError, match=re.escape(f"{second.name}, found one made by {first.name}")):
        explain(second, table_of(5).astype(np.float32), plan)


@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True])
def test_counts(value):
    for make in (
        lambda: esv_jax.stratified(per_size=value),
        lambda: esv_jax.stratified(per_size=2, iterations=value),
        lambda: esv_jax.stratified_paired(per_size=value),
        lambda: esv_jax.orderings(max_evaluations=value),
        lambda: esv_jax.regression(max_evaluations=value),
        lambda: esv_jax.surrogate(max_evaluations=value),
        lambda: esv_jax.recommended(max_evaluations=value),
        lambda: esv_jax.recommended(max_exact_frames=value),
        lambda: esv_jax.subset_sums(max_evaluations=20, num_scales=value),
    ):
        with pytest.raises(esv_jax.InputError, match="should be an integer of at least 1, found"):
            make()


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (esv_jax.regression(max_evaluations=20), "at least 21 for 7 players, found 20"),
        (esv_jax.surrogate(max_evaluations=7), "at least 8 for 7 players, found 7"),
        (esv_jax.orderings(max_evaluations=12), "at least 13 for a pair of orderings of 7 frames, found 12"),
        (esv_jax.recommended(max_evaluations=7), "at least 8 for 7 frames, found 7"),
        (esv_jax.subset_sums(max_evaluations=5, num_scales=3), "at least 6 for 3 scales, found 5"),
    ],
)
def test_a_budget_too_small_is_refused(estimator, message):
    with pytest.raises(esv_jax.InputError, match=f"max_evaluations should be {message}"):
        estimator.plan(T, key=jax.random.key(0))


def test_iterations_pool_their_cells_and_lower_the_error():
    """Cells without a sample count as 0: in more draws there are fewer of them."""
    table = np.random.default_rng(0).uniform(size=(2**6, 1)).astype(np.float32)
    truth = oracles.permutation_shapley(lambda s: table[sum(2**i for i in s)], 6)

    def mean_square(iterations):
        estimator = esv_jax.stratified(per_size=5, iterations=iterations)
        plans = [estimator.plan(6, key=jax.random.key(seed)) for seed in range(20)]
        return np.mean([np.square(explain(estimator, table, plan).values - truth) for plan in plans])

    assert mean_square(8) < 0.3 * mean_square(1)

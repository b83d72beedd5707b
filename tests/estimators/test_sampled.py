"""The sampling estimators against definitions in float64, and where they become exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from tests import oracles

T, C = 7, 3


def read_table(table, clips):
    return table[clips[:, :, 0].astype(np.int32).sum(axis=1)]


def table_of(seed, num_frames=T):
    return np.random.default_rng(seed).normal(size=(2**num_frames, C))


def explain(estimator, table, plan, num_frames=T):
    game = esv_jax.clip_game(read_table, empty=table[0])
    return esv_jax.explain(estimator, game, table, 2.0 ** np.arange(num_frames)[:, None], plan=plan)


def coalitions(plan):
    """Rows bool [N, T] of a free plan, and their row numbers in a table."""
    inside = (plan.runs[0].members[0][:, :, None] == np.arange(T)).any(axis=1)
    return inside, inside @ 2 ** np.arange(T)


@pytest.mark.parametrize(
    "estimator", [esv_jax.regression(max_evaluations=2**T - 1), esv_jax.stratified_paired(per_size=100)]
)
@pytest.mark.parametrize("num_frames", [1, 2, 3, 6, 7])
def test_exact_when_the_budget_holds_everything(x64, estimator, num_frames):
    table = table_of(0, num_frames)
    plan = estimator.plan(num_frames, key=jax.random.key(0))
    out = explain(estimator, table, plan, num_frames)
    oracle = oracles.permutation_shapley(lambda s: table[sum(2**i for i in s)], num_frames)
    np.testing.assert_allclose(out.values, oracle, atol=1e-10)
    np.testing.assert_allclose(out.std_error, 0, atol=1e-10)


def test_regression_solves_the_constrained_least_squares(x64):
    estimator = esv_jax.regression(max_evaluations=61)
    table = table_of(1)
    plan = estimator.plan(T, key=jax.random.key(3))
    out = explain(estimator, table, plan)
    inside, row = coalitions(plan)
    inside, row = inside[:-1].astype(float), row[:-1]
    size = inside.sum(axis=1).astype(int)
    drawn = np.bincount(size, minlength=T + 1)
    # Kernel weight of a size, divided over the rows drawn of it. KKT system of: sum of values = full - empty.
    weight = 1 / (size * (T - size)) / drawn[size]
    kkt = np.zeros((T + 1, T + 1))
    kkt[:T, :T] = inside.T @ (weight[:, None] * inside)
    kkt[T, :T] = kkt[:T, T] = 1
    total = table[-1] - table[0]
    right = np.concatenate([inside.T @ (weight[:, None] * (table[row] - table[0])), total[None]])
    np.testing.assert_allclose(out.values, np.linalg.solve(kkt, right)[:T], atol=1e-10)


@pytest.mark.parametrize("num_frames", [6, 8, 9])
def test_regression_tells_all_frames_apart_at_its_least_budget(num_frames):
    """Of plans drawn once, one in thirty does not, and its equations have no solution."""
    estimator = esv_jax.regression(max_evaluations=3 * num_frames)
    for seed in range(200):
        level = estimator.plan(num_frames, key=jax.random.key(seed)).levels
        rows = np.concatenate([np.eye(num_frames)[part.members].sum(axis=1) for part in level])
        assert np.linalg.matrix_rank(rows) == num_frames


def test_orderings_average_what_frames_add(x64):
    estimator = esv_jax.orderings(max_evaluations=6 * (T - 1) + 1)
    table = table_of(2)
    plan = estimator.plan(T, key=jax.random.key(4))
    out = explain(estimator, table, plan)
    levels = plan.levels
    assert [len(level.members) for level in levels] == [6] * (T - 1) + [1]
    added = np.zeros((6, T, C))
    for r in range(6):
        before = set()
        for level in levels:
            members = set(level.members[r % len(level.members)].tolist())
            (frame,) = members - before
            added[r, frame] = table[sum(2**i for i in members)] - table[sum(2**i for i in before)]
            before = members
        reverse = levels[0].members[(r + 3) % 6, 0]
        assert reverse == frame, "row r + 3 is the reverse of row r"
    np.testing.assert_allclose(out.values, added.mean(axis=0), atol=1e-12)
    pairs = (added[:3] + added[3:]) / 2
    np.testing.assert_allclose(out.std_error, pairs.std(axis=0, ddof=1) / np.sqrt(3), atol=1e-12)


def test_orderings_suit_the_multiscale_game(x64):
    params = np.random.default_rng(5).normal(size=(4, C))
    fns = [lambda p, clips: jnp.tanh(clips @ p).mean(axis=1), lambda p, clips: (clips[:, 0] - clips[:, 1]) @ p]
    game = esv_jax.multiscale_game(fns, empty=np.full(C, 1 / C))
    video = np.random.default_rng(6).normal(size=(5, 4))
    out = esv_jax.explain(esv_jax.orderings(max_evaluations=200), game, params, video, key=jax.random.key(0))
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-12)


def test_stratified_paired_is_the_sum_of_cell_means(x64):
    estimator = esv_jax.stratified_paired(per_size=14)
    table = table_of(3)
    plan = estimator.plan(T, key=jax.random.key(5))
    out = explain(estimator, table, plan)
    inside, row = coalitions(plan)
    size = inside.sum(axis=1)
    values = np.zeros((T, C))
    for i in range(T):
        for k in range(1, T + 1):
            held = table[row[(size == k) & inside[:, i]]]
            rest = table[row[(size == k - 1) & ~inside[:, i]]] if k > 1 else table[:1]
            assert len(held), "choose a seed without empty cells for this test"
            assert len(rest), "choose a seed without empty cells for this test"
            values[i] += (held.mean(axis=0) - rest.mean(axis=0)) / T
    gap = table[-1] - table[0] - values.sum(axis=0)
    np.testing.assert_allclose(out.values, values + gap / T, atol=1e-12)


def test_stratified_paired_stays_finite_with_empty_cells():
    estimator = esv_jax.stratified_paired(per_size=2)
    table = table_of(4, 12).astype(np.float32)
    out = explain(estimator, table, estimator.plan(12, key=jax.random.key(6)), 12)
    assert np.isfinite(out.values).all()
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-5)


def test_a_plan_of_another_budget_is_refused():
    table = table_of(5).astype(np.float32)
    plan = esv_jax.regression(max_evaluations=40).plan(T, key=jax.random.key(0))
    with pytest.raises(esv_jax.InputError, match="made by this very estimator, with 61 coalitions, found 39"):
        explain(esv_jax.regression(max_evaluations=61), table, plan)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (esv_jax.regression(max_evaluations=20), "at least 21 for 7 frames, found 20"),
        (esv_jax.orderings(max_evaluations=12), "at least 13 for a pair of orderings of 7 frames, found 12"),
    ],
)
def test_a_budget_too_small_is_refused(estimator, message):
    with pytest.raises(esv_jax.InputError, match=message):
        estimator.plan(T, key=jax.random.key(0))

"""The contract of an estimator, on games given by a table of worths so that any game can be made."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax import estimators
from tests import oracles
from tests.contracts.cases import ESTIMATORS

T, C = 6, 3
each_estimator = pytest.mark.parametrize("case", ESTIMATORS.values(), ids=ESTIMATORS.keys())


def test_every_public_estimator_has_a_case():
    public = {name for name, value in vars(estimators).items() if callable(value) and not name.startswith("_")}
    assert set(ESTIMATORS) == public


def read_table(table, clips):
    """Worths [N, C] of clips whose single feature is the frame's bit in the table's row number."""
    return table[clips[:, :, 0].astype(jnp.int32).sum(axis=1)]


def frames(num_frames=T):
    return 2.0 ** np.arange(num_frames, dtype=np.float32)[:, None]


def explain(case, table, num_frames=T, seed=0):
    game = esv_jax.clip_game(read_table, empty=table[0])
    plan = case.estimator.plan(num_frames=num_frames, key=jax.random.key(seed))
    return esv_jax.explain(case.estimator, game, table, frames(num_frames), plan=plan)


def random_table(seed, num_frames=T):
    return np.random.default_rng(seed).uniform(size=(2**num_frames, C)).astype(np.float32)


def bit(frame):
    return np.arange(2**T) >> frame & 1 == 1


@each_estimator
def test_exact_estimators_match_the_permutation_oracle(case):
    table = random_table(0)
    oracle = oracles.permutation_shapley(lambda s: table[sum(2**i for i in s)], T)
    out = explain(case, table)
    error = np.abs(out.values - oracle)
    if case.is_exact:
        assert error.max() < 1e-6
    else:
        # Within five standard errors everywhere (and not just anything).
        assert (error < 5 * np.asarray(out.std_error) + 1e-6).all()
        assert error.max() < 0.2


@each_estimator
def test_efficiency(case):
    out = explain(case, random_table(1))
    gap = out.values.sum(axis=0) - (out.full - out.empty)
    if case.efficient:
        np.testing.assert_allclose(gap, 0, atol=2e-6)
    else:
        assert np.abs(gap).max() > 1e-4, "this estimator is efficient after all: say so in its case"


@each_estimator
def test_linearity_for_one_plan(case):
    if not case.linear:
        pytest.skip("the fit is chosen by the data")
    first, second = random_table(2), random_table(3)
    both = explain(case, 2 * first - 3 * second).values
    np.testing.assert_allclose(both, 2 * explain(case, first).values - 3 * explain(case, second).values, atol=2e-5)


@each_estimator
def test_null_player(case):
    table = random_table(4)
    table = np.where(bit(2)[:, None], table[np.arange(2**T) & ~4], table)
    out = explain(case, table)
    tolerance = 1e-6 + 5 * np.asarray(out.std_error)[2].max()
    assert np.abs(np.asarray(out.values[2])).max() < tolerance


@each_estimator
def test_symmetric_players(case):
    rows = np.arange(2**T)
    swapped = (rows & ~0b1001) | (rows & 1) << 3 | rows >> 3 & 1
    table = random_table(5)
    table = (table + table[swapped]) / 2
    out = explain(case, table)
    difference = np.abs(np.asarray(out.values[0] - out.values[3])).max()
    assert difference < (1e-6 if case.is_exact else 7 * np.asarray(out.std_error).max())


@each_estimator
def test_one_frame_gets_everything(case):
    table = random_table(6, num_frames=1)
    out = explain(case, table, num_frames=1)
    np.testing.assert_allclose(out.values[0], table[1] - table[0], atol=1e-6)
    np.testing.assert_array_equal(out.full, table[1])
    np.testing.assert_array_equal(out.empty, table[0])


@each_estimator
def test_a_game_linear_in_the_frames(case):
    # v(S) = sum of a_i over S: the value of a frame is a_i. All terms vanish but the sampling error.
    a = np.random.default_rng(7).normal(size=(T, C)).astype(np.float32)
    table = np.stack([bit(i) for i in range(T)], axis=1).astype(np.float32) @ a
    out = explain(case, table)
    tolerance = 2e-6 + 5 * np.asarray(out.std_error).max()
    np.testing.assert_allclose(out.values, a, atol=tolerance)


@each_estimator
def test_jit_vmap_and_new_plans_without_retracing(case):
    traces = []

    def predict(table, clips):
        traces.append(clips.shape)
        return read_table(table, clips)

    tables = np.stack([random_table(8), random_table(9)])
    game = esv_jax.clip_game(predict, empty=tables[0, 0])
    plans = [case.estimator.plan(num_frames=T, key=jax.random.key(s)) for s in range(3)]
    first = esv_jax.explain(case.estimator, game, tables[0], frames(), plan=plans[0])
    num_traces = len(traces)
    assert num_traces == T
    again = [esv_jax.explain(case.estimator, game, t, frames(), plan=p) for t in tables for p in plans]
    assert len(traces) == num_traces

    jitted = jax.jit(
        jax.vmap(lambda t, p: esv_jax.explain(case.estimator, game, t, frames(), plan=p), in_axes=(0, None))
    )
    for s, plan in enumerate(plans):
        out = jitted(tables, plan)
        for b in range(2):
            np.testing.assert_allclose(out.values[b], again[3 * b + s].values, atol=1e-6)
            np.testing.assert_allclose(out.std_error[b], again[3 * b + s].std_error, atol=1e-6)
    np.testing.assert_array_equal(first.values, again[0].values)


@each_estimator
def test_a_traced_key_is_refused_or_not_needed(case):
    table = random_table(10)
    game = esv_jax.clip_game(read_table, empty=table[0])

    def run(key):
        return esv_jax.explain(case.estimator, game, table, frames(), key=key)

    if case.is_exact:
        np.testing.assert_allclose(jax.jit(run)(jax.random.key(0)).values, run(jax.random.key(0)).values, atol=1e-6)
    else:
        with pytest.raises(esv_jax.InputError, match="make the plan first"):
            jax.jit(run)(jax.random.key(0))
        with pytest.raises(esv_jax.InputError, match="needs key"):
            run(None)


@each_estimator
def test_intervals_cover(case):
    """Share of cells whose 95 % interval holds the exact value: 40 plans of a game smooth in the coalition."""
    num_frames = 8
    logits = np.random.default_rng(11).normal(size=(num_frames, C)) * 2
    inside = (np.arange(2**num_frames)[:, None] >> np.arange(num_frames) & 1).astype(float)
    size = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    table = oracles.softmax(inside @ logits / size).astype(np.float32)
    exact = explain(ESTIMATORS["exact"], table, num_frames).values
    covered = []
    for seed in range(40):
        out = explain(case, table, num_frames, seed)
        covered.append(np.abs(out.values - exact) <= 1.96 * np.asarray(out.std_error) + 1e-6)
    low, high = case.coverage
    assert low <= np.mean(covered) <= high
    assert math.isfinite(np.mean(covered))

"""The contract of an estimator, on games given by a table of worths so that any game can be made."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import esv_jax
from tests import oracles
from tests.contracts import tables
from tests.contracts.cases import ESTIMATORS

T, C = 6, 3
# Of a cell's own standard error: a Student's t of some ten degrees of freedom is beyond it once in a thousand cells.
WIDE = 5
each_estimator = pytest.mark.parametrize("case", ESTIMATORS.values(), ids=ESTIMATORS.keys())


def test_every_exported_estimator_has_a_case():
    exported = {
        name for name, value in vars(esv_jax).items() if getattr(value, "__module__", "").startswith("esv_jax.estimat")
    }
    assert {name.partition(",")[0] for name in ESTIMATORS} == exported


def explain(case, table, num_players=T, seed=0):
    estimator = case.make(num_players)
    game, params = case.game(table)
    plan = estimator.plan(num_players=num_players, key=jax.random.key(seed))
    return esv_jax.explain(estimator, game, params, tables.video(num_players), plan=plan)


def random_table(seed, num_players=T):
    return np.random.default_rng(seed).uniform(size=(2**num_players, C)).astype(np.float32)


def bit(player):
    return np.arange(2**T) >> player & 1 == 1


@each_estimator
def test_values_match_the_permutation_oracle(case):
    table = random_table(0)
    oracle = oracles.permutation_shapley(lambda s: table[sum(2**i for i in s)], T)
    out = explain(case, table)
    error = np.abs(out.values - oracle)
    if case.is_exact:
        assert error.max() < 1e-6
    else:
        assert (error < WIDE * np.asarray(out.std_error) + 1e-6).all()
        assert error.max() < 0.25


@each_estimator
def test_it_tells_what_it_did(case):
    out = explain(case, random_table(0))
    plan = case.make(T).plan(T, key=jax.random.key(0))
    assert bool(out.sampled) != case.is_exact
    assert int(out.num_evaluations) == len(plan.mask) == sum(plan.sizes)
    np.testing.assert_array_equal(plan.mask.sum(axis=1), np.repeat(np.arange(1, T + 1), plan.sizes))
    assert plan.mask[-1].all()
    low, high = out.interval(0.5)
    degrees = float(out.degrees)
    if degrees == 0:
        assert np.isinf((high - low)[np.asarray(out.std_error) > 0]).all()
    else:
        # Where the middle is not the value the interval is stretched to hold it.
        quantile = stats.t.ppf(0.75, degrees)
        assert (np.asarray(high - low) >= 2 * quantile * np.asarray(out.std_error) * (1 - 1e-4) - 1e-7).all()
        np.testing.assert_allclose(
            high - low,
            np.maximum(out.values, out.middle + quantile * out.std_error)
            - np.minimum(out.values, out.middle - quantile * out.std_error),
            rtol=1e-4,
            atol=1e-7,
        )
    assert (low <= out.values).all()
    assert (out.values <= high).all()


@pytest.mark.parametrize(("mine", "other"), list(itertools.permutations(ESTIMATORS, 2)))
def test_a_plan_of_another_estimator_is_refused(mine, other):
    table = random_table(0)
    game, params = ESTIMATORS[mine].game(table)
    estimator, maker = ESTIMATORS[mine].make(T), ESTIMATORS[other].make(T)
    plan = maker.plan(T, key=jax.random.key(0))
    with pytest.raises(esv_jax.InputError, match=r"plan should be made by this estimator, .*, found one made by"):
        esv_jax.explain(estimator, game, params, tables.video(T), plan=plan)
    worths = jnp.zeros((len(plan.mask), C))
    with pytest.raises(esv_jax.InputError, match="plan should be made by this estimator"):
        estimator.estimate(plan, worths, worths, worths[0], lambda logits: logits)


@each_estimator
def test_efficiency(case):
    out = explain(case, random_table(1))
    gap = out.values.sum(axis=0) - (out.full - out.empty)
    if case.efficient:
        np.testing.assert_allclose(gap, 0, atol=2e-6)
    else:
        assert np.abs(gap).max() > 1e-4, "this estimator is efficient after all: say so in its case"


@pytest.mark.parametrize("case", [case for case in ESTIMATORS.values() if case.linear])
def test_linearity_for_one_plan(case):
    first, second = random_table(2), random_table(3)
    both = explain(case, 2 * first - 3 * second).values
    np.testing.assert_allclose(both, 2 * explain(case, first).values - 3 * explain(case, second).values, atol=2e-5)


@each_estimator
def test_null_player(case):
    table = random_table(4)
    table = np.where(bit(2)[:, None], table[np.arange(2**T) & ~4], table)
    out = explain(case, table)
    assert (np.abs(out.values[2]) < WIDE * np.asarray(out.std_error[2]) + 1e-6).all()


@each_estimator
def test_symmetric_players(case):
    rows = np.arange(2**T)
    swapped = (rows & ~0b1001) | (rows & 1) << 3 | rows >> 3 & 1
    table = random_table(5)
    table = (table + table[swapped]) / 2
    out = explain(case, table)
    # However correlated, a difference scatters no more than the sum of both errors.
    both = np.asarray(out.std_error[0] + out.std_error[3])
    assert (np.abs(out.values[0] - out.values[3]) < WIDE * both + 1e-6).all()


@each_estimator
def test_one_player_gets_everything(case):
    table = random_table(6, num_players=1)
    out = explain(case, table, num_players=1)
    np.testing.assert_allclose(out.values[0], table[1] - table[0], atol=1e-6)
    np.testing.assert_array_equal(out.full, table[1])
    np.testing.assert_array_equal(out.empty, table[0])


@each_estimator
def test_a_game_linear_in_the_players(case):
    # v(S) = sum of a_i over S: the value of a player is a_i. All terms vanish but the sampling error.
    a = np.random.default_rng(7).normal(size=(T, C)).astype(np.float32)
    table = np.stack([bit(i) for i in range(T)], axis=1).astype(np.float32) @ a
    out = explain(case, table)
    assert (np.abs(out.values - a) < WIDE * np.asarray(out.std_error) + 2e-6).all()


@each_estimator
def test_jit_vmap_and_new_plans_without_retracing(case):
    traces = []
    of_tables = [case.game(random_table(seed)) for seed in (8, 9)]
    game, params = of_tables[0][0], [params for _, params in of_tables]

    def counted(prepared, members):
        traces.append(members.shape)
        return of_tables[0][0].logits(prepared, members)

    game, estimator = game._replace(logits=counted), case.make(T)
    plans = [estimator.plan(num_players=T, key=jax.random.key(s)) for s in range(3)]
    first = esv_jax.explain(estimator, game, params[0], tables.video(T), plan=plans[0])
    num_traces = len(traces)
    assert num_traces >= T
    again = [esv_jax.explain(estimator, game, p, tables.video(T), plan=plan) for p in params for plan in plans]
    assert len(traces) == num_traces

    jitted = jax.jit(
        jax.vmap(lambda p, plan: esv_jax.explain(estimator, game, p, tables.video(T), plan=plan), in_axes=(0, None))
    )
    for s, plan in enumerate(plans):
        out = jitted(np.stack(params), plan)
        for b in range(2):
            np.testing.assert_allclose(out.values[b], again[3 * b + s].values, atol=1e-6)
            np.testing.assert_allclose(out.std_error[b], again[3 * b + s].std_error, atol=1e-6)
    np.testing.assert_array_equal(first.values, again[0].values)


@each_estimator
def test_a_traced_key_is_refused_or_not_needed(case):
    game, params = case.game(random_table(10))

    def run(key):
        return esv_jax.explain(case.make(T), game, params, tables.video(T), key=key)

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
    num_players = 8
    logits = np.random.default_rng(11).normal(size=(num_players, C)) * 2
    inside = (np.arange(2**num_players)[:, None] >> np.arange(num_players) & 1).astype(float)
    size = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    table = oracles.softmax(inside @ logits / size).astype(np.float32)
    exact = explain(ESTIMATORS["exact"], table, num_players).values
    covered = []
    for seed in range(40):
        out = explain(case, table, num_players, seed)
        covered.append(np.abs(out.values - exact) <= 1.96 * np.asarray(out.std_error) + 1e-6)
    low, high = case.coverage
    assert low <= np.mean(covered) <= high
    assert math.isfinite(np.mean(covered))

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.base import identity
from esv_jax.explaining import growing
from tests.contracts.cases import GAMES, D

T, CLASSES = 9, 3
LOGITS = np.random.default_rng(0).normal(size=(T, CLASSES)).astype(np.float32) * 2
ESTIMATOR = esv_jax.regression(max_evaluations=101)


def game():
    return esv_jax.frame_mean_game(lambda params, video: video, empty=np.full(CLASSES, 1 / CLASSES, np.float32))


def until(estimator=ESTIMATOR, video=LOGITS, **options):
    return esv_jax.explain_until(estimator, game(), jnp.zeros(()), video, key=jax.random.key(0), **options)


def test_budgets_double_up_to_the_last():
    assert growing.budgets(100, 100) == [100]
    assert growing.budgets(100, 101) == [100, 101]
    assert growing.budgets(100, 450) == [100, 200, 450]
    # No look at 508 just before that at 512.
    assert growing.budgets(127, 512) == [127, 254, 512]
    assert growing.budgets(128, 1024) == [128, 256, 512, 1024]


def test_it_is_one_plan_that_grows():
    reports = []
    out = until(max_evaluations=450, callback=reports.append)
    assert [report.evaluations for report in reports] == [101, 201, 449]
    assert [report.seconds for report in reports] == sorted(report.seconds for report in reports)
    for report, budget in zip(reports, (101, 202, 450), strict=True):
        one = esv_jax.explain(
            esv_jax.regression(max_evaluations=budget), game(), jnp.zeros(()), LOGITS, key=jax.random.key(0)
        )
        assert report.largest_std_error == pytest.approx(float(np.max(one.std_error)), rel=1e-4)
    np.testing.assert_allclose(out.values, one.values, atol=1e-6)
    np.testing.assert_allclose(out.std_error, one.std_error, rtol=1e-4)
    assert int(out.num_evaluations) == int(one.num_evaluations)
    assert float(out.widened) == 1, "nothing depended on what was seen"
    np.testing.assert_allclose(until(max_evaluations=450).values, out.values, atol=1e-6)


def test_it_stops_at_the_target_with_intervals_for_all_looks_that_might_have_been():
    reports = []
    until(max_evaluations=510, callback=reports.append)
    largest = [report.largest_std_error for report in reports]
    stopped = []
    target = (largest[0] + largest[1]) / 2
    out = until(max_evaluations=510, target_std_error=target, callback=stopped.append)
    assert [report.evaluations for report in stopped] == [101, 201]
    assert len(reports) == 3
    assert np.max(out.std_error) <= target
    # Three independent looks: .95 = .98305^3, and a normal is within 2.3877 with a chance of .98305.
    assert float(out.widened) == pytest.approx(2.3877 / 1.95996, abs=1e-4)
    one = out._replace(widened=1.0)
    assert (np.asarray(out.interval()[1]) > np.asarray(one.interval()[1])).all()


@pytest.mark.parametrize("num_looks", [2, 4, 8])
def test_widened_intervals_hold_at_all_looks(num_looks):
    """Means of ever twice as many normal numbers."""
    rng = np.random.default_rng(0)
    count = 2 ** np.arange(num_looks)
    added = np.diff(count, prepend=0)
    steps = rng.normal(size=(100_000, num_looks)) * np.sqrt(added)
    z = steps.cumsum(axis=1) / np.sqrt(count)
    missed = (np.abs(z) > 1.95996 * growing.widening(num_looks, 0.95)).any(axis=1).mean()
    assert 0.035 < missed <= 0.05
    assert (np.abs(z) > 1.95996).any(axis=1).mean() > 0.08


@pytest.mark.parametrize("name", [name for name in sorted(GAMES) if "of children" not in name])
@pytest.mark.parametrize("make", [esv_jax.orderings, esv_jax.regression])
def test_only_new_coalitions_are_asked_for(name, make):
    a_game, params = GAMES[name].make(np.float32)
    video = np.random.default_rng(1).normal(size=(7, D)).astype(np.float32)
    reports = []
    options = {"key": jax.random.key(2), "max_evaluations": 100}
    found = esv_jax.explain_until(make(max_evaluations=25), a_game, params, video, callback=reports.append, **options)
    plan = make(max_evaluations=100).plan(7, key=jax.random.key(2))
    assert reports[-1].evaluations == len(np.unique(np.asarray(plan.mask), axis=0))
    one = esv_jax.explain(make(max_evaluations=100), a_game, params, video, plan=plan)
    np.testing.assert_allclose(found.values, one.values, atol=1e-5)
    np.testing.assert_allclose(found.full, one.full, atol=1e-6)


def test_a_host_game_never_sees_a_coalition_twice():
    seen = []

    def logits(prepared, mask):
        seen.extend(row.tobytes() for row in mask)
        return mask.astype(np.float32) @ LOGITS

    host = esv_jax.Game(np.zeros(CLASSES, np.float32), lambda params, video: None, logits, identity, esv_jax.Host())
    out = esv_jax.explain_until(
        ESTIMATOR, host, None, LOGITS, key=jax.random.key(0), max_evaluations=450, callback=lambda report: None
    )
    assert len(seen) == len(set(seen)) == int(out.num_evaluations) == 449
    np.testing.assert_allclose(out.values, LOGITS, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "estimator"),
    [
        ("multiscale_game, of children", esv_jax.orderings(max_evaluations=25)),
        ("multiscale_game, of scores", esv_jax.subset_sums(max_evaluations=12, num_scales=3)),
    ],
)
def test_plans_that_are_asked_for_anew(name, estimator):
    a_game, params = GAMES[name].make(np.float32)
    video = np.random.default_rng(1).normal(size=(7, D)).astype(np.float32)
    reports = []
    options = {"key": jax.random.key(2), "max_evaluations": 50}
    found = esv_jax.explain_until(estimator, a_game, params, video, callback=reports.append, **options)
    larger = estimator.grown(7, 50)
    one = esv_jax.explain(larger, a_game, params, video, key=jax.random.key(2))
    np.testing.assert_allclose(found.values, one.values, atol=1e-6)
    assert reports[-1].evaluations == int(found.num_evaluations) <= 2 * 50


def test_exact_estimators_run_once():
    reports = []
    out = until(esv_jax.recommended(), max_evaluations=5000, callback=reports.append)
    exact = esv_jax.explain(esv_jax.exact(), game(), jnp.zeros(()), LOGITS)
    np.testing.assert_allclose(out.values, exact.values, atol=1e-6)
    assert [report[:2] for report in reports] == [(2**T - 1, 0.0)]


def test_evaluations_are_never_exceeded():
    """Plans of `stratified` have more or fewer rows with the key."""
    reports = []
    until(esv_jax.stratified(per_size=10), LOGITS[:8], max_evaluations=333, callback=reports.append)
    evaluations = [report.evaluations for report in reports]
    assert evaluations == sorted(evaluations)
    assert evaluations[-1] <= 333
    assert len(reports) > 2


def test_nan_stops_it():
    reports = []
    video = np.where(np.arange(T)[:, None] == 2, np.nan, LOGITS)
    out = until(ESTIMATOR, video, max_evaluations=10_000, callback=reports.append)
    assert len(reports) == 1
    assert np.isnan(out.values).all()


def test_exact_estimators_need_no_plan():
    num_frames = 21  # more than a plan of all coalitions may have
    video = np.tile(LOGITS, (3, 1))[:num_frames]
    out = until(esv_jax.exact(), video, max_evaluations=2**21)
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-5)
    assert np.max(out.std_error) == 0


@pytest.mark.parametrize("key", [None, 0, jax.random.split(jax.random.key(0), 3)])
def test_keys(key):
    with pytest.raises(esv_jax.InputError, match="key"):
        esv_jax.explain_until(ESTIMATOR, game(), jnp.zeros(()), LOGITS, key=key, max_evaluations=200)


def test_mistakes_are_told():
    with pytest.raises(
        esv_jax.InputError, match=r"video should have shape \[T, ...\] with at least one frame, found \[\]"
    ):
        until(ESTIMATOR, np.float32(1), max_evaluations=200)
    with pytest.raises(esv_jax.InputError, match="at least 101, which one run takes, found 100"):
        until(max_evaluations=100)
    with pytest.raises(esv_jax.InputError, match="target_std_error should be positive, found 0"):
        until(max_evaluations=1000, target_std_error=0.0)
    with pytest.raises(esv_jax.InputError, match="cannot go on with a larger plan"):
        until(ESTIMATOR._replace(grown=None), max_evaluations=1000)

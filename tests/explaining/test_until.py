import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax

T, C = 9, 3
LOGITS = np.random.default_rng(0).normal(size=(T, C)).astype(np.float32) * 2
ESTIMATOR = esv_jax.regression(max_evaluations=101)


def game():
    return esv_jax.frame_mean_game(lambda params, video: video, empty=np.full(C, 1 / C, np.float32))


def until(**options):
    return esv_jax.explain_until(ESTIMATOR, game(), jnp.zeros(()), LOGITS, key=jax.random.key(0), **options)


def test_it_uses_up_its_evaluations_and_reports_them():
    reports = []
    out = until(max_evaluations=450, callback=reports.append)
    # 50 pairs and the whole video a run.
    assert [report.evaluations for report in reports] == [101, 202, 303, 404]
    assert [report.seconds for report in reports] == sorted(report.seconds for report in reports)
    assert reports[-1].largest_std_error == pytest.approx(float(np.max(out.std_error)))
    runs = [
        esv_jax.explain(ESTIMATOR, game(), jnp.zeros(()), LOGITS, key=jax.random.fold_in(jax.random.key(0), run))
        for run in range(4)
    ]
    np.testing.assert_allclose(out.values, np.mean([run.values for run in runs], axis=0), atol=1e-6)
    error = np.sqrt(np.sum([np.asarray(run.std_error) ** 2 for run in runs], axis=0)) / 4
    np.testing.assert_allclose(out.std_error, error, rtol=1e-5)
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-6)


def test_it_stops_at_the_target():
    reports = []
    until(max_evaluations=10_000, callback=reports.append)
    largest = [report.largest_std_error for report in reports]
    target = (largest[4] + largest[5]) / 2
    stopped = []
    out = until(max_evaluations=10_000, target_std_error=target, callback=stopped.append)
    assert len(stopped) == next(turn for turn, error in enumerate(largest, start=1) if error <= target)
    assert 1 < len(stopped) < len(reports)
    assert np.max(out.std_error) <= target


def test_exact_estimators_run_once():
    reports = []
    out = esv_jax.explain_until(
        esv_jax.recommended(),
        game(),
        jnp.zeros(()),
        LOGITS,
        key=jax.random.key(0),
        max_evaluations=5000,
        callback=reports.append,
    )
    exact = esv_jax.explain(esv_jax.exact(), game(), jnp.zeros(()), LOGITS)
    np.testing.assert_allclose(out.values, exact.values, atol=1e-6)
    assert [report[:2] for report in reports] == [(2**T - 1, 0.0)]


def test_evaluations_are_never_exceeded():
    """Plans of `stratified` have more or fewer rows with the key."""
    reports = []
    esv_jax.explain_until(
        esv_jax.stratified(per_size=10),
        game(),
        jnp.zeros(()),
        LOGITS[:8],
        key=jax.random.key(0),
        max_evaluations=333,
        callback=reports.append,
    )
    assert 333 - 70 < reports[-1].evaluations <= 333
    assert len({b.evaluations - a.evaluations for a, b in itertools.pairwise(reports)}) > 1


def test_nan_stops_it():
    reports = []
    out = esv_jax.explain_until(
        ESTIMATOR,
        game(),
        jnp.zeros(()),
        np.where(np.arange(T)[:, None] == 2, np.nan, LOGITS),
        key=jax.random.key(0),
        max_evaluations=10_000,
        callback=reports.append,
    )
    assert len(reports) == 1
    assert np.isnan(out.values).all()


def test_exact_estimators_need_no_plan():
    num_frames = 21  # more than a plan of all coalitions may have
    video = np.tile(LOGITS, (3, 1))[:num_frames]
    out = esv_jax.explain_until(
        esv_jax.exact(), game(), jnp.zeros(()), video, key=jax.random.key(0), max_evaluations=2**21
    )
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
        esv_jax.explain_until(
            ESTIMATOR, game(), jnp.zeros(()), np.float32(1), key=jax.random.key(0), max_evaluations=200
        )
    with pytest.raises(esv_jax.InputError, match="at least 101, which one run takes, found 100"):
        until(max_evaluations=100)
    with pytest.raises(esv_jax.InputError, match="target_std_error should be positive, found 0"):
        until(max_evaluations=1000, target_std_error=0.0)

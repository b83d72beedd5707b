"""Every statistic against its definition, a loop at a time, or SciPy's."""

import numpy as np
import pytest
import scipy.stats

from esv_jax.checks import InputError
from esv_jax.metrics import agreement, bootstrap, duplicates, evidence, removal, summary

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 30, 7))
# With ties, as methods that give zeros have.
TIED = RNG.integers(0, 3, (30, 7)).astype(float) + 10.0 * (np.arange(7) == 3)
EVIDENCE = RNG.random((30, 7)) < 0.5
EVIDENCE[0], EVIDENCE[1] = True, False


def test_correlations_are_scipys():
    for x, y in ((A, B), (A, TIED)):
        pearson = [scipy.stats.pearsonr(a, b).statistic for a, b in zip(x, y, strict=True)]
        spearman = [scipy.stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
        np.testing.assert_allclose(agreement.pearson(x, y), pearson, atol=1e-12)
        np.testing.assert_allclose(agreement.spearman(x, y), spearman, atol=1e-12)
    assert np.isnan(agreement.pearson(A[0], np.full(7, 0.1)))
    assert np.isnan(agreement.spearman(A[0], np.zeros(7)))


def test_signs_and_tops():
    a, b = np.array([[1.0, -1, 0, 2], [1, 2, 3, 4]]), np.array([[2.0, 1, -1, 1], [1, 2, 3, -4]])
    np.testing.assert_array_equal(agreement.sign_agreement(a, b), [0.75, 0.75])
    np.testing.assert_array_equal(agreement.top_agreement(a, b), [0, 0])
    np.testing.assert_array_equal(agreement.top_agreement(a, 3 * a), [1, 1])


@pytest.mark.parametrize("values", [A, TIED], ids=["distinct", "tied"])
def test_evidence_by_definition(values):
    found = evidence.auroc(values, EVIDENCE)
    precision = evidence.average_precision(values, EVIDENCE)
    mass = evidence.mass_inside(np.abs(values), EVIDENCE)
    for n, (v, e) in enumerate(zip(values, EVIDENCE, strict=True)):
        if e.all() or not e.any():
            assert np.isnan([found[n], precision[n], mass[n], evidence.chance_mass(EVIDENCE)[n]]).all()
            continue
        u = scipy.stats.mannwhitneyu(v[e], v[~e], method="asymptotic").statistic
        np.testing.assert_allclose(found[n], u / (e.sum() * (~e).sum()))
        # The area under the steps of precision against recall, thresholds falling.
        area, recall = 0.0, 0.0
        for threshold in sorted(set(v), reverse=True):
            chosen = v >= threshold
            area += (e[chosen].sum() / e.sum() - recall) * e[chosen].mean()
            recall = e[chosen].sum() / e.sum()
        np.testing.assert_allclose(precision[n], area)
        np.testing.assert_allclose(mass[n], sum(abs(v[i]) for i in range(7) if e[i]) / abs(v).sum())
    np.testing.assert_allclose(evidence.mass_inside(np.ones(7), EVIDENCE[5]), evidence.chance_mass(EVIDENCE[5]))
    assert np.isnan(evidence.mass_inside(np.zeros(7), EVIDENCE[5]))


def test_removal_order_and_what_is_left():
    values = np.array([0.3, -1.0, 0.5, 0.3])
    np.testing.assert_array_equal(removal.order(values, highest_first=True), [2, 0, 3, 1])
    np.testing.assert_array_equal(removal.order(values, highest_first=False), [1, 0, 3, 2])
    left = removal.kept(removal.order(values, highest_first=True))
    np.testing.assert_array_equal(left, [[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 0, 1], [0, 1, 0, 0]])
    batch = removal.kept(removal.order(A, highest_first=False))
    for row, rows in zip(A, batch, strict=True):
        for gone in range(7):
            assert set(np.flatnonzero(~rows[gone])) == set(np.argsort(row)[:gone])
    np.testing.assert_array_equal(
        removal.supporting(np.stack([values, -1 - abs(values)])), [[1, 0, 1, 1], [1, 0, 0, 0]]
    )


def test_areas_and_what_scores_say():
    np.testing.assert_allclose(removal.area(np.array([[1.0, 0.5, 0.0], [1, 1, 1]])), [0.5, 1])
    by_hand = [sum((b[i] + b[i + 1]) / 2 for i in range(6)) / 6 for b in B]
    np.testing.assert_allclose(removal.area(B), by_hand, rtol=1e-12)
    assert removal.area(np.array([0.7])) == 0.7
    scores, label = RNG.random((5, 3, 4)), np.array([0, 1, 2, 3, 0])
    for b in range(5):
        np.testing.assert_array_equal(removal.is_right(scores, label)[b], scores[b].argmax(axis=-1) == label[b])
        np.testing.assert_array_equal(removal.of_class(scores, label)[b], scores[b, :, label[b]])


def test_bootstrap_covers_as_it_should():
    """Means of 40 numbers of a skewed distribution with mean 1; 95 % of intervals would hold it, for n large."""
    rng = np.random.default_rng(1)
    found = bootstrap.interval(rng.exponential(size=(40, 400)), seed=2)
    assert found.mean.shape == (400,)
    covered = ((found.low <= 1) & (found.high >= 1)).mean()
    assert 0.88 < covered < 0.97
    values = rng.normal(size=(50, 2))
    np.testing.assert_allclose(
        bootstrap.interval(values).high - bootstrap.interval(values).low,
        2 * 1.96 * values.std(axis=0) / np.sqrt(50),
        rtol=0.12,
    )
    np.testing.assert_array_equal(bootstrap.interval(values, seed=3).low, bootstrap.interval(values, seed=3).low)


def test_bootstrap_refuses_what_has_no_mean():
    with pytest.raises(InputError, match="at least one video"):
        bootstrap.interval(np.zeros((0, 2)))
    with pytest.raises(InputError, match="finite"):
        bootstrap.interval(np.array([1.0, np.nan]))


def test_repeated_frames():
    videos = np.arange(8.0).reshape(2, 4, 1)
    longer, copies = duplicates.repeat_frame(videos, np.array([0, 3]), 3)
    np.testing.assert_array_equal(longer[..., 0], [[0, 0, 0, 1, 2, 3], [4, 5, 6, 7, 7, 7]])
    np.testing.assert_array_equal(copies, [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    same, one = duplicates.repeat_frame(videos, np.array([1, 2]), 1)
    np.testing.assert_array_equal(same, videos)
    np.testing.assert_array_equal(one, [[0, 1, 0, 0], [0, 0, 1, 0]])


def test_summaries():
    values = np.array([[1.0, -1, 0, 3], [-1, -1, -1, -1]])
    np.testing.assert_array_equal(summary.supporting_share(values), [0.5, 0])
    np.testing.assert_allclose(summary.centre_of_mass(values), [(1 * 0.125 + 3 * 0.875) / 4, 0.5])
    scores = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.1, 0.7, 0.2]])
    np.testing.assert_array_equal(summary.best_besides(scores, np.array([0, 1, 2])), [2, 2, 0])
    np.testing.assert_array_equal(summary.best_besides(scores[:, :2], np.array([0, 1, 1])), [0, 0, 0])


@pytest.mark.parametrize("size", [0.0, 0.02, 0.2])
def test_the_interval_of_a_statistic_covers(size):
    """The mean of |gaps| of few videos is above that of many, most of all where these are 0."""
    rng = np.random.default_rng(0)
    covered, runs = 0, 80
    for _ in range(runs):
        gaps = rng.normal(np.tile([size, -size], 5)[:, None], 0.2, (10, 50)).T
        found = bootstrap.interval_of(lambda mean: np.abs(mean).sum(axis=-1) / 2, gaps, resamples=300)
        assert found.mean == pytest.approx(np.abs(gaps.mean(axis=0)).sum() / 2)
        assert 0 <= found.low <= found.mean <= found.high
        covered += found.low <= 5 * size <= found.high
    assert covered >= 0.93 * runs

import numpy as np
import pytest

from esv_jax import InputError
from esv_jax.metrics.calibration import brier_score, calibration_error
from tests.oracles import softmax

RNG = np.random.default_rng(0)


def examples(count, num_classes, sharpness):
    probability = softmax(sharpness * RNG.normal(size=(count, num_classes)))
    return probability, RNG.integers(0, num_classes, count)


def brute_force_error(probability, label, num_bins):
    """By the definition: sum over bins of their share times |accuracy - confidence|."""
    total = 0.0
    for b in range(num_bins):
        confidences, hits = [], []
        for row, true in zip(probability, label, strict=True):
            top = max(row)
            if b / num_bins < top <= (b + 1) / num_bins:
                confidences.append(top)
                hits.append(list(row).index(top) == true)
        if hits:
            total += len(hits) / len(label) * abs(np.mean(hits) - np.mean(confidences))
    return total


@pytest.mark.parametrize("num_bins", [1, 4, 15])
@pytest.mark.parametrize(("count", "num_classes", "sharpness"), [(1, 3, 1), (200, 2, 1), (500, 7, 3), (300, 5, 30)])
def test_as_by_its_definition(count, num_classes, sharpness, num_bins):
    probability, label = examples(count, num_classes, sharpness)
    expected = brute_force_error(probability, label, num_bins)
    np.testing.assert_allclose(calibration_error(probability, label, num_bins), expected, atol=1e-12)
    if num_bins == 15:
        assert calibration_error(probability, label) == calibration_error(probability, label, 15)
    squares = [
        sum((p - (c == true)) ** 2 for c, p in enumerate(row)) for row, true in zip(probability, label, strict=True)
    ]
    np.testing.assert_allclose(brier_score(probability, label), np.mean(squares), rtol=1e-12)


def test_known_cases():
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert calibration_error(sure, np.array([0, 1, 2, 0])) == 0
    assert brier_score(sure, np.array([0, 1, 2, 0])) == 0
    assert calibration_error(sure, np.array([1, 2, 0, 1])) == 1
    assert brier_score(sure, np.array([1, 2, 0, 1])) == 2
    even = np.full((4, 2), 0.5)  # half of them right, as they say
    assert calibration_error(even, np.array([0, 1, 0, 1])) == 0
    assert brier_score(even, np.array([0, 1, 0, 1])) == 0.5


def test_a_classifier_that_says_the_truth_is_calibrated():
    probability, _ = examples(40_000, 4, 2)
    label = (probability.cumsum(axis=1) < RNG.random(len(probability))[:, None]).sum(axis=1).clip(max=3)
    assert calibration_error(probability, label) < 0.015
    sharper = probability**3 / (probability**3).sum(axis=1, keepdims=True)
    assert calibration_error(sharper, label) > 0.1


def test_float32_of_a_device_is_taken():
    probability, label = examples(50, 3, 1)
    found = calibration_error(probability.astype(np.float32), label.astype(np.int32))
    np.testing.assert_allclose(found, brute_force_error(probability, label, 15), atol=1e-6)


@pytest.mark.parametrize(
    ("probability", "label", "message"),
    [
        (np.ones(3), np.zeros(3, int), "probability should have shape"),
        (np.full((2, 2), np.nan), np.zeros(2, int), "probability should be finite"),
        (np.ones((2, 2)), np.zeros(3, int), "label should have shape"),
        (np.ones((0, 2)), np.zeros(0, int), "N at least 1"),
        (np.ones((2, 2)), np.zeros(2), "label should be integers"),
        (np.ones((2, 2)), np.array([0, 2]), "label should be in 0..1, found 2"),
        (np.ones((2, 2)), np.array([0, -1]), "label should be in 0..1, found -1"),
    ],
)
def test_mistakes(probability, label, message):
    for metric in (calibration_error, brier_score):
        with pytest.raises(InputError, match=message):
            metric(probability, label)


def test_no_bins():
    with pytest.raises(InputError, match="num_bins should be an integer of at least 1"):
        calibration_error(np.ones((1, 1)), np.zeros(1, int), 0)

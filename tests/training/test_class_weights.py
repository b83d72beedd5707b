import numpy as np
import pytest

from esv_jax.training import class_weights


def labels(*counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("counts", [(10, 10), (10, 10, 2), (5, 25, 25), (0, 10, 9), (7,)])
def test_no_weights_where_no_class_is_rare(counts):
    assert class_weights.weights(labels(*counts), len(counts)) is None


def test_rare_classes_count_as_much_as_the_median_one():
    counts = np.array([100, 60, 8, 40])  # median 50
    found = class_weights.weights(labels(*counts), 4)
    expected = np.array([1, 1, 50 / 8, 50 / 40])
    expected = expected / ((expected * counts).sum() / counts.sum())
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose((found * counts).sum() / counts.sum(), 1)


def test_no_clip_counts_more_than_ten_times_another_and_absent_classes_are_left_out():
    found = class_weights.weights(labels(1000, 0, 1, 800), 4)
    np.testing.assert_allclose(found[2] / found[0], 10)
    np.testing.assert_allclose(found[3], found[0])  # as the median of three classes, 800

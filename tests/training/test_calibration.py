import numpy as np
import pytest
from scipy import optimize

from esv_jax.metrics.calibration import calibration_error
from esv_jax.training import calibration, validation
from tests.oracles import softmax

RNG = np.random.default_rng(0)
SIZE = np.repeat([1, 2, 3], [3, 3, 1])


def scored(num_clips, sharpness):
    """Logits [n, 7, 4] that are `sharpness` [3] times too sure, by the number of frames, of the classes [n]."""
    label = RNG.integers(0, 4, num_clips)
    truth = 1.5 * RNG.normal(size=(num_clips, len(SIZE), 4)) + 2 * np.eye(4)[label][:, None]
    # Of this construction the posterior's logits are 2 / 1.5^2 times these.
    return truth * (2 / 1.5**2) * np.array(sharpness)[SIZE - 1][None, :, None], label


def test_temperatures_are_those_of_least_surprise():
    logits, label = scored(60, [4.0, 1.0, 0.3])
    found = calibration.fit(logits, SIZE, label)
    for k in (1, 2, 3):
        of_size = logits[:, k == SIZE].reshape(-1, 4)
        truth = np.repeat(label, (k == SIZE).sum())

        def nll(t, of_size=of_size, truth=truth):
            return -np.log(softmax(of_size / t)[np.arange(len(truth)), truth]).mean()

        expected = optimize.minimize_scalar(nll, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-7}).x
        np.testing.assert_allclose(found[k - 1], expected, rtol=1e-4)
    np.testing.assert_allclose(found, [4, 1, 0.3], rtol=0.5)


def test_temperatures_stay_within_bounds():
    label = np.array([0, 1, 2])
    right = 5 * np.eye(3)[:, None].repeat(len(SIZE), axis=1)
    np.testing.assert_allclose(calibration.fit(right, SIZE, label), calibration.LEAST, rtol=1e-6)
    np.testing.assert_allclose(calibration.fit(-right, SIZE, label), calibration.MOST, rtol=1e-6)


def test_they_help_a_model_that_is_too_sure():
    logits, label = scored(400, [3.0, 2.0, 3.0])
    found = calibration.calibrated(logits, SIZE, label)
    assert found.helps
    assert found.error_after < 0.5 * found.error_before
    np.testing.assert_allclose(found.temperature, calibration.fit(logits, SIZE, label))
    probability = softmax(logits)
    before = [
        calibration_error(probability[:, k == SIZE].reshape(-1, 4), np.repeat(label, (k == SIZE).sum()))
        for k in (1, 2, 3)
    ]
    np.testing.assert_allclose(found.error_before, np.mean(before))


def test_they_do_not_help_by_being_judged_on_what_they_were_fitted_on():
    """Half of the clips say that the model is far too sure, the others that it is not sure enough."""
    logits = np.tile(2 * np.eye(2)[0], (8, len(SIZE), 1))
    label = np.zeros(8, int)
    fold = np.random.default_rng(0).permutation(8) % 2
    label[fold == 1] = [0, 1, 0, 1]
    found = calibration.calibrated(logits, SIZE, label)
    assert not found.helps


def test_one_clip_is_too_few():
    assert calibration.calibrated(np.zeros((1, len(SIZE), 3)), SIZE, np.zeros(1, int)) is None


@pytest.mark.parametrize("size", [1, 3])
def test_divide(size):
    logits = RNG.normal(size=(2, len(SIZE), 4))
    found = calibration.divide(logits, SIZE, np.array([2.0, 3.0, 4.0]))
    np.testing.assert_allclose(found[:, size == SIZE], logits[:, size == SIZE] / (size + 1))
    assert validation.loss(found, SIZE, np.zeros(2, int)) > 0

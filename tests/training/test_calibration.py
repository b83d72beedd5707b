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


@pytest.mark.parametrize("num_clips", [3, 60, 2000])
def test_temperatures_are_those_of_least_surprise_under_the_prior(num_clips):
    logits, label = scored(num_clips, [4.0, 1.0, 0.3])
    found = calibration.fit(logits, SIZE, label)
    for k in (1, 2, 3):
        of_size = logits[:, k == SIZE].reshape(-1, 4)
        truth = np.repeat(label, (k == SIZE).sum())

        def objective(t, of_size=of_size, truth=truth):
            nll = -np.log(softmax(of_size / t)[np.arange(len(truth)), truth]).mean()
            return num_clips * nll + (1 / t - 1) ** 2 / (2 * 0.5**2)

        expected = optimize.minimize_scalar(objective, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-7}).x
        np.testing.assert_allclose(found[k - 1], expected, rtol=1e-4)
    if num_clips == 2000:
        np.testing.assert_allclose(found, [4, 1, 0.3], rtol=0.15)


def test_a_few_clips_that_are_all_right_do_not_make_it_sure():
    label = np.array([0, 1, 2])
    right = 2 * np.eye(3)[:, None].repeat(len(SIZE), axis=1)
    found = calibration.fit(right, SIZE, label)
    assert ((found > 0.5) & (found < 1)).all()
    # Thousands of them do.
    many = calibration.fit(np.tile(right, (4000, 1, 1)), SIZE, np.tile(label, 4000))
    assert (many < 0.25).all()


def test_temperatures_stay_within_bounds():
    label = np.tile([0, 1, 2], 10_000)
    wrong = -50 * np.tile(np.eye(3), (10_000, 1))[:, None].repeat(len(SIZE), axis=1)
    np.testing.assert_allclose(calibration.fit(wrong, SIZE, label), calibration.MOST, rtol=1e-6)


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
    np.testing.assert_allclose(found.loss_before, validation.loss(logits, SIZE, label))
    assert found.loss_after < found.loss_before


def test_they_are_not_kept_if_the_loss_is_higher():
    one = calibration.Calibration(np.ones(3), error_before=0.2, error_after=0.1, loss_before=0.5, loss_after=0.6)
    assert not one.helps
    assert one._replace(loss_after=0.4).helps
    assert not one._replace(error_after=0.3, loss_after=0.4).helps


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

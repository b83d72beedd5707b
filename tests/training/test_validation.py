import itertools
import math

import jax
import numpy as np
import pytest

from esv_jax.metrics.calibration import brier_score, calibration_error
from esv_jax.models import TSN, MultiscaleTRN
from esv_jax.training import validation
from tests.models.oracles import randomised
from tests.oracles import softmax

RNG = np.random.default_rng(0)


def test_few_subsets_are_all_of_them():
    shown = validation.subsets(3, 5)
    assert shown.mask.shape == (3, 31, 5)
    np.testing.assert_array_equal(shown.size, shown.mask.sum(axis=2)[0])
    for clip in shown.mask:
        assert len({tuple(row) for row in clip}) == 31


def test_of_many_as_many_random_ones_a_size(monkeypatch):
    monkeypatch.setattr(validation, "SUBSETS", 28_000)
    shown = validation.subsets(400, 7)
    assert np.bincount(shown.size).tolist() == [0, 7, 10, 10, 10, 10, 7, 1]
    assert (shown.mask.sum(axis=2) == shown.size[None]).all()
    assert len({tuple(rows.ravel()) for rows in shown.mask}) > 390  # every clip has its own
    often = shown.mask[:, shown.size == 3].mean(axis=(0, 1))
    np.testing.assert_allclose(often, 3 / 7, atol=0.04)
    np.testing.assert_array_equal(validation.subsets(400, 7).mask, shown.mask)


@pytest.mark.parametrize("model", [TSN(3), MultiscaleTRN(2, 5, 3, input_relu=True)], ids=["tsn", "trn"])
def test_logits_are_the_models_own(model):
    variables = randomised(jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 6), np.float32)))
    frames = RNG.normal(size=(validation.CLIPS_AT_ONCE + 3, 4, 6)).astype(np.float32)
    shown = validation.subsets(len(frames), 4)
    found = validation.logits(model, variables, frames, shown.mask)
    assert found.shape == (len(frames), 15, 3)
    apply = jax.jit(model.apply)
    for clip in (0, len(frames) - 1):
        for mask, logits in zip(shown.mask[clip], found[clip], strict=True):
            np.testing.assert_allclose(logits, apply(variables, frames[clip, mask]), rtol=1e-4, atol=1e-4)


def test_loss_and_figures_by_their_definitions():
    logits, label = 2 * RNG.normal(size=(20, 15, 3)), RNG.integers(0, 3, 20)
    size = validation.subsets(20, 4).size
    nll, right = {k: [] for k in range(1, 5)}, {k: [] for k in range(1, 5)}
    for (clip, n), k in itertools.product(itertools.product(range(20), range(15)), range(1, 5)):
        if size[n] == k:
            nll[k].append(-math.log(softmax(logits[clip, n])[label[clip]]))
            right[k].append(logits[clip, n].argmax() == label[clip])
    found = validation.figures(logits, size, label)
    np.testing.assert_allclose(found.nll, [np.mean(nll[k]) for k in range(1, 5)])
    np.testing.assert_allclose(found.accuracy, [np.mean(right[k]) for k in range(1, 5)])
    np.testing.assert_allclose(validation.loss(logits, size, label), found.nll.mean())
    for k in range(1, 5):
        probability = softmax(logits[:, size == k].reshape(-1, 3))
        truth = np.repeat(label, (size == k).sum())
        np.testing.assert_allclose(found.calibration_error[k - 1], calibration_error(probability, truth))
        np.testing.assert_allclose(found.brier[k - 1], brier_score(probability, truth))


def test_very_wide_logits():
    logits = np.array([[[1e4, 0.0], [-1e4, 0.0]]])
    np.testing.assert_allclose(validation.surprise(logits, np.array([0])), [[0, 1e4]])

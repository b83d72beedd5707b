import jax
import numpy as np
import pytest

from esv_jax.models import TSN, MultiscaleTRN
from esv_jax.training import standardise
from tests.models.oracles import float64, joint_logits, randomised, trn_logits

RNG = np.random.default_rng(0)
ROWS = (RNG.normal(size=(5000, 6)) * [1, 10, 0.1, 3, 1, 1] + [0, 100, 1, -5, 0, 2]).astype(np.float16)


@pytest.mark.parametrize("input_relu", [False, True])
def test_mean_and_scale_are_those_of_all_frames(input_relu):
    rows = ROWS.astype(np.float64)
    rows = np.maximum(rows, 0) if input_relu else rows
    found = standardise.scaling_of(ROWS, input_relu=input_relu)
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-10)
    expected = np.maximum(rows.std(axis=0), 0.01 * np.sqrt(rows.var(axis=0).mean()))
    np.testing.assert_allclose(found.scale, expected, rtol=1e-10)
    if not input_relu:
        np.testing.assert_allclose(found.scale, rows.std(axis=0), rtol=1e-10)


def test_features_that_hardly_vary_are_not_blown_up():
    rows = RNG.normal(size=(100, 3)) * [1, 1e-9, 0] + [0, 1, 2]
    found = standardise.scaling_of(rows)
    typical = np.sqrt(rows.var(axis=0).mean())
    np.testing.assert_allclose(found.scale[1:], 0.01 * typical, rtol=1e-12)
    still = standardise.scaling_of(np.full((4, 3), 7, np.float32))
    np.testing.assert_array_equal(still.scale, 1)
    np.testing.assert_array_equal(still.mean, 7)


@pytest.mark.parametrize("input_relu", [False, True])
@pytest.mark.parametrize(
    "model",
    [TSN(3), MultiscaleTRN(3, 5, 3), MultiscaleTRN(2, 5, 3, num_hidden_layers=2, batch_norm=True)],
    ids=["tsn", "trn", "trn with batch norm"],
)
def test_a_folded_head_says_of_features_what_the_head_says_of_scaled_ones(x64, model, input_relu):
    """By hand in float64: the features scaled first, and no ReLU behind that."""
    rows = ROWS.astype(np.float64)
    scaling = standardise.scaling_of(rows, input_relu=input_relu)
    variables = float64(randomised(jax.eval_shape(model.init, jax.random.key(0), rows[:1])))
    frames = rows[10:15]
    read = np.maximum(frames, 0) if input_relu else frames
    scaled = (read - scaling.mean) / scaling.scale
    if isinstance(model, TSN):
        expected = (scaled @ variables["params"]["kernel"] + variables["params"]["bias"]).mean(axis=0)
    else:

        def scale_logits(subset):
            name = f"scale_{len(subset)}"
            stats = variables["batch_stats"][name] if model.batch_norm else None
            return trn_logits(variables["params"][name], scaled[list(subset)], stats)

        expected = joint_logits(scale_logits, 5, model.num_scales)
    folded = standardise.folded(model, variables, scaling)
    found = model.clone(input_relu=input_relu).apply(folded, frames)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_float32_heads_lose_nothing_by_it():
    model = MultiscaleTRN(2, 5, 3)
    rows = ROWS.astype(np.float32)
    scaling = standardise.scaling_of(rows)
    variables = randomised(jax.eval_shape(model.init, jax.random.key(0), rows[:1]))
    scaled = ((rows[:4] - scaling.mean) / scaling.scale).astype(np.float32)
    folded = standardise.folded(model, variables, scaling)
    assert {leaf.dtype for leaf in jax.tree.leaves(folded)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(model.apply(folded, rows[:4]), model.apply(variables, scaled), rtol=1e-3, atol=1e-4)


def test_no_scaling_changes_nothing():
    model = TSN(3)
    variables = randomised(jax.eval_shape(model.init, jax.random.key(0), ROWS[:1]))
    folded = standardise.folded(model, variables, standardise.none(6))
    jax.tree.map(np.testing.assert_array_equal, folded, dict(variables))

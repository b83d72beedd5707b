import jax
import jax.numpy as jnp
import numpy as np
import pytest

from esv_jax import InputError
from esv_jax.models import TRN
from tests.models.oracles import float64, randomised, trn_logits

CLIPS = np.random.default_rng(0).normal(size=(4, 3, 5))
OPTIONS = [
    {},
    {"input_relu": True},
    {"num_hidden_layers": 3},
    {"batch_norm": True},
    {"batch_norm": True, "num_hidden_layers": 2, "input_relu": True},
]


def made(dtype=np.float64, **options):
    model = TRN(num_frames=3, hidden_dim=7, num_classes=4, **options)
    return model, randomised(jax.eval_shape(model.init, jax.random.key(0), CLIPS.astype(dtype)))


def expected_logits(variables, **options):
    variables = float64(variables)
    relu = options.get("input_relu", False)
    return np.array([trn_logits(variables["params"], clip, variables.get("batch_stats"), relu) for clip in CLIPS])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits(x64, options):
    model, variables = made(**options)
    out = jax.jit(model.apply)(variables, CLIPS)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out, expected_logits(variables, **options), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits_in_float32(options):
    model, variables = made(np.float32, **options)
    out = jax.jit(model.apply)(variables, CLIPS.astype(np.float32))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected_logits(variables, **options), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_clip_is_the_sum_of_its_frames_projections(x64, options):
    model, variables = made(**options)
    frames = CLIPS.reshape(-1, 5)
    shares = model.apply(variables, frames, method="project")
    assert shares.shape == (12, 3, 7)
    members = np.array([[0, 4, 9], [2, 3, 11]])
    pre = shares[members[:, 0], 0] + shares[members[:, 1], 1] + shares[members[:, 2], 2]
    np.testing.assert_allclose(
        model.apply(variables, pre, method="after_first"), model.apply(variables, frames[members]), rtol=1e-10
    )


def test_projections_in_order_are_those_that_coalitions_need(x64):
    model, variables = made()
    frames = CLIPS.reshape(-1, 5)
    shares = model.apply(variables, frames, method="project")
    in_order = model.apply(variables, frames, method="project_in_order")
    assert in_order.shape == (3, 10, 7)
    for p in range(3):
        np.testing.assert_allclose(in_order[p], shares[p : p + 10, p], rtol=1e-12)


def test_order_counts():
    model, variables = made(np.float32)
    clips = CLIPS.astype(np.float32)
    forth, back = (model.apply(variables, c) for c in (clips, clips[:, ::-1]))
    assert abs(forth - back).max() > 0.1


def test_batch_norm_in_training_uses_and_remembers_the_batch(x64):
    model, variables = made(batch_norm=True)
    out, updated = model.apply(variables, CLIPS, train=True, mutable=["batch_stats"])
    params = float64(variables)["params"]
    pre = np.einsum("nkd,kdh->nh", CLIPS, params["first"]["kernel"]) + params["first_bias"]
    mean, var = pre.mean(axis=0), pre.var(axis=0)
    x = (pre - mean) / np.sqrt(var + 1e-5) * params["norm_1"]["scale"] + params["norm_1"]["bias"]
    expected = np.maximum(x, 0) @ params["logits"]["kernel"] + params["logits"]["bias"]
    np.testing.assert_allclose(out, expected, rtol=1e-10)
    before, after = variables["batch_stats"]["norm_1"], updated["batch_stats"]["norm_1"]
    np.testing.assert_allclose(after["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-10)
    np.testing.assert_allclose(after["var"], 0.9 * before["var"] + 0.1 * var, rtol=1e-10)


def test_dropout_is_of_hidden_units_and_of_training_only():
    model, variables = made(np.float32, dropout=0.5)
    clip = np.repeat(CLIPS[:1].astype(np.float32), 300, axis=0)
    np.testing.assert_array_equal(np.ptp(model.apply(variables, clip), axis=0), 0)
    out = np.asarray(model.apply(variables, clip, train=True, rngs={"dropout": jax.random.key(0)}))
    params = float64(variables)["params"]
    pre = np.einsum("kd,kdh->h", CLIPS[0], params["first"]["kernel"]) + params["first_bias"]
    hidden = np.maximum(pre, 0) * 2
    subsets = np.array([[(n >> h) & 1 for h in range(7)] for n in range(128)])
    possible = subsets * hidden @ params["logits"]["kernel"] + params["logits"]["bias"]
    distance = abs(out[:, None] - possible[None]).max(axis=2)
    assert distance.min(axis=1).max() < 1e-4
    assert len({tuple(row) for row in out.round(4)}) == 2 ** int((hidden > 0).sum())


def test_learns_gradients_for_every_parameter():
    model, variables = made(np.float32, num_hidden_layers=2, batch_norm=True)
    squared = jax.jit(jax.grad(lambda v: jnp.square(model.apply(v, CLIPS.astype(np.float32))).sum()))
    gradient = squared(variables)["params"]
    assert all(abs(g).max() > 0 for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("options", "clips", "message"),
    [
        ({}, CLIPS[:, :2], r"clips should have shape \[N, 3, D\], found \[4, 2, 5\]"),
        ({}, CLIPS.astype(np.int32), "clips should be floating point|frames should be floating point"),
        ({"num_hidden_layers": 0}, CLIPS, "num_hidden_layers should be an integer of at least 1, found 0"),
        ({"hidden_dim": 0}, CLIPS, "hidden_dim should be an integer of at least 1, found 0"),
    ],
)
def test_mistakes(options, clips, message):
    with pytest.raises(InputError, match=message):
        TRN(**{"num_frames": 3, "hidden_dim": 7, "num_classes": 4, **options}).init(jax.random.key(0), clips)

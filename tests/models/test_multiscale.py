from pathlib import Path

import jax
import numpy as np
import pytest

from esv_jax import InputError
from esv_jax.models import MultiscaleTRN
from tests.models.oracles import float64, joint_logits, randomised, trn_logits

GOLDEN = Path(__file__).parent.parent / "golden"
FRAMES = np.random.default_rng(0).normal(size=(6, 5))


def made(dtype=np.float64, **options):
    model = MultiscaleTRN(num_scales=3, hidden_dim=7, num_classes=4, **options)
    return model, randomised(jax.eval_shape(model.init, jax.random.key(0), FRAMES[:1].astype(dtype)))


def expected_logits(variables, frames, input_relu=False):
    variables = float64(variables)
    stats = variables.get("batch_stats", {})

    def scale_logits(subset):
        name = f"scale_{len(subset)}"
        return trn_logits(variables["params"][name], frames[list(subset)], stats.get(name), input_relu)

    return joint_logits(scale_logits, len(frames), 3)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("options", [{}, {"batch_norm": True, "num_hidden_layers": 2, "input_relu": True}], ids=str)
def test_joint_logits(x64, num_frames, options):
    model, variables = made(**options)
    out = jax.jit(model.apply)(variables, FRAMES[:num_frames])
    assert out.dtype == np.float64
    expected = expected_logits(variables, FRAMES[:num_frames], options.get("input_relu", False))
    np.testing.assert_allclose(out, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 8, 10])
def test_agrees_with_the_authors(num_frames):
    with np.load(GOLDEN / "mtrn_weights.npz") as file:
        weights = dict(file)
    with np.load(GOLDEN / f"mtrn_exact_n{num_frames}.npz") as file:
        recorded = dict(file)
    model = MultiscaleTRN(num_scales=int(weights["n_scales"]), hidden_dim=12, num_classes=9)
    params = {
        f"scale_{k}": {
            "first": {"kernel": weights[f"scale{k}_w1"].T.reshape(k, 16, 12)},
            "first_bias": weights[f"scale{k}_b1"],
            "logits": {"kernel": weights[f"scale{k}_w2"].T, "bias": weights[f"scale{k}_b2"]},
        }
        for k in range(1, model.num_scales + 1)
    }
    score = jax.nn.softmax(jax.jit(model.apply)({"params": params}, recorded["frames"]))
    np.testing.assert_allclose(score, recorded["score"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("num_frames", [1, 6])
def test_init_makes_every_scale_whatever_the_number_of_frames(num_frames):
    model = MultiscaleTRN(num_scales=3, hidden_dim=7, num_classes=4)
    params = jax.eval_shape(model.init, jax.random.key(0), FRAMES[:num_frames].astype(np.float32))["params"]
    assert {name: scale["first"]["kernel"].shape for name, scale in params.items()} == {
        "scale_1": (1, 5, 7),
        "scale_2": (2, 5, 7),
        "scale_3": (3, 5, 7),
    }


def test_methods_of_single_scales(x64):
    model, variables = made()
    params = float64(variables)["params"]
    clips = FRAMES.reshape(3, 2, 5)
    expected = np.array([trn_logits(params["scale_2"], clip) for clip in clips])
    np.testing.assert_allclose(model.apply(variables, clips, method="scale_logits"), expected, rtol=1e-10)
    shares = model.apply(variables, FRAMES, 2, method="project")
    pre = shares[::2, 0] + shares[1::2, 1]
    np.testing.assert_allclose(model.apply(variables, pre, 2, method="after_first"), expected, rtol=1e-10)


def test_training_mode_drops_hidden_units():
    model, variables = made(np.float32, dropout=0.5)
    frames = FRAMES.astype(np.float32)
    still = model.apply(variables, frames)
    dropped = jax.jit(lambda key: model.apply(variables, frames, train=True, rngs={"dropout": key}))
    outs = [dropped(jax.random.key(i)) for i in range(3)]
    assert all(abs(out - still).max() > 1e-3 for out in outs)
    assert abs(outs[0] - outs[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("model", "frames", "message"),
    [
        (MultiscaleTRN(0, 7, 4), FRAMES, "num_scales should be an integer of at least 1, found 0"),
        (MultiscaleTRN(3, 7, 4), FRAMES[None], r"frames should have shape \[T, D\], found \[1, 6, 5\]"),
        (MultiscaleTRN(3, 7, 4), FRAMES[:0], "between 1 and 1048576 subsets of at most 3 frames .* found 0 for 0"),
        (MultiscaleTRN(8, 7, 4), np.zeros((30, 5)), "found 8656936 for 30 frames"),
    ],
)
def test_mistakes(model, frames, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), frames.astype(np.float32))


def test_a_scale_that_is_not_there():
    model, variables = made(np.float32)
    with pytest.raises(InputError, match="scale should be between 1 and 3, found 4"):
        model.apply(variables, FRAMES[None, :4].astype(np.float32), method="scale_logits")

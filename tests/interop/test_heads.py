from pathlib import Path

import jax
import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.data.play_fair_features import open_features
from esv_jax.interop import heads
from esv_jax.models import TRN, TSN, MultiscaleTRN

GOLDEN = Path(__file__).parents[1] / "golden" / "play_fair"
DEEP = "trn_2_frames_batchnorm_relu_2hidden"


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def scale(k):
    return load(f"trn_{k}_frames")


def recorded_scores(model, num_frames):
    """Frames [B, T, D] of the videos that have `num_frames` of them, and their recorded scores [B, C]."""
    expected, features = load("expected_esvs"), open_features(GOLDEN / "features.hdf")
    frames, scores = [], []
    for i, clip in enumerate(features.clips):
        name = f"n{num_frames}_{clip.uid}"
        if f"{name}_idx" in expected:
            frames.append(features.features(i)[expected[f"{name}_idx"]])
            scores.append(expected[f"{name}_{model}_score"])
    return np.stack(frames), np.stack(scores)


def test_the_tsn_scores_as_recorded():
    imported = heads.tsn(load("tsn"), "tsn.pth")
    assert imported.options == {"num_classes": 9, "input_relu": True}
    assert imported.feature_dim == 16
    frames, scores = recorded_scores("tsn", 6)
    logits = jax.vmap(TSN(**imported.options).apply, (None, 0))(imported.variables, frames)
    np.testing.assert_allclose(jax.nn.softmax(logits), scores, atol=1e-6)


def test_the_multi_scale_trn_scores_as_recorded():
    imported = heads.multiscale_trn([scale(k) for k in range(1, 5)], [f"trn_{k}.pth" for k in range(1, 5)])
    assert imported.kind == "multiscale_trn"
    assert imported.options == {
        "num_scales": 4,
        "hidden_dim": 12,
        "num_classes": 9,
        "num_hidden_layers": 1,
        "batch_norm": False,
        "input_relu": False,
    }
    frames, scores = recorded_scores("mtrn", 6)
    module = MultiscaleTRN(**imported.options)
    logits = jax.jit(jax.vmap(module.apply, (None, 0)))(imported.variables, frames)
    np.testing.assert_allclose(jax.nn.softmax(logits), scores, atol=1e-6)


@pytest.mark.parametrize("known", [{"num_frames": 2}, {"feature_dim": 16}, {"num_frames": 2, "feature_dim": 16}])
def test_batch_norm_hidden_layers_and_input_relu_are_read_off_the_names(known):
    imported = heads.trn(load(DEEP), "deep.pth", **known)
    assert imported.options == {
        "num_frames": 2,
        "hidden_dim": 12,
        "num_classes": 9,
        "num_hidden_layers": 2,
        "batch_norm": True,
        "input_relu": True,
    }
    recorded = load(f"{DEEP}_io")
    logits = TRN(**imported.options).apply(imported.variables, recorded["frames"])
    np.testing.assert_allclose(logits, recorded["logits"], atol=1e-6)


def renumbered(state, places):
    """The state dict with the modules moved to other places."""
    moved = {}
    for name, value in state.items():
        front, place, leaf = name.split(".")
        moved[f"{front}.{places[int(place)]}.{leaf}"] = value
    return moved


def test_dropout_and_input_relu_show_in_the_places():
    plain = heads.trn(scale(2), "trn.pth", num_frames=2)
    dropout = heads.trn(renumbered(scale(2), {1: 1, 3: 4}), "trn.pth", num_frames=2)
    relu = heads.trn(renumbered(scale(2), {1: 2, 3: 4}), "trn.pth", num_frames=2)
    assert dropout.options == plain.options
    assert relu.options == {**plain.options, "input_relu": True}
    jax.tree.map(np.testing.assert_array_equal, dropout.variables, plain.variables)


def test_a_linear_in_front_of_a_batch_norm_may_have_a_bias():
    state, bias = load(DEEP), np.arange(12, dtype=np.float32)
    imported = heads.trn({**state, "model.2.bias": bias}, "deep.pth", num_frames=2)
    np.testing.assert_array_equal(imported.variables["params"]["first_bias"], bias)
    assert not heads.trn(state, "deep.pth", num_frames=2).variables["params"]["first_bias"].any()


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(
    ("state", "known", "message"),
    [
        (scale(2), {}, "x.pth takes 32 numbers: give num_frames or feature_dim, their product"),
        (scale(2), {"num_frames": 3}, "takes 32 numbers, which are not 3 frames of equally many features"),
        (scale(2), {"feature_dim": 20}, "takes 32 numbers, which are not 1 frames of 20 features"),
        (scale(2), {"feature_dim": 16, "num_frames": 3}, "is for 2 frames of 16 features, but should be for 3"),
        (load("tsn"), {"num_frames": 1}, "should hold the tensors of a TRN, called .* found 'classifier.weight'"),
        ({}, {"num_frames": 1}, "should hold the tensors of one TRN, found no tensors"),
        ({**scale(2), "head.1.weight": 0}, {"num_frames": 2}, r"one TRN, found head., model."),
        (without(scale(2), "model.3.weight"), {"num_frames": 2}, "should have a Linear at model.3, found"),
        (without(scale(2), "model.3.weight", "model.3.bias"), {"num_frames": 2}, "a hidden layer and one .* found 1"),
        (without(scale(2), "model.1.bias"), {"num_frames": 2}, "found 1 missing: model.1.bias"),
        ({**scale(2), "model.3.scale": np.ones(9)}, {"num_frames": 2}, "found 1 not expected: model.3.scale"),
        ({**scale(2), "model.1.num_batches_tracked": 1}, {"num_frames": 2}, "1 not expected: model.1.num_batches"),
        (without(load(DEEP), "model.6.running_var"), {"num_frames": 2}, "1 missing: model.6.running_var"),
        (without(load(DEEP), "model.6.running_mean"), {"num_frames": 2}, "should have a Linear at model.6, found"),
        (
            {k: v for k, v in load(DEEP).items() if not k.startswith("model.6")},
            {"num_frames": 2},
            "a batch norm after every hidden layer, or none",
        ),
        (renumbered(load(DEEP), {2: 2, 3: 4, 5: 6, 6: 7, 8: 9}), {"num_frames": 2}, "a batch norm at model.4 that"),
        (renumbered(scale(2), {1: 3, 3: 5}), {"num_frames": 2}, "should be model.1 or model.2, found model.3"),
        (renumbered(scale(2), {1: 1, 3: 2}), {"num_frames": 2}, "between model.1 and model.2, found 0 modules"),
        ({**scale(2), "model.3.weight": np.zeros((9, 11))}, {"num_frames": 2}, r"\[9, 11\] instead of \[9, 12\]"),
        ({**scale(2), "model.3.bias": np.full(9, np.nan)}, {"num_frames": 2}, "model.3.bias in x.pth should be finite"),
        (
            {**load(DEEP), "model.5.weight": np.zeros((13, 12))},
            {"num_frames": 2},
            r"hidden layers of x.pth should have the same width, found 12, 13",
        ),
    ],
)
def test_what_is_no_trn_is_refused_by_name(state, known, message):
    with pytest.raises(InputError, match=message):
        heads.trn(state, "x.pth", **known)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "2 missing: classifier.bias, classifier.weight"),
        ({**load("tsn"), "fc.weight": np.zeros(3)}, "1 not expected: fc.weight"),
        ({**load("tsn"), "classifier.bias": np.zeros(8)}, r"classifier.bias \(\[8\] instead of \[9\]\)"),
        ({**load("tsn"), "classifier.bias": np.full(9, np.inf)}, "classifier.bias in tsn.pth should be finite"),
    ],
)
def test_what_is_no_tsn_is_refused_by_name(state, message):
    with pytest.raises(InputError, match=message):
        heads.tsn(state, "tsn.pth")


def test_scales_must_agree_and_be_in_order():
    names = ["one.pth", "two.pth"]
    with pytest.raises(InputError, match=r"two.pth is for 3 frames of 16 features, but should be for 2"):
        heads.multiscale_trn([scale(1), scale(3)], names)
    with pytest.raises(InputError, match=r"two.pth takes 16 numbers, which are not 2 frames of 32 features"):
        heads.multiscale_trn([scale(2), scale(1)], names)
    fewer = {**scale(2), "model.3.weight": np.zeros((7, 12)), "model.3.bias": np.zeros(7)}
    with pytest.raises(InputError, match=r"two.pth has num_classes 7, but one.pth has 9: all scales should agree"):
        heads.multiscale_trn([scale(1), fewer], names)
    with pytest.raises(InputError, match=r"two.pth has num_hidden_layers 2, but one.pth has 1"):
        heads.multiscale_trn([scale(1), load(DEEP)], names)

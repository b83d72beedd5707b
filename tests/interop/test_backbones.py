"""BN-Inception and ResNet-50 against what PyTorch's said, recorded; their weights are made by a formula."""

import functools
import json
import zlib
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.interop import backbones
from esv_jax.models.backbones.bn_inception import BNInception
from esv_jax.models.backbones.resnet50 import ResNet50

GOLDEN = Path(__file__).parents[1] / "golden" / "backbones"
NETWORKS = {
    "bninception": (BNInception, backbones.bn_inception_of, backbones.BN_INCEPTION_PREPROCESS),
    "resnet50": (ResNet50, backbones.resnet50_of, backbones.RESNET50_PREPROCESS),
}


@functools.cache
def state_dict(name):
    """The weights of the recorded network, as its README makes them: sines of the tensors' names and places."""
    state = {}
    for tensor, shape in json.loads((GOLDEN / f"{name}_state_dict_shapes.json").read_text()).items():
        i, phase = np.arange(np.prod(shape), dtype=np.float64), zlib.crc32(tensor.encode()) % 1000
        s = np.sin(0.37 * i + phase) + np.cos(1.13 * i + 0.5 * phase)
        if tensor.endswith("running_var"):
            values = 1 + 0.25 * abs(s)
        elif tensor.endswith(("running_mean", "bias")):
            values = 0.05 * s
        elif tensor.endswith("num_batches_tracked"):
            values = np.ones_like(s)
        elif len(shape) == 1:
            values = 1 + 0.1 * s
        else:
            values = s * np.sqrt(1 / np.prod(shape[1:]))
        state[tensor] = values.reshape(shape).astype(np.float32)
    return state


@functools.cache
def imported(name):
    return NETWORKS[name][1](state_dict(name), f"{name}.pth")


@pytest.mark.parametrize("name", NETWORKS)
def test_pooled_and_output_are_as_recorded(name):
    module, variables = NETWORKS[name][0](256), imported(name).variables
    sines = [np.sin(f * np.arange(3 * 224 * 224)).reshape(3, 224, 224) for f in (0.001, 0.0137)]
    images = np.stack(sines).transpose(0, 2, 3, 1).astype(np.float32)

    @jax.jit
    def run(variables, images):
        activation = module.apply(variables, images, method="feature_map")
        return activation, module.apply(variables, activation, method="from_activation")

    activation, output = run(variables, images)
    with np.load(GOLDEN / f"{name}.npz") as recorded:
        assert tuple(recorded["feature_map_shape"]) == tuple(activation.transpose(0, 3, 1, 2).shape)
        for found, expected in ((activation.mean(axis=(1, 2)), recorded["pooled"]), (output, recorded["output"])):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * abs(expected).max())
    pooled = NETWORKS[name][0](256, True).apply(variables, activation, method="from_activation")
    np.testing.assert_allclose(pooled, activation.mean(axis=(1, 2)), rtol=1e-6)
    assert imported(name).feature_dim == output.shape[-1]


@pytest.mark.parametrize("name", NETWORKS)
def test_images_are_normalised_inside_as_the_preprocess_says(name):
    """What goes into the network: that of torchvision's transforms, or Caffe's BGR less 104, 117 and 128."""
    seen = []

    def intercept(call, args, kwargs, context):
        if context.method_name != "feature_map":
            return call(*args, **kwargs)
        seen.append(args[0])
        return jnp.zeros((len(args[0]), 1, 1, 2048 if name == "resnet50" else 1024), jnp.float32)

    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    with nn.intercept_methods(intercept):
        NETWORKS[name][0](256).apply(imported(name).variables, images)
    if name == "resnet50":
        expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    else:
        expected = images[..., ::-1] - np.array([104.0, 117.0, 128.0])
    np.testing.assert_allclose(seen[0], expected, atol=1e-5)
    preprocess = NETWORKS[name][2]
    by_card = (images - np.array(preprocess.mean)) / np.array(preprocess.std)
    np.testing.assert_allclose(expected if name == "resnet50" else expected[..., ::-1], by_card, atol=1e-5)
    assert (preprocess.short_side, preprocess.size) == (256, 224)


@pytest.mark.parametrize(("side", "expected"), [(224, 7), (229, 7), (96, 3), (95, 3)])
def test_bn_inception_rounds_sizes_up(side, expected):
    """229 -> 115 -> 57 -> 28 -> 14 -> 7 and 95 -> 48 -> 24 -> 12 -> 6 -> 3, as PyTorch's pooling with ceil_mode."""
    shape = jax.eval_shape(
        lambda x: BNInception(256).apply(imported("bninception").variables, x, method="feature_map"),
        jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32),
    ).shape
    assert shape == (1, expected, expected, 1024)


def renamed(state, num_outputs=1000):
    """As torchvision has it: the classifier is `fc`, of ImageNet's classes."""
    kept = {name: value for name, value in state.items() if not name.startswith("last_linear")}
    return {**kept, "fc.weight": np.ones((num_outputs, 2048), np.float32), "fc.bias": np.zeros(num_outputs, np.float32)}


def test_torchvisions_resnet_gives_pooled_features():
    found = backbones.resnet50_of(renamed(state_dict("resnet50")), "resnet50.pth")
    assert found.options == {"num_outputs": 1000, "pooled_features": True}
    assert found.feature_dim == 2048
    assert found.variables["params"]["last_linear"]["kernel"].shape == (2048, 1000)
    np.testing.assert_array_equal(
        found.variables["params"]["layer3.5.conv2"]["kernel"][2, 0, 7, 5],
        state_dict("resnet50")["layer3.5.conv2.weight"][5, 7, 2, 0],
    )


def test_tensors_must_match_both_ways_and_are_named():
    state = state_dict("resnet50")
    wrong = {name: value for name, value in state.items() if name != "layer2.0.downsample.0.weight"}
    wrong |= {"layer5.0.conv1.weight": np.zeros(1), "bn1.bias": np.zeros(63), "extra.num_batches_tracked": np.ones(1)}
    with pytest.raises(InputError) as raised:
        backbones.resnet50_of(wrong, "r.pth")
    assert str(raised.value) == (
        "r.pth should hold exactly the model's 267 tensors, found 1 missing: layer2.0.downsample.0.weight; "
        "2 not expected: extra.num_batches_tracked, layer5.0.conv1.weight; "
        "1 of the wrong shape: bn1.bias ([63] instead of [64])"
    )
    with pytest.raises(InputError, match=r"b.pth should hold exactly the model's 416 tensors, found 416 missing"):
        backbones.bn_inception_of({}, "b.pth")
    bad = {**state, "bn1.weight": np.full(64, np.nan, np.float32)}
    with pytest.raises(InputError, match=r"bn1.weight in r.pth should be finite"):
        backbones.resnet50_of(bad, "r.pth")

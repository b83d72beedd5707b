import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from esv_jax import InputError
from esv_jax.interop.backbones import mobilenet_v1_of
from esv_jax.models.backbones.mobilenet_v1 import MobileNetV1

# Keras' names and shapes at alpha = 1/8 with 5 classes, from the paper's table 1.
WIDTHS = [4, 8, 16, 16, 32, 32, 64, 64, 64, 64, 64, 64, 128, 128]
STRIDE_2 = {2, 4, 6, 12}


def keras_shapes():
    shapes = {"conv1/kernel": (3, 3, 3, 4), "conv_preds/kernel": (1, 1, 128, 5), "conv_preds/bias": (5,)}
    norms = {"conv1_bn": 4}
    for block in range(1, 14):
        below, above = WIDTHS[block - 1], WIDTHS[block]
        shapes[f"conv_dw_{block}/depthwise_kernel"] = (3, 3, below, 1)
        shapes[f"conv_pw_{block}/kernel"] = (1, 1, below, above)
        norms |= {f"conv_dw_{block}_bn": below, f"conv_pw_{block}_bn": above}
    for name, width in norms.items():
        shapes |= {f"{name}/{part}": (width,) for part in ("gamma", "beta", "moving_mean", "moving_variance")}
    return shapes


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    made = {}
    for name, shape in keras_shapes().items():
        fan_in = np.prod(shape[:2] if "_dw_" in name else shape[:3])
        values = rng.normal(size=shape) * (np.sqrt(2 / fan_in) if len(shape) == 4 else 1)
        if name.endswith(("gamma", "moving_variance")):
            values = 0.5 + abs(values)
        made[name] = values.astype(np.float32)
    return made


def reference(arrays, images):
    """Features and logits of uint8 images in float64, as Keras defines them: loops over the kernels' 3x3 places."""

    def layer(x, name, stride, kernel):
        if kernel.shape[0] == 3:
            pad = (1, 1) if stride == 1 else (0, 1)
            x = np.pad(x, ((0, 0), pad, pad, (0, 0)))
        size = kernel.shape[0]
        height, width = ((side - size) // stride + 1 for side in x.shape[1:3])
        total = 0.0
        for i, j in itertools.product(range(size), range(size)):
            window = x[:, i : i + stride * height : stride, j : j + stride * width : stride][:, :height, :width]
            total = total + (window * kernel[i, j, :, 0] if "_dw_" in name else window @ kernel[i, j])
        norm = {part: arrays[f"{name}_bn/{part}"].astype(np.float64) for part in ("gamma", "beta")}
        mean, var = (arrays[f"{name}_bn/moving_{part}"].astype(np.float64) for part in ("mean", "variance"))
        return np.clip((total - mean) / np.sqrt(var + 1e-3) * norm["gamma"] + norm["beta"], 0, 6)

    x = layer(images / 255 * 2 - 1, "conv1", 2, arrays["conv1/kernel"].astype(np.float64))
    for block in range(1, 14):
        stride = 2 if block in STRIDE_2 else 1
        x = layer(x, f"conv_dw_{block}", stride, arrays[f"conv_dw_{block}/depthwise_kernel"].astype(np.float64))
        x = layer(x, f"conv_pw_{block}", 1, arrays[f"conv_pw_{block}/kernel"].astype(np.float64))
    features = x.mean(axis=(1, 2))
    return features, features @ arrays["conv_preds/kernel"][0, 0].astype(np.float64) + arrays["conv_preds/bias"]


@pytest.fixture(scope="module")
def outputs(arrays):
    variables = mobilenet_v1_of(arrays, "the file").variables
    return jax.jit(lambda images: MobileNetV1(0.125, 5).apply(variables, images, method="outputs"))


@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_features_and_logits_are_keras(arrays, outputs, size):
    images = np.random.default_rng(1).integers(0, 256, (2, *size, 3), np.uint8)
    expected_features, expected_logits = reference(arrays, images)
    assert (expected_features % 6 > 0).mean() > 0.2
    features, logits = outputs(images)
    np.testing.assert_allclose(features, expected_features, atol=2e-4)
    np.testing.assert_allclose(logits, expected_logits, atol=5e-3)
    np.testing.assert_array_equal(outputs(jnp.asarray(images, jnp.float32))[0], features)


def test_width_and_classes_are_read_off_the_arrays(arrays):
    imported = mobilenet_v1_of(arrays, "the file")
    assert imported.options == {"alpha": 0.125, "num_classes": 5}
    assert imported.feature_dim == 128


def test_a_file_without_the_classifier_gives_the_same_features(arrays, outputs):
    headless = {name: value for name, value in arrays.items() if not name.startswith("conv_preds")}
    imported = mobilenet_v1_of(headless, "the file")
    module, variables = MobileNetV1(**imported.options), imported.variables
    assert module == MobileNetV1(0.125, 0)
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)
    features, logits = jax.jit(lambda images: module.apply(variables, images, method="outputs"))(images)
    assert logits.shape == (2, 0)
    np.testing.assert_allclose(features, outputs(images)[0], atol=1e-5)


def test_tensors_must_match_both_ways_and_all_are_named(arrays):
    wrong = dict(arrays)
    del wrong["conv_dw_3_bn/beta"]
    wrong["conv_pw_14/kernel"] = np.zeros((1, 1, 8, 8), np.float32)
    wrong["conv_pw_2/kernel"] = np.zeros((1, 1, 8, 9), np.float32)
    with pytest.raises(InputError) as raised:
        mobilenet_v1_of(wrong, "the file")
    assert str(raised.value) == (
        "the file should hold exactly the model's 137 tensors, found 1 missing: conv_dw_3_bn/beta; "
        "1 not expected: conv_pw_14/kernel; "
        "1 of the wrong shape: conv_pw_2/kernel ([1, 1, 8, 9] instead of [1, 1, 8, 16])"
    )


def test_tensors_must_be_finite(arrays):
    wrong = {**arrays, "conv_preds/bias": np.array([0, np.nan, 0, 0, 0], np.float32)}
    with pytest.raises(InputError, match="conv_preds/bias in the file should be finite"):
        mobilenet_v1_of(wrong, "the file")


def test_images_must_be_images(outputs):
    with pytest.raises(InputError, match=r"images should have shape \[N, H, W, 3\], found \[2, 3, 64, 64\]"):
        outputs(np.zeros((2, 3, 64, 64), np.uint8))

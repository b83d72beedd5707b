import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from esv_jax.checks import InputError
from esv_jax.models.backbones.frame_cnn import MEAN, SIZE, STD, FrameCNN

CNN = FrameCNN(feature_dim=10, channels=(4, 5, 6, 7))
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


def random_variables():
    """As initialised, but with biases that are not 0."""
    shapes = jax.eval_shape(CNN.init, jax.random.key(0), IMAGES)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(0, leaf.size**-0.3, leaf.shape).astype(np.float32), shapes)


def by_convolutions(params, images):
    """The same network out of XLA's own convolutions and pooling."""

    def conv(name, x, width, stride):
        kernel = params[name]["kernel"].reshape(width, width, x.shape[-1], -1)
        dimensions = ("NHWC", "HWIO", "NHWC")
        out = jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=dimensions)
        return nn.relu(out + params[name]["bias"][None, None, None])

    x = (images.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    x = nn.max_pool(conv("conv_1", conv("patches", x, 4, 4), 3, 1), (2, 2), (2, 2))
    x = conv("conv_3", conv("conv_2", x, 3, 1), 3, 1)
    return x.reshape(len(x), -1) @ params["places"]["kernel"] + params["places"]["bias"][None]


def test_matrix_products_are_the_convolutions():
    variables = random_variables()
    found = CNN.apply(variables, IMAGES)
    assert found.shape == (3, 10)
    assert found.dtype == jnp.float32
    expected = by_convolutions(variables["params"], IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * np.abs(expected).max()


def test_floats_are_taken_as_the_same_range():
    variables = random_variables()
    np.testing.assert_array_equal(CNN.apply(variables, IMAGES.astype(np.float32)), CNN.apply(variables, IMAGES))


@pytest.mark.parametrize("shape", [(SIZE, SIZE, 3), (1, SIZE, SIZE + 4, 3), (1, SIZE, SIZE, 1)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"images should have shape \[N, 48, 48, 3\]"):
        CNN.apply(random_variables(), np.zeros(shape, np.uint8))

"""A compact CNN for single frames, made to be trained on two CPU cores; the demo's backbone."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array

SIZE = 48  # of the images, pixels
MEAN, STD = 128.0, 64.0
_PATCH = 4


class FrameCNN(nn.Module):
    """Features float32 [N, D] of images: patches of 4x4, three 3x3 convolutions, a dense layer that knows places.

    Convolutions are written as matrix products of shifted copies, which XLA differentiates several times faster on
    CPUs than its own convolutions.

    Attributes:
      feature_dim: D.
      channels: of the patches' layer, then of the convolutions; the last two see half of the resolution.
    """

    feature_dim: int = 64
    channels: tuple[int, int, int, int] = (32, 32, 64, 64)

    def setup(self) -> None:
        self.patches, self.conv_1, self.conv_2, self.conv_3 = (nn.Dense(width) for width in self.channels)
        self.places = nn.Dense(self.feature_dim)

    def __call__(self, images: Array) -> jax.Array:
        """Features of images [N, 48, 48, 3], uint8 or float, RGB in 0..255.

        Raises:
          InputError: wrong shape.
        """
        return self.from_activation(self.last_activation(images))

    def last_activation(self, images: Array) -> jax.Array:
        """The last activation float32 [N, 6, 6, K] of images as for `__call__`."""
        checks.check_shape("images", images, ("N", SIZE, SIZE, 3))
        x = (jnp.asarray(images).astype(jnp.float32) - MEAN) / STD
        side = SIZE // _PATCH
        x = (
            x.reshape(-1, side, _PATCH, side, _PATCH, 3)
            .transpose(0, 1, 3, 2, 4, 5)
            .reshape(-1, side, side, 3 * _PATCH**2)
        )
        x = nn.relu(self.patches(x))
        x = nn.relu(self.conv_1(_shifted(x)))
        x = jnp.maximum(x[:, ::2], x[:, 1::2])
        x = jnp.maximum(x[:, :, ::2], x[:, :, 1::2])
        x = nn.relu(self.conv_2(_shifted(x)))
        return nn.relu(self.conv_3(_shifted(x)))

    def from_activation(self, activation: jax.Array) -> jax.Array:
        """Features [N, D] of the last activation [N, 6, 6, K]."""
        return self.places(activation.reshape(len(activation), -1))


def _shifted(x: jax.Array) -> jax.Array:
    """What a 3x3 convolution of x [N, H, W, C] with zeros around it sees at every place, [N, H, W, 9 C]."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=-1)

"""What the networks have in common that come from PyTorch: a linear layer on the mean over space."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array

HIGHEST = jax.lax.Precision.HIGHEST


class PooledBackbone(nn.Module):
    """Features of images: what the last linear layer says, or its inputs, the mean over space of the last activation.

    A network says in `normalised` what it does to pixels, and in `feature_map` what its layers are; these are called as
    PyTorch's tensors are.

    Attributes:
      num_outputs: of the last linear layer.
      pooled_features: whether the features are the means [N, K] rather than the outputs [N, num_outputs].
    """

    num_outputs: int = 256
    pooled_features: bool = False

    def setup(self) -> None:
        self.last_linear = nn.Dense(self.num_outputs, precision=HIGHEST)

    def __call__(self, images: Array) -> jax.Array:
        """Features float32 [N, D] of images [N, H, W, 3], uint8 or float, RGB in 0..255.

        Raises:
          InputError: wrong shape.
        """
        return self.from_activation(self.last_activation(images))

    def last_activation(self, images: Array) -> jax.Array:
        """The last activation float32 [N, H / 32, W / 32, K] of images as for `__call__`."""
        checks.check_shape("images", images, ("N", "H", "W", 3))
        return self.feature_map(self.normalised(jnp.asarray(images).astype(jnp.float32)))

    def from_activation(self, activation: jax.Array) -> jax.Array:
        """Features [N, D] of the last activation [N, H, W, K]."""
        pooled = activation.mean(axis=(1, 2))
        outputs = self.last_linear(pooled)
        return pooled if self.pooled_features else outputs

    def normalised(self, images: jax.Array) -> jax.Array:
        """Images [N, H, W, 3] as the layers expect them, of images float32 as for `__call__`."""
        raise NotImplementedError

    def feature_map(self, x: jax.Array) -> jax.Array:
        """The last activation of images float32 [N, H, W, 3] that are `normalised`."""
        raise NotImplementedError

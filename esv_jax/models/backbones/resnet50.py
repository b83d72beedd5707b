"""ResNet-50 (He et al. 2016, arXiv:1512.03385) as PyTorch has it: strides in the 3x3 convolutions. For inference."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from esv_jax.models.backbones.pooled import HIGHEST, PooledBackbone

# Of ImageNet, in units of 0..255, R, G, B.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
BLOCKS = (3, 4, 6, 3)


class ResNet50(PooledBackbone):
    """ResNet-50; its features are those of a `PooledBackbone` with K = 2048."""

    def normalised(self, images: jax.Array) -> jax.Array:
        mean, std = (jnp.asarray(value, jnp.float32)[None, None, None] for value in (MEAN, STD))
        return (images - mean) / std

    @nn.compact
    def feature_map(self, x: jax.Array) -> jax.Array:
        x = nn.relu(_normalised(_convolution(x, 64, 7, "conv1", stride=2), "bn1"))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, num_blocks in enumerate(BLOCKS, start=1):
            for block in range(num_blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                x = _bottleneck(x, 32 * 2**stage, stride, f"layer{stage}.{block}", project=block == 0)
        return x


def _bottleneck(x: jax.Array, channels: int, stride: int, name: str, *, project: bool) -> jax.Array:
    """1x1, 3x3 and 1x1 convolutions around a shortcut, called from the module's compact method."""
    shortcut = x
    if project:
        convolved = _convolution(x, 4 * channels, 1, f"{name}.downsample.0", stride=stride)
        shortcut = _normalised(convolved, f"{name}.downsample.1")
    x = nn.relu(_normalised(_convolution(x, channels, 1, f"{name}.conv1"), f"{name}.bn1"))
    x = nn.relu(_normalised(_convolution(x, channels, 3, f"{name}.conv2", stride=stride), f"{name}.bn2"))
    x = _normalised(_convolution(x, 4 * channels, 1, f"{name}.conv3"), f"{name}.bn3")
    return nn.relu(x + shortcut)


def _convolution(x: jax.Array, channels: int, width: int, name: str, *, stride: int = 1) -> jax.Array:
    padding = [(width // 2, width // 2)] * 2
    return nn.Conv(channels, (width, width), stride, padding, use_bias=False, precision=HIGHEST, name=name)(x)


def _normalised(x: jax.Array, name: str) -> jax.Array:
    return nn.BatchNorm(True, epsilon=1e-5, name=name)(x)

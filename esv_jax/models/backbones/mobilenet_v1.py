"""MobileNetV1 (Howard et al. 2017, arXiv:1704.04861), as Keras has it."""

import functools
import operator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array

# Channels at alpha = 1 and strides of the 13 depthwise separable blocks (table 1 of the paper).
CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
HIGHEST = jax.lax.Precision.HIGHEST


class MobileNetV1(nn.Module):
    """Features [N, 1024 * alpha] of images: the mean over space of the last activation. For inference.

    Attributes:
      alpha: width multiplier, of (0, 1].
      num_classes: of the classifier on top, see `outputs`; 0: there is none.
    """

    alpha: float = 0.25
    num_classes: int = 1000

    def __call__(self, images: Array) -> jax.Array:
        """Features float32 [N, D], D = 1024 * alpha, of images [N, H, W, 3], uint8 or float, RGB in 0..255.

        Raises:
          InputError: wrong shape.
        """
        return self.outputs(images)[0]

    def setup(self) -> None:
        if self.num_classes:
            self.conv_preds = nn.Dense(self.num_classes, precision=HIGHEST)

    def outputs(self, images: Array) -> tuple[jax.Array, jax.Array]:
        """Features [N, D] and logits [N, num_classes] of images as for `__call__`."""
        features = self.from_activation(self.last_activation(images))
        return features, self.conv_preds(features) if self.num_classes else features[:, :0]

    @nn.compact
    def last_activation(self, images: Array) -> jax.Array:
        """The last activation float32 [N, H / 32, W / 32, D] of images as for `__call__`."""
        checks.check_shape("images", images, ("N", "H", "W", 3))
        x = jnp.asarray(images).astype(jnp.float32) / 127.5 - 1.0
        x = _activation(_dense(x, int(32 * self.alpha), "conv1", width=3, stride=2), "conv1_bn")
        for block, (channels, stride) in enumerate(zip(CHANNELS, STRIDES, strict=True), start=1):
            x = _activation(DepthwiseConvolution(stride, name=f"conv_dw_{block}")(x), f"conv_dw_{block}_bn")
            x = _activation(_dense(x, int(channels * self.alpha), f"conv_pw_{block}"), f"conv_pw_{block}_bn")
        return x

    def from_activation(self, activation: jax.Array) -> jax.Array:
        """Features [N, D] of the last activation [N, H, W, D]."""
        return activation.mean(axis=(1, 2))


class DepthwiseConvolution(nn.Module):
    """Every channel with its own 3x3 kernel, [N, H, W, C] -> [N, H / stride, W / stride, C], as nine shifted products.

    XLA's grouped convolution takes six times as long on CPUs.
    """

    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        num_images, height, width, channels = x.shape
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, channels), jnp.float32)
        border = _padding(self.stride)
        x = jnp.pad(x, ((0, 0), border, border, (0, 0)))
        # One past where the last window of the padded image begins.
        ends = [(side + sum(border) - 3) // self.stride * self.stride + 1 for side in (height, width)]
        strides = (1, self.stride, self.stride, 1)
        products = [
            jax.lax.slice(x, (0, i, j, 0), (num_images, i + ends[0], j + ends[1], channels), strides)
            * kernel[i, j][None, None, None]
            for i in range(3)
            for j in range(3)
        ]
        return functools.reduce(operator.add, products)


def _padding(stride: int) -> tuple[int, int]:
    """Zeros before and after the rows and columns of an image. At stride 2 Keras pads below and to the right only."""
    return (1, 1) if stride == 1 else (0, 1)


def _dense(x: jax.Array, channels: int, name: str, *, width: int = 1, stride: int = 1) -> jax.Array:
    around: Any = "VALID" if width == 1 else [_padding(stride)] * 2
    convolution = nn.Conv(channels, (width, width), stride, around, use_bias=False, precision=HIGHEST, name=name)
    return convolution(x)


def _activation(x: jax.Array, name: str) -> jax.Array:
    return nn.relu6(nn.BatchNorm(True, epsilon=1e-3, name=name)(x))

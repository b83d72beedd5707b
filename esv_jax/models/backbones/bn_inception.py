"""BN-Inception (Ioffe & Szegedy 2015, arXiv:1502.03167), the Caffe network that Play Fair and TSN use. For inference.

Its images are BGR in 0..255 less the mean; its pooling with stride 2 rounds sizes up, as Caffe does.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from esv_jax.models.backbones.pooled import HIGHEST, PooledBackbone

MEAN = (128.0, 117.0, 104.0)  # R, G, B


class _Block(NamedTuple):
    """Channels of an inception block (table 1 of the paper); a block without `one` halves the resolution."""

    name: str
    one: int
    three: tuple[int, int]
    double: tuple[int, int]
    projected: int
    pool: str


BLOCKS = (
    _Block("3a", 64, (64, 64), (64, 96), 32, "average"),
    _Block("3b", 64, (64, 96), (64, 96), 64, "average"),
    _Block("3c", 0, (128, 160), (64, 96), 0, "max"),
    _Block("4a", 224, (64, 96), (96, 128), 128, "average"),
    _Block("4b", 192, (96, 128), (96, 128), 128, "average"),
    _Block("4c", 160, (128, 160), (128, 160), 128, "average"),
    _Block("4d", 96, (128, 192), (160, 192), 128, "average"),
    _Block("4e", 0, (128, 192), (192, 256), 0, "max"),
    _Block("5a", 352, (192, 320), (160, 224), 128, "average"),
    _Block("5b", 352, (192, 320), (192, 224), 128, "max"),
)


class BNInception(PooledBackbone):
    """BN-Inception; its features are those of a `PooledBackbone` with K = 1024."""

    def normalised(self, images: jax.Array) -> jax.Array:
        return (images - jnp.asarray(MEAN, jnp.float32)[None, None, None])[..., ::-1]

    @nn.compact
    def feature_map(self, x: jax.Array) -> jax.Array:
        x = _max_pool(_activation(x, 64, 7, "conv1_7x7_s2", stride=2))
        x = _activation(x, 64, 1, "conv2_3x3_reduce")
        x = _max_pool(_activation(x, 192, 3, "conv2_3x3"))
        for block in BLOCKS:
            x = _inception(x, block)
        return x


def _inception(x: jax.Array, block: _Block) -> jax.Array:
    """1x1, 3x3, double 3x3 and pooling side by side, called from the module's compact method."""
    name, stride = f"inception_{block.name}", 1 if block.one else 2
    branches = [_activation(x, block.one, 1, f"{name}_1x1")] if block.one else []
    reduced = _activation(x, block.three[0], 1, f"{name}_3x3_reduce")
    branches.append(_activation(reduced, block.three[1], 3, f"{name}_3x3", stride=stride))
    reduced = _activation(x, block.double[0], 1, f"{name}_double_3x3_reduce")
    first = _activation(reduced, block.double[1], 3, f"{name}_double_3x3_1")
    branches.append(_activation(first, block.double[1], 3, f"{name}_double_3x3_2", stride=stride))
    if not block.one:
        branches.append(_max_pool(x))
    else:
        around = ((1, 1), (1, 1))
        if block.pool == "max":
            pooled = nn.max_pool(x, (3, 3), (1, 1), around)
        else:  # the zeros around count
            pooled = nn.pool(x, 0.0, jax.lax.add, (3, 3), (1, 1), around) / 9.0
        branches.append(_activation(pooled, block.projected, 1, f"{name}_pool_proj"))
    return jnp.concatenate(branches, axis=-1)


def _max_pool(x: jax.Array) -> jax.Array:
    """3x3 windows two apart; a last window that the image fills only in part counts too."""
    missing = [(0, (side - 3) % 2) for side in x.shape[1:3]]
    return nn.max_pool(x, (3, 3), (2, 2), missing)


def _activation(x: jax.Array, channels: int, width: int, name: str, *, stride: int = 1) -> jax.Array:
    """Convolution with zeros around, batch norm, ReLU."""
    padding = [(width // 2, width // 2)] * 2
    x = nn.Conv(channels, (width, width), stride, padding, precision=HIGHEST, name=name)(x)
    return nn.relu(nn.BatchNorm(True, epsilon=1e-5, name=f"{name}_bn")(x))

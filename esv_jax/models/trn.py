"""TRN (temporal relation network) of one scale: a perceptron on k frames laid end to end, so that order counts."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array
from esv_jax.models.tsn import variable_dtype
from esv_jax.precise import matmul


class TRN(nn.Module):
    """Logits [N, C] of clips [N, k, D], of exactly k frames each.

    (ReLU) -> concatenate -> num_hidden_layers times (Dense(H), (batch norm), ReLU, (dropout)) -> Dense(C).

    The first layer is linear in the concatenated frames, so `project` and `after_first` compute the same from each
    frame's share of it: __call__(x[members]) == after_first(sum_p project(x)[members[:, p], p]).

    Variables get the dtype of the clips given to `init` (float32 for less precise ones); `apply` computes in the
    dtype of the variables. With batch norm, the running means are in the collection "batch_stats".

    Attributes:
      num_frames: k, the length of every clip.
      hidden_dim: H.
      num_classes: C.
      num_hidden_layers: at least 1.
      dropout: share of the hidden units set to zero in training, [0, 1).
      batch_norm: normalise every hidden layer before its ReLU.
      input_relu: apply a ReLU to the features first.
    """

    num_frames: int
    hidden_dim: int
    num_classes: int
    num_hidden_layers: int = 1
    dropout: float = 0.0
    batch_norm: bool = False
    input_relu: bool = False

    def setup(self) -> None:
        for name in ("num_frames", "hidden_dim", "num_classes", "num_hidden_layers"):
            checks.check_positive(name, getattr(self, name))
        self.first = PositionKernels(self.num_frames, self.hidden_dim)

    def __call__(self, clips: Array, train: bool = False) -> jax.Array:
        """Logits [N, C] of clips [N, k, D]. With `train`, needs the rng "dropout" if dropout > 0.

        Raises:
          InputError: clips are not floating point [N, k, D].
        """
        checks.check_shape("clips", clips, ("N", self.num_frames, "D"))
        return self.after_first(self._first_layer(clips, "nkd,kdh->nh"), train)

    def project(self, frames: Array) -> jax.Array:
        """What every frame adds to the first layer at every position, [T, k, H] for frames [T, D]; without the bias."""
        checks.check_shape("frames", frames, ("T", "D"))
        return self._first_layer(frames, "td,kdh->tkh")

    def project_in_order(self, frames: Array) -> jax.Array:
        """`project` where it is needed: member p of k frames in order is one of T - k + 1, frames p..p+T-k.

        Returns:
          [k, T - k + 1, H], at (p, j) what frame p + j adds at position p. T >= k.
        """
        checks.check_shape("frames", frames, ("T", "D"))
        x, kernels = self._inputs(frames)
        choices = x.shape[0] - self.num_frames + 1
        windows = jnp.stack([x[p : p + choices] for p in range(self.num_frames)])
        return matmul(windows, kernels)

    def _first_layer(self, frames: Array, product: str) -> jax.Array:
        x, kernels = self._inputs(frames)
        return jnp.einsum(product, x, kernels, precision=jax.lax.Precision.HIGHEST)

    def _inputs(self, frames: Array) -> tuple[jax.Array, jax.Array]:
        checks.check_floating("frames", frames)
        kernels = self.first(jnp.shape(frames)[-1], variable_dtype(frames))
        x = jnp.asarray(frames, kernels.dtype)
        return (nn.relu(x) if self.input_relu else x), kernels

    @nn.compact
    def after_first(self, pre: Array, train: bool = False) -> jax.Array:
        """Logits [N, C] from the first layer's sums [N, H]: its bias, batch norm and ReLU, and all layers behind."""
        checks.check_shape("pre", pre, ("N", self.hidden_dim))
        bias = self.param("first_bias", nn.initializers.zeros_init(), (self.hidden_dim,), pre.dtype)
        x = pre + bias[None]
        for layer in range(self.num_hidden_layers):
            if layer > 0:
                x = _dense(self.hidden_dim, x.dtype, f"hidden_{layer + 1}")(x)
            if self.batch_norm:
                # Variables are float32 at least, so statistics in their own precision lose nothing.
                norm = nn.BatchNorm(
                    not train,
                    momentum=0.9,
                    param_dtype=x.dtype,
                    force_float32_reductions=False,
                    name=f"norm_{layer + 1}",
                )
                x = norm(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(x))
        return _dense(self.num_classes, x.dtype, "logits")(x)


class PositionKernels(nn.Module):
    """The first layer's weights [k, D, H]: a block for each position in time."""

    num_frames: int
    hidden_dim: int

    @nn.compact
    def __call__(self, feature_dim: int, dtype: jax.typing.DTypeLike) -> jax.Array:
        init = nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=2)
        return self.param("kernel", init, (self.num_frames, feature_dim, self.hidden_dim), dtype)


def _dense(width: int, dtype: jax.typing.DTypeLike, name: str) -> nn.Dense:
    return nn.Dense(width, param_dtype=dtype, precision=jax.lax.Precision.HIGHEST, name=name)

"""TSN (temporal segment network): the mean of what a linear classifier says of every frame. Blind to their order."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from esv_jax import checks, temperature
from esv_jax.base import Array
from esv_jax.precise import matmul


class TSN(nn.Module):
    """Logits [C] of a video of any number of frames: mean over frames of (ReLU of, optionally) x_i @ W + b.

    Where it has temperatures, the mean is divided by that of its number of frames (`esv_jax.temperature`).
    Variables get the dtype of the frames given to `init` (float32 for less precise ones); `apply` computes in the
    dtype of the variables.

    Attributes:
      num_classes: C.
      dropout: share of the features set to zero in training, [0, 1).
      input_relu: apply a ReLU to the features first (Play Fair's models do).
      num_temperatures: K, a temperature each for 1..K frames; that of K is for more frames, too. 0: none.
    """

    num_classes: int
    dropout: float = 0.0
    input_relu: bool = False
    num_temperatures: int = 0

    def setup(self) -> None:
        self.temperature = temperature.declared(self, self.num_temperatures)

    def __call__(self, frames: Array, train: bool = False) -> jax.Array:
        """Logits [C] of frames [T, D]. With `train`, needs the rng "dropout" if dropout > 0.

        Raises:
          InputError: frames are not floating point [T, D] with T >= 1.
        """
        if jnp.ndim(frames) == 2 and jnp.shape(frames)[0] == 0:
            raise checks.InputError("frames should hold at least one frame, found shape [0, D]")
        logits = self.frame_logits(frames, train).mean(axis=0)
        return temperature.applied(self.temperature, logits, jnp.shape(frames)[0])

    @nn.compact
    def frame_logits(self, frames: Array, train: bool = False) -> jax.Array:
        """Logits [T, C] of every frame of [T, D] on its own, at a temperature of 1."""
        checks.check_shape("frames", frames, ("T", "D"))
        checks.check_floating("frames", frames)
        checks.check_positive("num_classes", self.num_classes)
        dtype = variable_dtype(frames)
        shape = (jnp.shape(frames)[1], self.num_classes)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.num_classes,), dtype)
        x = jnp.asarray(frames, kernel.dtype)
        x = nn.relu(x) if self.input_relu else x
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return matmul(x, kernel) + bias[None]


def variable_dtype(frames: Array) -> jax.typing.DTypeLike:
    """The dtype of variables made for `frames`: float64 for float64, else float32."""
    return jnp.float64 if jnp.result_type(frames) == jnp.float64 else jnp.float32

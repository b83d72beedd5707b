"""Multi-scale TRN: heads for 1..M frames, joined over all subsets (Price & Damen 2020, section 3.3)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from esv_jax import checks, temperature
from esv_jax.base import Array
from esv_jax.coalitions import lattice
from esv_jax.models.trn import TRN

MAX_SUBSETS = 2**20


class MultiscaleTRN(nn.Module):
    """Joint logits [C] of a video of any number of frames T:

        A = mean over sizes s <= min(T, M) of the mean of f_s over all size-s subsets, in temporal order.

    f_s is a `TRN` for s frames. Scores are softmax(A). Where it has temperatures, A is divided by that of its number of
    frames (`esv_jax.temperature`).

    Attributes:
      num_scales: M.
      hidden_dim, num_classes, num_hidden_layers, dropout, batch_norm, input_relu: of every head, as for `TRN`.
      num_temperatures: K, a temperature each for 1..K frames; that of K is for more frames, too. 0: none.
    """

    num_scales: int
    hidden_dim: int
    num_classes: int
    num_hidden_layers: int = 1
    dropout: float = 0.0
    batch_norm: bool = False
    input_relu: bool = False
    num_temperatures: int = 0

    def setup(self) -> None:
        checks.check_positive("num_scales", self.num_scales)
        self.temperature = temperature.declared(self, self.num_temperatures)
        # A dict so that the variables are called scale_1 .. scale_M.
        self.scale = {
            str(size): TRN(
                size,
                self.hidden_dim,
                self.num_classes,
                self.num_hidden_layers,
                self.dropout,
                self.batch_norm,
                self.input_relu,
            )
            for size in range(1, self.num_scales + 1)
        }

    def __call__(self, frames: Array, train: bool = False) -> jax.Array:
        """Joint logits [C] of frames [T, D], T >= 1. With `train`, needs the rng "dropout" if dropout > 0.

        Raises:
          InputError: frames are not floating point [T, D] with T >= 1, or have more than 2^20 subsets of <= M frames.
        """
        checks.check_shape("frames", frames, ("T", "D"))
        num_frames, feature_dim = jnp.shape(frames)
        sizes = range(1, min(num_frames, self.num_scales) + 1)
        num_subsets = sum(math.comb(num_frames, size) for size in sizes)
        if not 1 <= num_subsets <= MAX_SUBSETS:
            raise checks.InputError(
                f"frames should have between 1 and {MAX_SUBSETS} subsets of at most {self.num_scales} frames to join, "
                f"found {num_subsets} for {num_frames} frames"
            )
        if self.is_initializing():
            # Fewer frames than scales must still make the variables of all heads.
            for size in range(num_frames + 1, self.num_scales + 1):
                self.scale_logits(jnp.zeros((1, size, feature_dim), jnp.result_type(frames)))
        joint = [self._mean_over_subsets(frames, size, train) for size in sizes]
        return temperature.applied(self.temperature, jnp.mean(jnp.stack(joint), axis=0), num_frames)

    def _mean_over_subsets(self, frames: Array, size: int, train: bool) -> jax.Array:
        members = lattice.combinations(jnp.shape(frames)[0], size)
        shares = self.project(frames, size)
        pre = sum((shares[members[:, p], p] for p in range(1, size)), start=shares[members[:, 0], 0])
        return self.after_first(pre, size, train).mean(axis=0)

    def scale_logits(self, clips: Array, train: bool = False) -> jax.Array:
        """f_k of clips [N, k, D] -> logits [N, C], by the head for their length k <= M."""
        checks.check_shape("clips", clips, ("N", "k", "D"))
        return self._head(jnp.shape(clips)[1])(clips, train)

    def project(self, frames: Array, scale: int) -> jax.Array:
        """`TRN.project` of the head for `scale` frames: [T, D] -> [T, scale, H]."""
        return self._head(scale).project(frames)

    def project_in_order(self, frames: Array, scale: int) -> jax.Array:
        """`TRN.project_in_order` of the head for `scale` frames: [T, D] -> [scale, T - scale + 1, H]."""
        return self._head(scale).project_in_order(frames)

    def after_first(self, pre: Array, scale: int, train: bool = False) -> jax.Array:
        """`TRN.after_first` of the head for `scale` frames: [N, H] -> logits [N, C]."""
        return self._head(scale).after_first(pre, train)

    def _head(self, scale: int) -> TRN:
        if not 1 <= scale <= self.num_scales:
            raise checks.InputError(f"scale should be between 1 and {self.num_scales}, found {scale}")
        return self.scale[str(scale)]

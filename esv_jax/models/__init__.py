"""Models (Flax linen): heads that classify a sequence of frame features. No attribution and no input or output here."""

from esv_jax.models.multiscale import MultiscaleTRN as MultiscaleTRN
from esv_jax.models.trn import TRN as TRN
from esv_jax.models.tsn import TSN as TSN

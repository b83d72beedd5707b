"""Clips, which are videos or parts of them with a label: annotations, features in files, class priors."""

from esv_jax.data.in_memory import write_features as write_features

"""Weights that were trained elsewhere: rule tables from the names of PyTorch's and Keras' tensors to Flax variables."""

from esv_jax.interop.prompt import Prompt as Prompt
from esv_jax.interop.prompt_game import FirstLook as FirstLook
from esv_jax.interop.prompt_game import first_look as first_look
from esv_jax.interop.prompt_game import generated as generated

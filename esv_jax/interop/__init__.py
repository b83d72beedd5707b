"""Weights that were trained elsewhere: rule tables from the names of PyTorch's and Keras' tensors to Flax variables."""

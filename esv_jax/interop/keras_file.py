"""Tensors of Keras' weight files: its own HDF5 (*.h5) or npz files of the same names."""

import os
import zipfile
from typing import Any

import numpy as np

from esv_jax.checks import InputError, require


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """All tensors by "layer/tensor" ("conv1/kernel", "conv1_bn/gamma").

    Raises:
      InputError: no such file, or neither an npz nor an HDF5 file.
      MissingExtraError: it is HDF5 and h5py is not installed.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path} cannot be read as an npz or h5 file: there is none")
    if os.fspath(path).endswith((".h5", ".hdf5")):
        return _read_h5(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an npz file: {error}") from error


def _read_h5(path: str | os.PathLike) -> dict[str, np.ndarray]:
    h5py = require("h5py", extra="io")
    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            # conv1/conv1/kernel:0, the layer's name before the tensor's own.
            layer, *_, tensor = name.split("/")
            arrays[f"{layer}/{tensor.removesuffix(':0')}"] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.get("model_weights", file).visititems(visit)  # a saved model has its weights one group deeper
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an HDF5 file of Keras: {error}") from error
    return arrays

"""Tensors of Keras' weight files: its own HDF5 (*.h5) or npz files of the same names."""

import math
import os
import zipfile
from typing import Any, BinaryIO

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, require
from esv_jax.models import options

# What the weights of all layers together may take; a file can say, or pack, much more than it is.
_MAX_BYTES = 4 * options.MAX_WEIGHTS


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """All tensors by "layer/tensor" ("conv1/kernel", "conv1_bn/gamma").

    Raises:
      InputError: no such file, neither an npz nor an HDF5 file, one that has its tensors from other files, or more of
        them than fit.
      MissingExtraError: it is HDF5 and h5py is not installed.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path} cannot be read as an npz or h5 file: there is none")
    what = files.looks_like(path)
    if what == "an HDF5 file":
        return _read_h5(path)
    if what != "a zip file":
        found = f"it is {what}" if what else "it begins as neither"
        raise InputError(f"{path} cannot be read as an npz file or an HDF5 file: {found}")
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    _check_header(file, entry, path)
            _check_bytes(sum(entry.file_size for entry in archive.infolist()), path)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an npz file: {files.reason(error)}") from error


def _check_header(file: Any, entry: zipfile.ZipInfo, path: str | os.PathLike) -> None:
    """Raises InputError if an array says that it is larger than its bytes, for which memory would be taken."""
    stream: BinaryIO = file
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if math.prod(shape) * dtype.itemsize > entry.file_size:
        raise InputError(f"{path} is damaged: {entry.filename!r:.60} says that it is larger than it is")


def _check_bytes(size: int, path: str | os.PathLike) -> None:
    if size > _MAX_BYTES:
        raise InputError(f"the tensors in {path} should take at most {_MAX_BYTES:,} bytes, found {size:,}")


def _read_h5(path: str | os.PathLike) -> dict[str, np.ndarray]:
    h5py = require("h5py", extra="io")
    found: dict[str, Any] = {}

    def link_elsewhere(name: str, link: Any) -> str | None:
        return name if isinstance(link, h5py.SoftLink | h5py.ExternalLink) else None

    def visit(name: str, item: Any) -> None:
        found[name] = item

    try:
        with h5py.File(path, "r") as file:
            elsewhere = file.visititems_links(link_elsewhere)
            if elsewhere is None:
                file.get("model_weights", file).visititems(visit)  # a saved model has its weights one group deeper
            datasets = {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}
            elsewhere = next((n for n, item in datasets.items() if item.external or item.is_virtual), elsewhere)
            if elsewhere is not None:
                raise InputError(
                    f"{path} has {elsewhere!r:.60} from another place or file, which is not followed: copy it in"
                )
            _check_bytes(sum(item.nbytes for item in datasets.values()), path)
            arrays: dict[str, np.ndarray] = {}
            for name, item in datasets.items():
                # conv1/conv1/kernel:0, the layer's name before the tensor's own.
                tensor = f"{name.split('/')[0]}/{name.split('/')[-1].removesuffix(':0')}"
                if tensor in arrays:
                    raise InputError(f"{path} has several tensors {tensor!r:.60}")
                arrays[tensor] = item[()]
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as an HDF5 file of Keras: {files.reason(error)}") from error
    return arrays

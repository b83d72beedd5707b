"""State dicts of PyTorch files, as NumPy arrays. Only weights are read: a file that holds code is refused."""

import os
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, require

WRAPPERS = ("state_dict", "model")
_PARALLEL = "module."


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, by name: of its entry `state_dict` or `model`, or of the file itself.

    The prefix "module." that DataParallel puts before all names is taken off. Floats less precise than float32 become
    float32.

    Raises:
      InputError: no such file, not one of PyTorch, objects in it that are not weights, or no tensors.
      MissingExtraError: PyTorch is not installed.
    """
    if not os.path.isfile(path):
        raise InputError(f"there is no checkpoint {path}")
    torch = require("torch", extra="torch")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's own words advise to load it all the same.
        raise InputError(
            f"{path} is not a PyTorch checkpoint, or holds more than weights, which is not loaded because it could run "
            f"code: save the state dict alone"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as a PyTorch checkpoint: {files.reason(error)}") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} should hold a state dict, found {type(content).__name__}")
    inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    if not inner:
        raise InputError(f"{path} holds no tensors")
    arrays = {name: _array(name, value, path) for name, value in inner.items()}
    if all(name.startswith(_PARALLEL) for name in arrays):
        arrays = {name.removeprefix(_PARALLEL): value for name, value in arrays.items()}
    return arrays


def _array(name: Any, value: Any, path: str | os.PathLike) -> np.ndarray:
    torch = require("torch", extra="torch")
    if not isinstance(name, str) or not isinstance(value, torch.Tensor):
        raise InputError(f"{path} should hold tensors by name, found {name!r} of type {type(value).__name__}")
    if value.is_floating_point() and value.dtype != torch.float64:
        value = value.float()
    return value.detach().cpu().numpy()

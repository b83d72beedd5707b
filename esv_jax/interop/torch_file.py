"""State dicts of PyTorch files, as NumPy arrays. Only weights are read: a file that holds code is refused."""

import logging
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from esv_jax import checks, files
from esv_jax.checks import InputError, require
from esv_jax.models import options

# What trainers call the entry of the weights; where it is not there, the only state dict is taken.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "params",
    "weights",
    "checkpoint",
)
# What wrappers put before all names: of DataParallel, Lightning and others; torch.compile puts its own anywhere.
_PREFIXES = ("module.", "model.", "net.", "network.")
_COMPILED = "_orig_mod."
_AVERAGE = re.compile(r"(^|_)(ema|swa|avg|average|averaged)(_|$)")
_DEEPEST_WRAPPER = 4
# How PyTorch's files of before 1.6 begin: a pickle of their magic number.
_OLD_FORMAT = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, by name: of the file itself, or of the entry that its trainer put them in.

    The entry is one of `WRAPPERS`, or else the only state dict; of a model and its average (EMA) the model is taken,
    and a warning logged that says so. Prefixes that all names share ("module." of DataParallel, "model." of Lightning,
    "_orig_mod." of torch.compile) are taken off. Sparse tensors become dense, and floats less precise than float32
    become float32.

    Raises:
      InputError: no such file, not one of PyTorch, objects in it that are not weights, no tensors, several state dicts,
        or tensors that are complex, quantised or have no values.
      MissingExtraError: PyTorch is not installed.
    """
    if not os.path.isfile(path):
        raise InputError(f"there is no checkpoint {path}")
    torch = require("torch", extra="torch")
    _check_size(path)
    try:
        # It warns of itself, and follows the indices of sparse tensors that it does not check.
        with warnings.catch_warnings(), torch.sparse.check_sparse_tensor_invariants():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
            state = _state_dict(content, path)
            size = sum(tensor.numel() for tensor in state.values())  # a small file can say that it holds much
            if size > options.MAX_WEIGHTS:
                raise InputError(f"{path} should hold at most {options.MAX_WEIGHTS:,} numbers, found {size:,}")
            arrays = {_name(name, path): _array(name, value, path) for name, value in state.items()}
    except InputError:
        raise
    except Exception as error:  # what it raises for a broken file may be anything
        what = _what_it_is(path)
        if what:
            raise InputError(f"{path} is not a PyTorch checkpoint of weights, but {what}") from error
        if isinstance(error, pickle.UnpicklingError):
            # PyTorch's own words advise to load it all the same.
            raise InputError(
                f"{path} is not a PyTorch checkpoint, or holds more than weights, which is not loaded because it could "
                f"run code: save the state dict alone"
            ) from error
        raise InputError(f"{path} cannot be read as a PyTorch checkpoint: {files.reason(error)}") from error
    if len(arrays) < len(state):
        raise InputError(f"{path} names a tensor twice, as text and as bytes")
    return _without_prefixes(arrays)


def _state_dict(content: Any, path: str | os.PathLike, depth: int = 0) -> Mapping[Any, Any]:
    """The tensors by name, wherever they are in what a file holds."""
    torch = require("torch", extra="torch")
    if not isinstance(content, Mapping):
        raise InputError(f"{path} should hold a state dict, found {type(content).__name__}")
    if not content:
        raise InputError(f"{path} holds no tensors")

    def is_state(value: Any) -> bool:
        return isinstance(value, Mapping) and bool(value) and all(isinstance(v, torch.Tensor) for v in value.values())

    if is_state(content):
        return content
    states = [name for name, value in content.items() if is_state(value)]
    averages = [name for name in states if _AVERAGE.search(str(name).lower())]
    models = [name for name in states if name not in averages]
    chosen = [name for name in models if name in WRAPPERS] or models or averages
    if len(chosen) > 1:
        raise InputError(
            f"{path} holds several state dicts ({checks.listed(map(repr, chosen))}): save the one that is meant alone"
        )
    if chosen:
        others = [name for name in states if name not in chosen]
        if others or chosen == averages:
            beside = f", not {checks.listed(map(repr, others))}" if others else ", an average of the model's"
            logging.getLogger(__name__).warning("%s: the weights are those of %r%s", path, chosen[0], beside)
        return content[chosen[0]]
    inner = [name for name in WRAPPERS if isinstance(content.get(name), Mapping)]
    if inner and depth < _DEEPEST_WRAPPER:
        return _state_dict(content[inner[0]], path, depth + 1)
    name, value = next((n, v) for n, v in content.items() if not isinstance(v, torch.Tensor))
    raise InputError(f"{path} should hold tensors by name, found {name!r:.60} of type {type(value).__name__}")


def _name(name: Any, path: str | os.PathLike) -> str:
    if isinstance(name, bytes):  # of Python 2
        name = name.decode("latin-1")
    if not isinstance(name, str):
        raise InputError(f"{path} should hold tensors by name, found {name!r:.60} of type {type(name).__name__}")
    return name


def _array(name: Any, tensor: Any, path: str | os.PathLike) -> np.ndarray:
    torch = require("torch", extra="torch")
    what = f"{name!r:.60} in {path}"
    if tensor.is_meta:
        raise InputError(f"{what} has a shape but no values (a meta tensor): save the model's real weights")
    if tensor.is_complex():
        raise InputError(f"{what} is complex ({tensor.dtype}), which the weights of these models are not")
    if tensor.is_quantized:
        raise InputError(
            f"{what} is quantised ({tensor.dtype}): save the weights from before, or what dequantize() gives"
        )
    try:
        tensor = tensor.detach()
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        if tensor.is_floating_point() and tensor.dtype != torch.float64:
            tensor = tensor.float()
        return tensor.resolve_neg().numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise InputError(f"{what} is of a kind that is not read ({tensor.dtype}): {files.reason(error)}") from error


def _without_prefixes(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    plain = {name.replace(_COMPILED, ""): array for name, array in arrays.items()}
    if len(plain) < len(arrays):
        return arrays
    while shared := next((p for p in _PREFIXES if all(name.startswith(p) and name != p for name in plain)), None):
        plain = {name.removeprefix(shared): array for name, array in plain.items()}
    return plain


def _check_size(path: str | os.PathLike) -> None:
    """Raises InputError for a zip that unpacks to much more than it is: PyTorch packs nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return
    if unpacked > 2 * os.path.getsize(path) + 2**20:
        raise InputError(f"{path} is a compressed zip of {unpacked:,} bytes, which PyTorch does not write")


def _what_it_is(path: str | os.PathLike) -> str | None:
    """What a file is that PyTorch does not read, in words; None if nothing is known."""
    what = files.looks_like(path)
    if what == "a zip file":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
            return None
        if any("/code/" in f"/{name}" for name in names):
            return "a TorchScript archive, which holds code"
        return None if any(name.endswith("data.pkl") for name in names) else "a zip of something else"
    if what is not None:
        return what
    with open(path, "rb") as file:
        start = file.read(len(_OLD_FORMAT))
    if not start.strip(b"\0"):
        return "a file of zeros"
    if start[8:9] == b"{" and start[4:8] == bytes(4):
        return "a safetensors file"
    if start[:1] == b"\x80" and not start.startswith(_OLD_FORMAT):
        return "a pickle of something else, which could run code"
    return None

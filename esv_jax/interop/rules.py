"""Rule tables: which tensor of a state dict becomes which Flax variable. All must match, both ways."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import numpy as np

from esv_jax import checks
from esv_jax.checks import InputError
from esv_jax.models import weights

StateDict = Mapping[str, np.ndarray]

COUNTER = "num_batches_tracked"  # of PyTorch's batch norm, of no use in inference
_TORCH_NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_TRANSPOSED = {4: (2, 3, 1, 0), 2: (1, 0)}  # [out, in, height, width] -> [height, width, in, out]


class Rule(NamedTuple):
    """One tensor.

    Attributes:
      source: its name in the state dict.
      shape: its shape there.
      target: the flat name of the Flax variable, "params/logits/kernel".
      convert: the source's array -> the variable's.
    """

    source: str
    shape: tuple[int, ...]
    target: str
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray


class Imported(NamedTuple):
    """A model made from someone else's weights; the fields of a `model_folder.ModelCard` and the variables.

    Attributes:
      kind: as in the card.
      options: of the Flax module.
      feature_dim: D; of the features that a head reads or a backbone makes.
      variables: the Flax variables, float32.
    """

    kind: str
    options: dict[str, Any]
    feature_dim: int
    variables: Any


def convert(rules: Sequence[Rule], state: StateDict, where: str, absent: Mapping[str, np.ndarray] | None = None) -> Any:
    """The Flax variables of a state dict, float32.

    Args:
      rules: one for every tensor; counters of batch norms that the rules know need none.
      state: the state dict as NumPy arrays.
      where: what to call it in errors.
      absent: variables that the state dict does not have, by their flat names.

    Raises:
      InputError: tensors are missing, not expected or wrongly shaped (named, up to three of each), or hold something
        else than real numbers that are finite in float32.
    """
    norms = {rule.source.removesuffix("running_mean") for rule in rules if rule.source.endswith("running_mean")}
    used = {
        name: value
        for name, value in state.items()
        if not (name.endswith(COUNTER) and name.removesuffix(COUNTER) in norms)
    }
    weights.check_same_tensors(where, {rule.source: rule.shape for rule in rules}, used)
    flat = dict(absent or {})
    for rule in rules:
        array = _float32(used[rule.source], f"{rule.source} in {where}")
        flat[rule.target] = np.ascontiguousarray(rule.convert(array))
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _float32(values: Any, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise InputError(f"{what} should be real numbers, found {array.dtype}")
    if array.dtype.kind in "iu" and array.dtype.itemsize == 1:  # their scale is kept elsewhere
        raise InputError(f"{what} should be floats, found integers of 8 bits ({array.dtype}), as quantised weights are")
    with np.errstate(over="ignore"):  # an infinity, which is refused
        converted = array.astype(np.float32)
    checks.check_finite(what, converted)
    if array.dtype.kind in "iu" and (converted.astype(np.float64) != array.astype(np.float64)).any():
        raise InputError(f"{what} should be floats, found integers ({array.dtype}) that float32 does not hold")
    return converted


def of_torch(layer: str, leaf: str, target: str, shape: tuple[int, ...]) -> Rule:
    """The rule of the variable `target` of a shape, which is the `leaf` ("kernel") of what PyTorch calls `layer`."""
    source = f"{layer}.{_TORCH_NAMES[leaf]}"
    axes = _TRANSPOSED.get(len(shape))
    if axes is None:
        return Rule(source, shape, target)
    return Rule(source, tuple(shape[i] for i in np.argsort(axes)), target, lambda a: a.transpose(axes))

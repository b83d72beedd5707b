"""Play Fair's feature heads (Price & Damen, 2020): the TSN, and the TRNs of single scales, from their state dicts.

A TRN is a `torch.nn.Sequential`, so its tensors are called by their place in it: 0 lays the frames end to end, 1 may
be a ReLU of the features, and then, once a hidden layer, come Linear, maybe BatchNorm1d, ReLU and maybe Dropout; the
last is a Linear. Which of these there are is read off the places and shapes.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax.checks import InputError, listed
from esv_jax.interop import rules
from esv_jax.interop.rules import Imported, Rule, StateDict
from esv_jax.models import TRN, TSN, weights


class _Layer(NamedTuple):
    """A Linear of the Sequential, at `place`, with what follows it directly."""

    place: int
    width_in: int
    width_out: int
    has_bias: bool
    has_norm: bool


def tsn(state: StateDict, where: str, *, input_relu: bool = True) -> Imported:
    """The TSN: a linear classifier of every frame, `classifier.weight` [C, D] and `classifier.bias` [C].

    Args:
      state: the state dict.
      where: what to call it in errors.
      input_relu: whether the features go through a ReLU first, as Play Fair's do; the state dict cannot tell.

    Raises:
      InputError: tensors are missing, not expected or wrongly shaped, or not finite.
    """
    weight = state.get("classifier.weight")
    num_classes, dim = np.shape(weight) if weight is not None and np.ndim(weight) == 2 else (1, 1)
    made = weights.shapes(TSN(num_classes), jax.ShapeDtypeStruct((1, dim), np.float32))
    table = [rules.of_torch("classifier", target.split("/")[1], target, shape) for target, shape in made.items()]
    variables = rules.convert(table, state, where)
    return Imported("tsn", {"num_classes": num_classes, "input_relu": input_relu}, dim, variables)


def trn(state: StateDict, where: str, *, num_frames: int | None = None, feature_dim: int | None = None) -> Imported:
    """The TRN of one scale.

    Args:
      state: the state dict.
      where: what to call it in errors.
      num_frames: how many frames it takes; the state dict knows only the product with `feature_dim`.
      feature_dim: D. At least one of both is needed; both are checked.

    Raises:
      InputError: neither is given or they do not fit the first layer, the layers are not those of a TRN, tensors are
        missing, not expected or wrongly shaped, or not finite.
    """
    prefix, layers = _layers(state, where)
    num_frames, feature_dim = _clip_shape(layers[0].width_in, num_frames, feature_dim, where)
    hidden, last = layers[:-1], layers[-1]
    widths = sorted({layer.width_out for layer in hidden})
    if len(widths) > 1:
        raise InputError(f"the hidden layers of {where} should have the same width, found {listed(widths)}")
    options: dict[str, Any] = {
        "num_frames": num_frames,
        "hidden_dim": widths[0],
        "num_classes": last.width_out,
        "num_hidden_layers": len(hidden),
        "batch_norm": hidden[0].has_norm,
        "input_relu": layers[0].place == 2,
    }
    table, absent = _rules(TRN(**options), feature_dim, prefix, layers)
    variables = rules.convert(table, state, where, absent)
    return Imported("trn", options, feature_dim, variables)


def multiscale_trn(states: Sequence[StateDict], where: Sequence[str]) -> Imported:
    """The multi-scale TRN of TRNs for 1, 2, ..., M frames.

    Args:
      states: their state dicts, in this order. The first one's inputs give the dimension of the features.
      where: what to call them in errors.

    Raises:
      InputError: as for `trn`; or a TRN is for another number of frames than its place says, or of other classes,
        widths or layers than the first.
    """
    first = trn(states[0], where[0], num_frames=1)
    variables: dict[str, dict] = {"params": {}, "batch_stats": {}}
    expected = {name: value for name, value in first.options.items() if name != "num_frames"}
    for scale, (state, name) in enumerate(zip(states, where, strict=True), start=1):
        one = trn(state, name, num_frames=scale, feature_dim=first.feature_dim)
        for option, value in expected.items():
            if one.options[option] != value:
                raise InputError(
                    f"{name} has {option} {one.options[option]}, but {where[0]} has {value}: all scales should agree"
                )
        for collection, tree in one.variables.items():
            variables[collection][f"scale_{scale}"] = tree
    options = {"num_scales": len(states), **expected}
    return Imported("multiscale_trn", options, first.feature_dim, {k: v for k, v in variables.items() if v})


def _clip_shape(width: int, num_frames: int | None, feature_dim: int | None, where: str) -> tuple[int, int]:
    """(k, D) with k * D = width."""
    if num_frames is None and feature_dim is None:
        raise InputError(f"{where} takes {width} numbers: give num_frames or feature_dim, their product")
    if feature_dim is not None and width % feature_dim == 0 and num_frames not in (None, width // feature_dim):
        raise InputError(
            f"{where} is for {width // feature_dim} frames of {feature_dim} features, but should be for {num_frames}"
        )
    if num_frames is None:
        num_frames = max(1, width // (feature_dim or 1))
    dim = feature_dim or width // num_frames
    if num_frames * dim != width:
        per_frame = feature_dim or "equally many"
        raise InputError(f"{where} takes {width} numbers, which are not {num_frames} frames of {per_frame} features")
    return num_frames, dim


def _layers(state: StateDict, where: str) -> tuple[str, list[_Layer]]:
    """What the tensors' names begin with, and the Linears in order."""
    places: dict[int, set[str]] = {}
    prefixes = set()
    for name in state:
        *front, number, leaf = ["", *name.split(".")]
        if not (number.isdecimal() and number.isascii() and len(number) <= 4):
            raise InputError(
                f"{where} should hold the tensors of a TRN, called model.PLACE.weight and so on; found {name!r:.60}"
            )
        places.setdefault(int(number), set()).add(leaf)
        prefixes.add("".join(f"{part}." for part in front if part))
    if len(prefixes) != 1:
        raise InputError(
            f"{where} should hold the tensors of one TRN, found {listed(sorted(prefixes)) or 'no tensors'}"
        )
    prefix = prefixes.pop()
    norms = {place for place, leaves in places.items() if "running_mean" in leaves}
    layers = []
    for place in sorted(set(places) - norms):
        weight = state.get(f"{prefix}{place}.weight")
        if weight is None or np.ndim(weight) != 2:
            raise InputError(f"{where} should have a Linear at {prefix}{place}, found {listed(sorted(places[place]))}")
        width_out, width_in = np.shape(weight)
        layers.append(_Layer(place, width_in, width_out, "bias" in places[place], place + 1 in norms))
    _check_places(prefix, layers, norms, where)
    return prefix, layers


def _check_places(prefix: str, layers: list[_Layer], norms: set[int], where: str) -> None:
    """Raises InputError unless the layers can be those of a TRN: what has no tensors shows only in the places."""
    if len(layers) < 2:
        raise InputError(f"{where} should have a hidden layer and one for the classes, found {len(layers)} layers")
    stray = norms - {layer.place + 1 for layer in layers}
    if stray:
        raise InputError(f"{where} has a batch norm at {prefix}{min(stray)} that does not follow a Linear directly")
    if layers[0].place not in (1, 2):
        raise InputError(
            f"the first Linear of {where} should be {prefix}1 or {prefix}2, found {prefix}{layers[0].place}"
        )
    if len({layer.has_norm for layer in layers[:-1]}) > 1 or layers[-1].has_norm:
        raise InputError(f"{where} should have a batch norm after every hidden layer, or none")
    for layer, above in itertools.pairwise(layers):
        between = above.place - layer.place - 1 - layer.has_norm  # ReLU, and maybe Dropout
        if between not in (1, 2):
            raise InputError(
                f"{where} should have a ReLU, and at most a Dropout, between {prefix}{layer.place} and "
                f"{prefix}{above.place}, found {between} modules without tensors"
            )


def _rules(
    module: TRN, feature_dim: int, prefix: str, layers: list[_Layer]
) -> tuple[list[Rule], dict[str, np.ndarray]]:
    """The rules, and biases of zero where PyTorch has none because a batch norm follows."""
    named = dict(zip(["first", *(f"hidden_{n}" for n in range(2, len(layers))), "logits"], layers, strict=True))
    place = {name: layer.place for name, layer in named.items()}
    place |= {f"norm_{number}": layer.place + 1 for number, layer in enumerate(layers, start=1)}
    table, absent = [], {}

    def first_kernel(weight: np.ndarray) -> np.ndarray:
        return weight.reshape(-1, module.num_frames, feature_dim).transpose(1, 2, 0)

    made = weights.shapes(module, jax.ShapeDtypeStruct((1, module.num_frames, feature_dim), np.float32))
    for target, shape in made.items():
        _, name, leaf = target.replace("first_bias", "first/bias").split("/")
        rule = rules.of_torch(f"{prefix}{place[name]}", leaf, target, shape)
        if target == "params/first/kernel":
            rule = rule._replace(shape=(module.hidden_dim, layers[0].width_in), convert=first_kernel)
        if leaf == "bias" and name in named and named[name].has_norm and not named[name].has_bias:
            absent[target] = np.zeros(shape, np.float32)
        else:
            table.append(rule)
    return table, absent

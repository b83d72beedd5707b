"""The flags of anyone's model, the same for every script: what it is, what stands in for removed frames."""

import dataclasses
import functools
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

import esv_jax
from esv_jax import checks, fingerprints
from esv_jax.base import Game
from esv_jax.checks import InputError
from esv_jax.data.annotations import read_class_names
from esv_jax.data.priors import read_priors
from esv_jax.games.host import LINKS
from esv_jax.games.removals import NAMED

from . import cli

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

ONNX = cli.DEFINE_path("onnx", None, "ONNX model, in place of --model.")
REMOVAL = flags.DEFINE_enum("removal", "nearest", list(NAMED), "Anyone's model: what stands in for removed frames.")
LINK = flags.DEFINE_enum(
    "link", "softmax", list(LINKS), "Anyone's model: how what it gives becomes scores; identity: it gives scores."
)
LAYOUT = flags.DEFINE_string("layout", None, "PyTorch and ONNX models: the axes they take, like BTCHW, BCTHW or BTD.")
CLASSES = cli.DEFINE_path("classes", None, "Anyone's model: json or csv of the names of its classes.")
ROWS = flags.DEFINE_integer("rows_at_once", 8, "Anyone's model: clips in a call.", lower_bound=1)
CALLS_AT_ONCE = flags.DEFINE_integer(
    "calls_at_once", 1, "Anyone's model: calls at a time, for a server.", lower_bound=1
)
RETRIES = flags.DEFINE_integer(
    "retries", 0, "Anyone's model: how often a call is repeated after errors of the connection.", lower_bound=0
)


class HostModel(NamedTuple):
    """Anyone's model.

    Attributes:
      game, model: what `explain` is given. name: for titles.
      takes_pixels: whether it takes uint8 RGB [N, T, H, W, 3] as they are; else numbers, normalised, in the layout.
    """

    game: Game
    model: Any
    name: str
    takes_pixels: bool


def is_given(model: str | None) -> bool:
    """Whether --model or --onnx means a model of this kind, and not a model folder.

    Raises:
      InputError: both are given.
    """
    if ONNX.value is not None and flags.FLAGS["model"].present:
        raise InputError("--model and --onnx both name a model: give one of them")
    return ONNX.value is not None or (bool(_FACTORY.fullmatch(model or "")) and not os.path.exists(model or ""))


def load(model: str | None, priors: str | None, layout: str) -> HostModel:
    """The model of --onnx or --model=module:function, a factory that is called without arguments.

    It returns predict, (clips [N, T, ...]) -> scores [N, C], or a torch.nn.Module.

    Args:
      model: --model.
      priors: --priors, the worth of nobody.
      layout: of PyTorch and ONNX models, where --layout is not given.

    Raises:
      InputError: there is no such module, function or file, or what it returns is none of these.
    """
    layout = LAYOUT.value or layout
    empty = None if priors is None else _priors(priors)
    given: dict[str, Any] = {"empty": empty, "removal": REMOVAL.value, "link": LINK.value, "batch_size": ROWS.value}
    if empty is None and not NAMED[REMOVAL.value]().of_nobody:
        raise InputError(
            f"--priors should be given, the worth of no frames: with --removal={REMOVAL.value} the model cannot be "
            "asked for it (as with mean, zero, blur and noise)"
        )
    if ONNX.value is not None:
        _refuse(CALLS_AT_ONCE, RETRIES)
        path = Path(ONNX.value)
        return HostModel(esv_jax.onnx_game(layout=layout, **given), path, path.name, False)
    model = model or ""
    found = _called(model)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(found, torch.nn.Module):
        _refuse(CALLS_AT_ONCE, RETRIES)
        return HostModel(esv_jax.torch_game(layout=layout, **given), found, model, False)
    if not callable(found):
        raise InputError(
            f"{model} should return predict, a function of clips, or a torch.nn.Module, found {type(found).__name__}"
        )
    game = esv_jax.host_game(_Predict(model), workers=CALLS_AT_ONCE.value, retries=RETRIES.value, **given)
    form: Any = game.form
    of_code = dataclasses.replace(form, code=f"{form.code} {fingerprints.of_code(found)}")
    return HostModel(game._replace(form=of_code), found, model, True)


def refuse_all(*more: Any) -> None:
    """Raises InputError if one of the flags of this file, or of `more`, is given: the model is a model folder's."""
    _refuse(REMOVAL, LINK, LAYOUT, CLASSES, ROWS, CALLS_AT_ONCE, RETRIES, *more)


def _refuse(*unused: Any) -> None:
    given = [f"--{flag.name}" for flag in unused if flags.FLAGS[flag.name].present]
    if given:
        raise InputError(f"{checks.listed(given)} is for anyone's model, and says nothing of this one: leave it out")


def class_names(num_classes: int) -> tuple[str, ...]:
    """Those of --classes, or their numbers.

    Raises:
      InputError: there are more or fewer of them.
    """
    if CLASSES.value is None:
        return tuple(f"class {c}" for c in range(num_classes))
    names = read_class_names(CLASSES.value)
    if len(names) != num_classes:
        raise InputError(f"{CLASSES.value} should name the model's {num_classes} classes, found {len(names)}")
    return tuple(names)


def described(model: HostModel) -> dict[str, Any]:
    """For a result's provenance: the model, the removal with its parameters, the link, and a digest of their code."""
    form: Any = model.game.form
    digest = fingerprints.of_model(model.model)
    return {"name": model.name, "kind": "host", "digest": digest, "game": form.about, "code": form.code}


class _Predict:
    """`predict` of host_game, under the factory's name: what it returned is the model."""

    def __init__(self, name: str):
        self.__qualname__ = name

    def __call__(self, predict: Callable[[Any], Any], *clips: Any) -> Any:
        return predict(*clips)


@functools.cache
def _called(name: str) -> Any:
    module, _, function = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # `esv-jax` is no module: modules of the folder that it runs in are found too
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise InputError(f"--model={name} should name a module, found none called {error.name!r}") from error
    if not callable(getattr(found, function, None)):
        raise InputError(f"--model={name} should name a function, found none called {function!r} in {module}")
    factory = getattr(found, function)
    try:
        inspect.signature(factory).bind()
    except ValueError:  # of functions that do not tell
        pass
    except TypeError as error:
        raise InputError(
            f"--model={name} should name a factory without arguments, which returns predict or a torch.nn.Module; "
            f"found a function with some ({error})"
        ) from error
    return factory()


def _priors(path: str) -> np.ndarray:
    if CLASSES.value is not None:
        return read_priors(path, len(read_class_names(CLASSES.value)))
    raise InputError("--classes should be given beside --priors, so that these are known to be of the model's classes")

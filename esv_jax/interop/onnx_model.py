"""Games of ONNX models, run by onnxruntime."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax import checks, files, fingerprints
from esv_jax.base import Game, Link
from esv_jax.games.host import host_game
from esv_jax.games.removals import made
from esv_jax.interop import layouts

_DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def onnx_game(
    *,
    empty: Any = None,
    removal: Any = "nearest",
    link: str | Link = "softmax",
    layout: str = "BTCHW",
    output: str | None = None,
    batch_size: int = 8,
    check: bool = True,
) -> Game:
    """`host_game` of an ONNX model: the `pathlib.Path` of its file, which `explain` is given as params, or an
    InferenceSession.

    The video is an array [T, ...], its other axes in the order that `layout` says. Archives tell models apart by what
    is in the file; of a session they do not know that.

    Args:
      empty, removal, batch_size, check: as for `host_game`.
      link: "softmax", as models give logits as a rule; or as for `host_game`.
      layout: the axes of the model's first input, as for `torch_game`: "BTCHW", "BCTHW", "BTD".
      output: the name of the output that holds the scores [N, C]; None: the only one, or "logits".

    Raises:
      InputError: an argument is none of these.
    """
    layouts.check(layout)
    removal = layouts.of_removal(removal, layout)
    if made(removal).show is None:
        raise checks.InputError(f"removal should be one that changes clips, found {removal!r}: the model takes no mask")
    predict = functools.partial(_predict, layout, output)
    return host_game(predict, empty=empty, removal=removal, link=link, batch_size=batch_size, check=check)


def input_shape(path: str | os.PathLike) -> list[int | None]:
    """The shape of a model's first input; None where it is left open.

    Raises:
      InputError: the file is no ONNX model, or is not there.
    """
    session = _session(Path(path), _stamp(Path(path)))
    return [size if isinstance(size, int) else None for size in session.get_inputs()[0].shape]


def _predict(layout: str, output: str | None, model: Any, clips: np.ndarray) -> Any:
    if not isinstance(model, Path) and not hasattr(model, "get_inputs"):
        raise checks.InputError(
            "the model should be the pathlib.Path of an ONNX file, or an InferenceSession, found "
            f"{type(model).__name__}"
        )
    session = _session(model, _stamp(model)) if isinstance(model, Path) else model
    first = session.get_inputs()[0]
    if first.type not in _DTYPES:
        raise checks.InputError(
            f"the model's first input should be of floating point numbers, found {first.name!r} of {first.type}"
        )
    given = layouts.ordered(clips, layout).astype(_DTYPES[first.type])
    fits = zip(given.shape[1:], first.shape[1:], strict=False)
    if given.ndim != len(first.shape) or any(isinstance(size, int) and size != found for found, size in fits):
        raise checks.InputError(
            f"clips should fit the model's input {first.name!r}, {list(first.shape)}, found {list(given.shape)}: is "
            f"the layout {layout} right?"
        )
    names = [found.name for found in session.get_outputs()]
    if output is not None and output not in names:
        raise checks.InputError(f"output should be one of the model's, {checks.listed(names)}, found {output!r}")
    wanted = [output] if output is not None else ["logits"] if "logits" in names else names
    fixed = first.shape[layout.index("B")]
    if not isinstance(fixed, int) or fixed == len(given):
        return _alone(session.run(wanted, {first.name: given}))
    # A model that was exported for so many clips at a time.
    rows = [np.resize(np.arange(start, min(start + fixed, len(given))), fixed) for start in range(0, len(given), fixed)]
    found = [session.run(wanted, {first.name: given[of]}) for of in rows]
    return _alone([np.concatenate(of_output)[: len(given)] for of_output in zip(*found, strict=True)])


def _alone(outputs: list[Any]) -> Any:
    return outputs[0] if len(outputs) == 1 else outputs


def _stamp(path: Path) -> tuple[tuple[int, int], ...]:
    with files.disk_errors(f"the model {path} cannot be read"):
        found = [file.stat() for file in fingerprints.with_data(path)]
    return tuple((status.st_mtime_ns, status.st_size) for status in found)


@functools.lru_cache(maxsize=1)
def _session(path: Path, stamp: tuple[tuple[int, int], ...]) -> Any:
    """A session of the file as it is now."""
    runtime = checks.require("onnxruntime", extra="onnx")
    try:
        return runtime.InferenceSession(str(path), providers=runtime.get_available_providers())
    except Exception as error:  # of classes that onnxruntime does not export
        raise checks.InputError(f"{path} should be an ONNX model: {files.reason(error)}") from error

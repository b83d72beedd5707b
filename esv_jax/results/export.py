"""A stored set of values as files that other programs read: a csv table of chosen classes, or one npz file."""

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, listed
from esv_jax.results.explanation import class_index
from esv_jax.results.store_files import INTERVAL

if TYPE_CHECKING:
    import xarray

COLUMNS = (
    "uid",
    "label",
    "class",
    "class_name",
    "frame",
    "frame_index",
    "esv",
    "std_error",
    "score",
    "prior",
    "low",
    "high",
)
_VIDEOS_AT_ONCE = 256
# Behind a sign, names such as YouTube's ids ("-5KQ66BBWC4") are none, nor are numbers.
_FORMULA = re.compile(r"[=@\t\r\n]|[+-].*[^\w.\- ]", re.DOTALL)


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would run a cell of this text: one that begins with =, @ or a control character, or with a
    sign before more than a name or a number."""
    return _FORMULA.match(cell) is not None


def save_csv(dataset: "xarray.Dataset", path: str | os.PathLike, classes: Sequence[str] | None = None) -> None:
    """Writes a long table, a line for every video, class and frame; frames of 0..T-1, frame_index is that in the video.

    The cells of low and high are empty where the store holds no intervals.

    Args:
      dataset: of `esv_jax.results.open`.
      path: the csv file, replaced if it exists.
      classes: names of the classes, each written once; None for every video's own, that of its label.

    Raises:
      InputError: an unknown class, a uid or class name that a spreadsheet would run as a formula, or the file cannot be
        written.
    """
    names = dataset["class_name"].values.tolist()
    # What stands in the cells is what stands in the store, letter by letter: it cannot be quoted out of harm's way.
    formulas = [ascii(text) for text in (*names, *dataset["uid"].values.tolist()) if is_formula(text)]
    if formulas:
        raise InputError(
            f"{path} would have cells that a spreadsheet runs as formulas, {listed(formulas)}: write them as .npz"
        )
    chosen = None if classes is None else list(dict.fromkeys(class_index(names, name) for name in classes))
    starts = range(0, dataset.sizes["video"], _VIDEOS_AT_ONCE)
    parts = (dataset.isel(video=slice(start, start + _VIDEOS_AT_ONCE)) for start in starts)
    lines = itertools.chain.from_iterable(_lines(part, names, chosen) for part in parts)
    with files.disk_errors(f"{path} cannot be written"):
        files.write_csv(path, itertools.chain([COLUMNS], lines))


def save_npz(dataset: "xarray.Dataset", path: str | os.PathLike) -> None:
    """Writes all variables of the Dataset under their names, and its attributes as json under "attributes".

    Read with `numpy.load(path)`; nothing in it is pickled.

    Args:
      dataset: of `esv_jax.results.open`.
      path: the npz file, replaced if it exists.

    Raises:
      InputError: the file cannot be written.
    """
    arrays: dict[str, Any] = {str(name): variable.values for name, variable in dataset.variables.items()}
    with files.disk_errors(f"{path} cannot be written"):
        files.write_npz(path, {"attributes": np.asarray(json.dumps(dataset.attrs)), **arrays})


def _lines(dataset: "xarray.Dataset", names: list[str], chosen: list[int] | None) -> Iterator[tuple[Any, ...]]:
    part = {str(name): variable.values for name, variable in dataset.variables.items()}
    for v, (uid, label) in enumerate(zip(part["uid"].tolist(), part["label"].tolist(), strict=True)):
        for c in [label] if chosen is None else chosen:
            score, prior = part["score"][v, c], part["prior"][c]
            ends = [part[name] for name in INTERVAL if name in part]
            for t, frame in enumerate(part["frame_index"][v].tolist()):
                values = part["esv"][v, t, c], part["std_error"][v, t, c], score, prior
                interval = [end[v, t, c] for end in ends] or [""] * len(INTERVAL)
                # The shortest digits that give the float32 back.
                yield uid, label, c, names[c], t, frame, *map(str, (*values, *interval))

"""A results store as one long table, for notebooks, spreadsheets and programs that look at data sets."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from esv_jax.checks import InputError, require
from esv_jax.results import store
from esv_jax.results.explanation import class_index
from esv_jax.results.store_files import INTERVAL

if TYPE_CHECKING:
    import os

    import pandas

MOST_ROWS = 2**26


def frame_table(
    path: "str | os.PathLike", num_frames: int | None = None, classes: Sequence[str] | None = None
) -> "pandas.DataFrame":
    """The values of a store as a table of pandas, a row for every video, class and frame.

    Args:
      path: the results store.
      num_frames: which of the numbers of frames in the store; not needed where it holds one.
      classes: names of the classes; None: all.

    Returns:
      The columns uid, label (the name of the true class; none where it is not known), class (a name), frame (0..T-1),
      frame_index (that in the video), esv, std_error, low, high (NaN where the store holds no intervals), score and
      prior. Names are categories, values float32.

    Raises:
      InputError: as `results.open`; an unknown class; more than `MOST_ROWS` rows.
      MissingExtraError: pandas is not installed.
    """
    pandas = require("pandas", extra="io")
    dataset = store.open(path, num_frames)
    names = dataset["class_name"].values.tolist()
    chosen = range(len(names)) if classes is None else dict.fromkeys(class_index(names, name) for name in classes)
    which = np.array(list(chosen), np.int64)
    num_videos, num_shown = (dataset.sizes[dim] for dim in ("video", "frame"))
    shape = (num_videos, len(which), num_shown)
    if num_videos * len(which) * num_shown > MOST_ROWS:
        raise InputError(
            f"a table of {path} would have {num_videos * len(which) * num_shown:,} rows, and at most {MOST_ROWS:,} are "
            "made: choose classes="
        )

    def column(of: np.ndarray, *axes: int) -> np.ndarray:
        """An array that has these of the axes video, class and frame, for every row."""
        missing = tuple(axis for axis in range(3) if axis not in axes)
        return np.broadcast_to(np.expand_dims(of, missing), shape).ravel()

    def category(codes: np.ndarray, known: Sequence[str]) -> Any:
        return pandas.Categorical.from_codes(codes, known)

    def values(name: str) -> np.ndarray:
        if name not in dataset:
            return np.full(shape, np.nan, np.float32).ravel()
        batch = int(dataset.attrs["batch_size"])
        parts = [dataset[name][first : first + batch].values[:, :, which] for first in range(0, num_videos, batch)]
        return np.concatenate(parts).transpose(0, 2, 1).ravel()

    return pandas.DataFrame(
        {
            "uid": category(column(np.arange(num_videos), 0), dataset["uid"].values.tolist()),
            "label": category(column(dataset["label"].values, 0), names),
            "class": category(column(which, 1), names),
            "frame": column(np.arange(num_shown), 2),
            "frame_index": column(dataset["frame_index"].values, 0, 2),
            **{name: values(name) for name in ("esv", "std_error", *INTERVAL)},
            "score": column(dataset["score"].values[:, which], 0, 1),
            "prior": column(dataset["prior"].values[which], 1),
        }
    )

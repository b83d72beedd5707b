"""An explanation as files that other programs read: attribution.npz for NumPy, attribution.json for everything."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax import files
from esv_jax.base import Player
from esv_jax.checks import InputError, listed
from esv_jax.results.explanation import Explanation, cells, predicted_class
from esv_jax.results.explanation import names as names_of
from esv_jax.results.export import is_formula

FORMAT = "esv_jax attribution"
FORMAT_VERSION = 1


def save_npz(path: Path, explained: Explanation) -> None:
    """Writes values, std_error, low and high [P, C], full, empty, class_names [C], frames, times [T], and predicted [].

    P is T, unless there are players: then there are their names, player_names [P], and which frames each has, bool
    player_frames [P, T].

    From low to high is a value's 95 % interval, infinite where there are too few samples for one.

    Read with `numpy.load(path)`; nothing in it is pickled.
    """
    names = ("values", "std_error", "low", "high", "full", "empty", "frames", "times")
    arrays = {name: getattr(explained, name) for name in names}
    arrays["class_names"] = np.asarray(explained.class_names, dtype=np.str_)
    if explained.players is not None:
        arrays["player_names"] = np.asarray([player.name for player in explained.players], dtype=np.str_)
        arrays["player_frames"] = np.array([np.isin(np.arange(len(explained.frames)), own) for own in cells(explained)])
    arrays["predicted"] = np.int64(predicted_class(explained))
    files.write_npz(path, arrays)


def save_pairs(path: Path, explained: Explanation, values: np.ndarray, std_error: np.ndarray) -> None:
    """Writes interactions and their standard errors [P, P, C] as a csv, a line for every class and pair of players.

    Columns: frame_a, frame_b (numbers in the video, or names of players), class (its name), value, std_error.

    Raises:
      InputError: a name that a spreadsheet would run as a formula.
    """
    known = names_of(explained)
    formulas = [name for name in (*known, *explained.class_names) if is_formula(name)]
    if formulas:
        raise InputError(f"{path} would have cells that a spreadsheet runs as formulas, {listed(map(repr, formulas))}")
    rows = [
        (known[i], known[j], name, f"{values[i, j, c]:.7g}", f"{std_error[i, j, c]:.7g}")
        for c, name in enumerate(explained.class_names)
        for i, j in itertools.combinations(range(len(known)), 2)
    ]
    files.write_csv(path, [("frame_a", "frame_b", "class", "value", "std_error"), *rows])


def save_json(path: Path, explained: Explanation, provenance: Mapping[str, Any]) -> None:
    """Writes what `save_npz` does and where it came from, as one JSON object. Infinite ends of intervals are null.

    Args:
      path: the file, replaced if it exists.
      explained: what to write.
      provenance: json-able; says how to make the same values again (video, model, estimator, seed, versions).
    """
    predicted = predicted_class(explained)
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "provenance": dict(provenance),
        "frames": explained.frames.tolist(),
        "times_in_seconds": explained.times.tolist(),
        "predicted": {
            "index": predicted,
            "class_name": explained.class_names[predicted],
            "score": float(explained.full[predicted]),
        },
        "class_names": list(explained.class_names),
        **({} if explained.players is None else {"players": [_described(player) for player in explained.players]}),
        **{name: getattr(explained, name).tolist() for name in ("empty", "full", "values", "std_error")},
        **{name: _with_nulls(getattr(explained, name)) for name in ("low", "high")},
    }
    files.write_text(path, json.dumps(record, allow_nan=False, ensure_ascii=False, indent=1) + "\n")


def _described(player: Player) -> dict[str, Any]:
    return {"name": player.name, "parts": {modality: list(indices) for modality, indices in player.parts}}


def _with_nulls(numbers: np.ndarray) -> list[list[float | None]]:
    return [[x if np.isfinite(x) else None for x in row] for row in numbers.tolist()]

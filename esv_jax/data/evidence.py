"""Which frames of a clip are known to carry the evidence for its class: annotations to compare attributions with."""

import math
import os

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, shown

# Of every clip, by uid (or, in evidence.json, by its file's name without ending), the numbers int64 [n] of its frames.
Evidence = dict[str, np.ndarray]
_FRAMES, _SECONDS = ("first", "last"), ("start", "end")
_LARGEST = 10**7  # frames of a clip


def read_evidence(path: str | os.PathLike, frames_per_second: float | None = None) -> Evidence:
    """Of every clip the numbers of the frames with evidence.

    Args:
      path: a csv with the columns uid,first,last (frames, counted from 0, both of them evidence) or uid,start,end
        (seconds after the first frame: evidence are frames from start on, and before end), a line for each part of a
        clip; or the evidence.json that `make_videos` writes.
      frames_per_second: of the clips, where the csv counts in seconds.

    Raises:
      InputError: it cannot be read, is not such a file, or counts in seconds and `frames_per_second` is not given.
    """
    if files.looks_like(path) is None and os.fspath(path).lower().endswith(".json"):
        return _of_json(path)
    columns, rows = files.read_csv(path, "the evidence")
    in_frames = set(_FRAMES) <= set(columns)
    files.check_columns(path, columns, ("uid", *(_FRAMES if in_frames or "first" in columns else _SECONDS)))
    if not in_frames and frames_per_second is None:
        raise InputError(f"{path} counts in seconds: say how many frames a second the clips have")
    if frames_per_second is not None and not 0 < frames_per_second < math.inf:
        raise InputError(f"frames_per_second should be more than 0, found {frames_per_second}")
    found: dict[str, list[np.ndarray]] = {}
    for line, row in rows:
        where = f"line {line} of {path}"
        if in_frames:
            first, last = (files.whole_number(row[name].strip()) for name in _FRAMES)
            told = f"first,last {row['first']!r:.20},{row['last']!r:.20}"
        else:
            first, last = _frames_between(row, frames_per_second or 1)
            told = f"start,end {row['start']!r:.20},{row['end']!r:.20}"
        if first is None or last is None or not 0 <= first <= last < _LARGEST:
            raise InputError(f"{where} should say where evidence begins and, not before, where it ends, found {told}")
        found.setdefault(row["uid"], []).append(np.arange(first, last + 1))
    return {uid: np.unique(np.concatenate(parts)).astype(np.int64) for uid, parts in found.items()}


def _frames_between(row: dict[str, str], rate: float) -> tuple[int | None, int | None]:
    """The first and the last frame whose times are start or later, and before end, as that of a clip of n frames is
    n / rate; of a part too short for any, the next one."""
    try:
        start, end = (float(row[name]) for name in _SECONDS)
    except ValueError:
        return None, None
    if not 0 <= start <= end < _LARGEST:
        return None, None
    # Of times that were rounded when they were written.
    first = math.ceil(start * rate - 1e-6)
    return first, max(first, math.ceil(end * rate - 1e-6) - 1)


def _of_json(path: str | os.PathLike) -> Evidence:
    content = files.read_json(path)
    found = {}
    try:
        for name, entry in content.items():
            frames = [files.whole_number(frame) for frame in entry["evidence"]]
            found[name] = np.array([frame for frame in frames if frame is not None], np.int64)
            if len(found[name]) < len(frames):
                raise ValueError(f"the frames of {shown(name)} should be 0, 1, 2, ..., found others")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the evidence {shown(path)} cannot be read: {error}") from error
    return found

"""Tracks of a point, such as a fingertip's: a csv of a class number and x,y of every moment in each line."""

import os
from typing import NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError

BLOCK = 60  # lines
_HELD_OUT_EVERY = 5  # blocks
_TEST_EVERY = 4  # lines of a block held out
_CENTRES = np.linspace(-2.0, 2.0, 8)  # along x and along y, in root mean squares
_WIDTH = 0.5
_LARGEST = 1e6  # of coordinates


class Tracks(NamedTuple):
    """Tracks [N, T, 2] float32, of the classes `label` int64 [N], from the lines `line` int64 [N] of the file (0, ...)
    and of the split "train", "validation" or "test", str [N]."""

    points: np.ndarray
    label: np.ndarray
    line: np.ndarray
    split: np.ndarray


def read_tracks(path: str | os.PathLike, *, validation: bool = False) -> Tracks:
    """Reads a csv without a header line, and holds out blocks of it.

    Tracks on neighbouring lines overlap in time. So whole blocks of 60 lines are held out, one in five; of these every
    fourth line is used, and no line of training is closer to them than a track is long. With `validation`, the middle
    blocks between those are held out in the same way, for that split. Points are divided by their root mean square in
    training.

    Raises:
      InputError: no such file, or lines that are not a class number and the same number of points each, or points that
        are not finite, or of one place alone.
    """
    rows = [row for _, row in files.read_rows(path, "the tracks")]
    length = len(rows[0])
    if length < 3 or length % 2 == 0 or any(len(row) != length for row in rows):
        raise InputError(f"every line of {path} should be a class and the x,y of a track, all of the same length")
    labels = [files.whole_number(row[0].strip()) for row in rows]
    if None in labels:
        strange = rows[labels.index(None)][0]
        raise InputError(
            f"every line of {path} should begin with a class number in plain digits, found {strange!r:.80}"
        )
    try:
        table = np.array([row[1:] for row in rows], np.float64)
    except ValueError as error:
        raise InputError(f"the tracks {path} cannot be read: {files.reason(error)}") from error
    if not (np.abs(table) < _LARGEST).all():
        raise InputError(f"{path} should have finite points of less than {_LARGEST:g}, found others")
    label, line = np.array(labels, np.int64), np.arange(len(table))
    points = table.reshape(len(table), -1, 2)
    turn = line // BLOCK % _HELD_OUT_EVERY
    test, validating = turn == _HELD_OUT_EVERY // 2, (turn == 0) & validation
    held_out = test | validating
    training = _distance(line, line[held_out]) >= points.shape[1]
    if not test.any() or not training.any():
        raise InputError(f"{path} should have tracks to train on and to hold out, found {len(line)} lines")
    chosen = training | (held_out & (line % _TEST_EVERY == 0))
    split = np.where(test, "test", np.where(validating, "validation", "train"))
    size = np.sqrt(np.square(points[training]).mean())
    if size == 0:
        raise InputError(f"{path} should have points in several places to train on, found all of them at 0,0")
    points = points / size
    return Tracks(points[chosen].astype(np.float32), label[chosen], line[chosen], split[chosen])


def _distance(line: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far each line is from the nearest of some others, which increase."""
    around = np.concatenate([[-len(line)], others, [2 * len(line)]])
    above = np.searchsorted(around, line)
    return np.minimum(line - around[above - 1], around[above] - line)


def features_of(points: np.ndarray) -> np.ndarray:
    """Features float32 [..., 66] of points [..., 2]: x, y, and how near the point is to each of 8 x 8 places.

    Nearness is exp(-d^2 / 2 w^2) at distance d, with w = 0.5 and places from -2 to 2 in x and y. These stand in for a
    backbone: linear in x and y alone, no mean of frame scores could tell a circle from its centre.
    """
    places = np.stack(np.meshgrid(_CENTRES, _CENTRES), axis=-1).reshape(-1, 2)
    squared = np.square(points[..., None, :].astype(np.float64) - places).sum(axis=-1)
    return np.concatenate([points, np.exp(-squared / (2 * _WIDTH**2))], axis=-1).astype(np.float32)

"""Tracks of a point, such as a fingertip's: a csv of a class number and x,y of every moment in each line."""

import csv
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


class Tracks(NamedTuple):
    """Tracks [N, T, 2] float32, of the classes `label` int64 [N], from the lines `line` int64 [N] of the file (0, ...)
    and of the split "train" or "test", str [N]."""

    points: np.ndarray
    label: np.ndarray
    line: np.ndarray
    split: np.ndarray


def read_tracks(path: str | os.PathLike) -> Tracks:
    """Reads a csv without a header line, and holds out blocks of it.

    Tracks on neighbouring lines overlap in time. So whole blocks of 60 lines are held out, one in five; of these every
    fourth line is used, and no line of training is closer to them than a track is long. Points are divided by their
    root mean square in training.

    Raises:
      InputError: no such file, or lines that are not a class and the same number of points each.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [np.array(row, np.float64) for row in csv.reader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"the tracks {path} cannot be read: {files.reason(error)}") from error
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or (length := lengths.pop()) < 3 or length % 2 == 0:
        raise InputError(f"every line of {path} should be a class and the x,y of a track, all of the same length")
    table = np.stack(rows)
    line = np.arange(len(table))
    points = table[:, 1:].reshape(len(table), -1, 2)
    held_out = line // BLOCK % _HELD_OUT_EVERY == _HELD_OUT_EVERY // 2
    distance = np.abs(line[:, None] - line[held_out][None]).min(axis=1, initial=len(line))
    training = distance >= points.shape[1]
    if not held_out.any() or not training.any():
        raise InputError(f"{path} should have tracks to train on and to hold out, found {len(line)} lines")
    chosen = training | (held_out & (line % _TEST_EVERY == 0))
    split = np.where(held_out, "test", "train")
    points = points / np.sqrt(np.square(points[training]).mean())
    return Tracks(points[chosen].astype(np.float32), table[chosen, 0].astype(np.int64), line[chosen], split[chosen])


def features_of(points: np.ndarray) -> np.ndarray:
    """Features float32 [..., 66] of points [..., 2]: x, y, and how near the point is to each of 8 x 8 places.

    Nearness is exp(-d^2 / 2 w^2) at distance d, with w = 0.5 and places from -2 to 2 in x and y. These stand in for a
    backbone: linear in x and y alone, no mean of frame scores could tell a circle from its centre.
    """
    places = np.stack(np.meshgrid(_CENTRES, _CENTRES), axis=-1).reshape(-1, 2)
    squared = np.square(points[..., None, :].astype(np.float64) - places).sum(axis=-1)
    return np.concatenate([points, np.exp(-squared / (2 * _WIDTH**2))], axis=-1).astype(np.float32)

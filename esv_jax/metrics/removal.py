"""Discarding frames one at a time: what to keep, and what the scores that are left say."""

import numpy as np


def order(values: np.ndarray, *, highest_first: bool) -> np.ndarray:
    """In which order frames go, int [..., T], by their values [..., T]; of equal ones, the earlier frame first."""
    return np.argsort(-values if highest_first else values, axis=-1, kind="stable")


def kept(order: np.ndarray) -> np.ndarray:
    """Which frames are left once 0..T-1 of them are gone, bool [..., T, T], for an order int [..., T]."""
    turn = np.argsort(order, axis=-1)  # when each frame goes
    return turn[..., None, :] >= np.arange(order.shape[-1])[:, None]


def supporting(values: np.ndarray) -> np.ndarray:
    """Which frames are left without those of negative value, bool [..., T]; the highest where all are negative."""
    highest = np.arange(values.shape[-1]) == values.argmax(axis=-1)[..., None]
    return (values >= 0) | highest


def area(curves: np.ndarray) -> np.ndarray:
    """Mean height, float64 [...], of curves [..., n] over equal steps, by trapezoids; the height itself where n = 1."""
    curves = np.asarray(curves, np.float64)
    if curves.shape[-1] == 1:
        return curves[..., 0]
    return np.trapezoid(curves, axis=-1) / (curves.shape[-1] - 1)


def is_right(scores: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Whether scores [B, ..., C] name the class label [B], bool [B, ...]."""
    return scores.argmax(axis=-1) == label.reshape(-1, *[1] * (scores.ndim - 2))


def of_class(scores: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Of [B, ..., C] the class `which` int [B] of every video, [B, ...]."""
    index = which.reshape(-1, *[1] * (scores.ndim - 1))
    return np.take_along_axis(scores, index, axis=-1)[..., 0]

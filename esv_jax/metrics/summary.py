"""Statistics of the values of a set of videos."""

import numpy as np

from esv_jax.checks import InputError


def supporting_share(values: np.ndarray) -> np.ndarray:
    """Share of frames with a positive value, float64 [...], of values [..., T]."""
    return (values > 0).mean(axis=-1)


def moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Values [..., T] smoothed: the mean over `width` frames around each, an odd number; at the ends, over fewer.

    Raises:
      InputError: an even width, or less than 1.
    """
    if width < 1 or width % 2 == 0:
        raise InputError(f"values are smoothed over an odd number of frames, 1 or more, found {width}")
    place = np.arange(values.shape[-1])
    near = np.abs(place[:, None] - place) <= width // 2
    return np.asarray(values, np.float64) @ (near / near.sum(axis=0))


def centre_of_mass(values: np.ndarray) -> np.ndarray:
    """Where in the clip the positive values lie, 0 (first frame) .. 1 (last), float64 [...], of values [..., T].

    1/2 where there is a single frame, or no positive value.
    """
    positive = np.maximum(np.asarray(values, np.float64), 0)
    place = (np.arange(values.shape[-1]) + 0.5) / values.shape[-1]
    total = positive.sum(axis=-1)
    return np.where(total > 0, (positive * place).sum(axis=-1) / np.where(total > 0, total, 1), 0.5)


def best_besides(scores: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The class int [B] with the highest score among those that are neither the first of scores [B, C] nor label [B].

    Where there is no third class, the second.
    """
    ranked = np.argsort(-scores, axis=1, kind="stable")
    second_is_label = (ranked[:, 1] == label) & (scores.shape[1] > 2)
    return np.where(second_is_label, ranked[:, min(2, scores.shape[1] - 1)], ranked[:, 1])

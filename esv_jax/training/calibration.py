"""Temperatures for every number of frames, fitted on clips that were not trained on (Guo et al. 2017).

Of few clips a model may be right about all of them, and the temperature of least surprise is then 0. So 1 / temperature
has a normal prior around 1, which a hundred clips outweigh. The subsets of a clip are together one observation: they
are wrong together.
"""

from typing import NamedTuple

import numpy as np

from esv_jax.training import validation

# Temperatures are looked for in this range.
LEAST, MOST = 0.05, 20.0
# Standard deviation of 1 / temperature beforehand.
PRIOR_DEVIATION = 0.5
_HALVINGS = 30
_FOLDS = 2


class Calibration(NamedTuple):
    """What came of it.

    Attributes:
      temperature: float64 [T], of 1..T frames, fitted on all clips.
      error_before, error_after: calibration error, mean over 1..T frames, at temperatures of 1 and at ones fitted on
        the other half of the clips.
      loss_before, loss_after: `validation.loss` likewise.
    """

    temperature: np.ndarray
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float

    @property
    def helps(self) -> bool:
        """Whether error and loss are lower with temperatures, on clips that they were not fitted on.

        Error alone can fall while a few clips are given up altogether.
        """
        return self.error_after < self.error_before and self.loss_after < self.loss_before


def calibrated(logits: np.ndarray, size: np.ndarray, label: np.ndarray) -> Calibration | None:
    """Fits temperatures, and judges them by cross-fitting. None for fewer than two clips.

    Args:
      logits: joint logits [n, N, C] of N subsets of every clip.
      size: int [N], how many frames they have, increasing.
      label: int [n], the clips' classes.
    """
    if len(label) < _FOLDS:
        return None
    fold = np.random.default_rng(0).permutation(len(label)) % _FOLDS
    divided = np.empty(logits.shape)
    for one in range(_FOLDS):
        held, others = fold == one, fold != one
        divided[held] = divide(logits[held], size, fit(logits[others], size, label[others]))
    before, after = (validation.figures(some, size, label) for some in (logits, divided))
    errors = (float(some.calibration_error.mean()) for some in (before, after))
    losses = (float(some.nll.mean()) for some in (before, after))
    return Calibration(fit(logits, size, label), *errors, *losses)


def divide(logits: np.ndarray, size: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Logits [n, N, C] at the temperatures [T] of their sizes."""
    return logits / temperature[size - 1][None, :, None]


def fit(logits: np.ndarray, size: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The temperatures float64 [T] of every size, within 0.05..20: of the least sum over clips of their mean surprise
    plus (1 / temperature - 1)^2 / (2 * 0.5^2)."""
    return np.array([_fit_one(logits[:, size == k], label) for k in np.unique(size)])


def _fit_one(logits: np.ndarray, label: np.ndarray) -> float:
    """The sum is convex in b = 1 / temperature: where its slope is 0 is found by halving. That of a surprise is E[z] -
    z of the class."""
    scores = np.asarray(logits, np.float64)
    scores = scores - scores.max(axis=2, keepdims=True)
    wanted = np.take_along_axis(scores, label[:, None, None], axis=2).mean()
    low, high = np.log(1 / MOST), np.log(1 / LEAST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        weight = np.exp(np.exp(middle) * scores)
        expected = ((weight * scores).sum(axis=2) / weight.sum(axis=2)).mean()
        slope = len(label) * (expected - wanted) + (np.exp(middle) - 1) / PRIOR_DEVIATION**2
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))

"""Whether a classifier is as often right as it says; probabilities [N, C] and classes int [N] -> a number.

Guo, Pleiss, Sun & Weinberger 2017, "On calibration of modern neural networks"; Brier 1950.
"""

import numpy as np

from esv_jax.checks import InputError, check_finite, check_positive, check_shape


def calibration_error(probability: np.ndarray, label: np.ndarray, num_bins: int = 15) -> float:
    """Expected calibration error: how far confidence, the probability of the likeliest class, is from accuracy.

    The mean over examples of |accuracy - mean confidence| of their bin; bins of equal width (b / n, (b + 1) / n].

    Args:
      probability: [N, C], N >= 1.
      label: int [N], the true classes.
      num_bins: n.

    Raises:
      InputError: other shapes, no examples, classes outside of 0..C-1, or numbers that are not finite.
    """
    check_positive("num_bins", num_bins)
    probability, label = _checked(probability, label)
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == label
    gaps = np.bincount(bin_of(confidence, num_bins), weights=right - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(label))


def bin_of(confidence: np.ndarray, num_bins: int = 15) -> np.ndarray:
    """Which of n bins of equal width, (b / n, (b + 1) / n], confidences [...] of 0..1 lie in, int [...]."""
    edges = np.linspace(0, 1, num_bins + 1)
    return np.searchsorted(edges[1:-1], confidence, side="left")


def brier_score(probability: np.ndarray, label: np.ndarray) -> float:
    """The mean over examples of the sum over classes of (probability - 1 for the true class, 0 for others)^2; 0..2.

    Raises:
      InputError: as `calibration_error`.
    """
    probability, label = _checked(probability, label)
    truth = np.arange(probability.shape[1])[None] == label[:, None]
    return float(np.square(probability - truth).sum(axis=1).mean())


def _checked(probability: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as NumPy's, probabilities in float64."""
    probability, label = np.asarray(probability, np.float64), np.asarray(label)
    check_shape("probability", probability, ("N", "C"))
    check_finite("probability", probability)
    check_shape("label", label, (len(probability),))
    if len(label) == 0 or not np.issubdtype(label.dtype, np.integer):
        raise InputError(f"label should be integers [N], N at least 1, found {label.dtype} {list(label.shape)}")
    outside = label[(label < 0) | (label >= probability.shape[1])]
    if len(outside):
        raise InputError(f"label should be in 0..{probability.shape[1] - 1}, found {outside[0]}")
    return probability, label

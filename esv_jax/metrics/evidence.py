"""How well values single out the frames that carry the evidence, where it is known which do.

All take values [..., T] and evidence bool [..., T] and give float64 [...]; NaN where no frame or every frame is
evidence, for then there is nothing to tell apart.
"""

import numpy as np
from scipy.stats import rankdata


def auroc(values: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Chance that a frame of the evidence has a higher value than one that is not; equal values count half."""
    count = evidence.sum(axis=-1)
    # Of all pairs with a frame of the evidence, a rank counts those won; pairs within the evidence are taken off.
    won = (rankdata(values, axis=-1) * evidence).sum(axis=-1) - count * (count + 1) / 2
    return won / _or_nan(count * (evidence.shape[-1] - count), evidence)


def average_precision(values: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Mean over frames of the evidence of the share of evidence among the frames of at least their value."""
    at_least = values[..., None, :] >= values[..., :, None]
    precision = (at_least & evidence[..., None, :]).sum(axis=-1) / at_least.sum(axis=-1)
    return (precision * evidence).sum(axis=-1) / _or_nan(evidence.sum(axis=-1), evidence)


def mass_inside(values: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Share of the sum of values that falls on the evidence; values are to be >= 0. NaN too where all are 0."""
    values = np.asarray(values, np.float64)
    return (values * evidence).sum(axis=-1) / _or_nan(values.sum(axis=-1), evidence)


def chance_mass(evidence: np.ndarray) -> np.ndarray:
    """`mass_inside` of values that are the same for all frames: the share of frames that are evidence."""
    return _or_nan(evidence.mean(axis=-1), evidence)


def _or_nan(denominator: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    count = evidence.sum(axis=-1)
    defined = (count > 0) & (count < evidence.shape[-1]) & (denominator > 0)
    return np.where(defined, denominator, np.nan)

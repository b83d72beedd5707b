"""How much two attributions of the same videos agree; all are of [..., T] and [..., T] -> float64 [...]."""

import numpy as np


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation over frames, -1..1; NaN where one of them is the same for all frames."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    constant = (np.ptp(a, axis=-1) == 0) | (np.ptp(b, axis=-1) == 0)
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    scale = np.where(constant | (scale == 0), np.nan, scale)
    return np.clip((a * b).sum(axis=-1) / scale, -1, 1)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of ranks (equal values share the mean of theirs); NaN where one of them is constant."""
    from scipy.stats import rankdata  # takes longer to import than all the rest

    return pearson(rankdata(a, axis=-1), rankdata(b, axis=-1))


def sign_agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of frames that both call positive, or both do not."""
    return ((a > 0) == (b > 0)).mean(axis=-1)


def top_agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 where both have the same frame highest, else 0; of equal ones the earliest counts."""
    return (a.argmax(axis=-1) == b.argmax(axis=-1)).astype(np.float64)

"""How much the clips of every class count in training, where some classes are rare."""

import numpy as np

# Classes are weighed where the rarest has less than this share of the median class's clips.
RARE = 1 / 5
# A class of a few clips would otherwise be learnt by heart.
MOST = 10.0


def weights(label: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Weights float64 [C] of the classes, of mean 1 over the clips; None where no class is rare.

    Classes below the median count as much as one of median size (Eigen & Fergus 2015), but no clip more than ten times
    another. Classes that never occur are left out of it.

    Args:
      label: int [n], the classes of the clips.
      num_classes: C.
    """
    count = np.bincount(label, minlength=num_classes)
    median = np.median(count[count > 0])
    if count[count > 0].min() >= RARE * median:
        return None
    of_class = np.clip(median / np.maximum(count, 1), 1, MOST)
    return of_class / of_class[label].mean()

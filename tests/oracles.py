"""Independent references: brute force in float64 NumPy, by definitions that the package does not use."""

import itertools
import math

import numpy as np


def permutation_shapley(worth, num_frames):
    """Mean marginal contribution over all T! orderings. worth: sorted tuple of frames -> [C]."""
    known = {
        s: np.asarray(worth(s), np.float64)
        for k in range(num_frames + 1)
        for s in itertools.combinations(range(num_frames), k)
    }
    values = np.zeros((num_frames, len(known[()])))
    for order in itertools.permutations(range(num_frames)):
        for position, frame in enumerate(order):
            before = tuple(sorted(order[:position]))
            values[frame] += known[tuple(sorted((*before, frame)))] - known[before]
    return values / math.factorial(num_frames)


def cell_means(worth, subsets, num_frames):
    """The paper's sums from given subsets {size: rows}; a cell without a sample counts as 0."""
    worths = {k: np.array([worth(tuple(int(i) for i in row)) for row in rows]) for k, rows in subsets.items()}
    values = []
    for i in range(num_frames):
        terms = []
        for k in range(1, num_frames + 1):
            inside = np.array([i in row for row in subsets[k]])
            outside = ~np.array([i in row for row in subsets[k - 1]])
            with_frame = worths[k][inside].mean(axis=0) if inside.any() else 0.0
            without_frame = worths[k - 1][outside].mean(axis=0) if outside.any() else 0.0
            terms.append(with_frame - without_frame)
        values.append(np.mean(terms, axis=0))
    return np.array(values)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def multiscale_worth(scale_logits, empty, num_scales):
    """v(S) by definition: softmax of the mean over sizes of the mean over subsets. scale_logits: tuple -> [C]."""

    joint = score_average_worth(scale_logits, empty, num_scales)
    return lambda coalition: softmax(joint(coalition)) if coalition else empty


def score_average_worth(scale_scores, empty, num_scales):
    """The mean over sizes of the mean over subsets itself."""

    def worth(coalition):
        if not coalition:
            return empty
        means = [
            np.mean([scale_scores(s) for s in itertools.combinations(coalition, size)], axis=0)
            for size in range(1, min(len(coalition), num_scales) + 1)
        ]
        return np.mean(means, axis=0)

    return worth

"""The heads in float64 NumPy, from the words of the papers, one clip at a time."""

import itertools

import jax
import numpy as np


def float64(variables):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), variables)


def randomised(variables, seed=0):
    """Variables of the same shapes and dtypes without the zeros and ones that initialisation leaves; variances > 0."""
    rng = np.random.default_rng(seed)
    filled = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(a.dtype), variables)
    return jax.tree_util.tree_map_with_path(lambda path, a: 0.5 + abs(a) if path[-1].key == "var" else a, filled)


def trn_logits(params, clip, batch_stats=None, input_relu=False):
    """Logits [C] of one clip [k, D] by a TRN head's params."""
    x = np.asarray(clip, np.float64)
    if input_relu:
        x = np.maximum(x, 0)
    num_frames, feature_dim = x.shape
    kernel = params["first"]["kernel"]
    rows = [x[p, d] * kernel[p, d] for p in range(num_frames) for d in range(feature_dim)]
    x = np.sum(rows, axis=0) + params["first_bias"]
    layer = 1
    while True:
        if batch_stats is not None:
            norm, running = params[f"norm_{layer}"], batch_stats[f"norm_{layer}"]
            x = (x - running["mean"]) / np.sqrt(running["var"] + 1e-5) * norm["scale"] + norm["bias"]
        x = np.maximum(x, 0)
        layer += 1
        if f"hidden_{layer}" not in params:
            break
        x = x @ params[f"hidden_{layer}"]["kernel"] + params[f"hidden_{layer}"]["bias"]
    return x @ params["logits"]["kernel"] + params["logits"]["bias"]


def joint_logits(scale_logits, num_frames, num_scales):
    """A(all frames) [C] by definition. scale_logits: tuple of increasing frames -> [C]."""
    means = [
        np.mean([scale_logits(subset) for subset in itertools.combinations(range(num_frames), size)], axis=0)
        for size in range(1, min(num_frames, num_scales) + 1)
    ]
    return np.mean(means, axis=0)

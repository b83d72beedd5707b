"""Features of mean 0 and variance 1 to train on, and heads that take them as they were.

A head's first layer is linear in what it reads, so mean and scale go into its weights exactly, also behind a ReLU of
the features: (x - m) / s W + b = x (W / s) + (b - m / s W). So a model folder is like any other, and nothing has to be
done to features before they are explained.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import models

# A feature that hardly varies in training is not blown up: its scale is at least this share of a typical one's.
LEAST_SHARE = 0.01
_ROWS = 4096


class Scaling(NamedTuple):
    """Features x are trained on as (x - mean) / scale; float64 [D] each."""

    mean: np.ndarray
    scale: np.ndarray


def scaling_of(rows: np.ndarray, *, input_relu: bool = False) -> Scaling:
    """Mean and standard deviation of features [R, D], or, with `input_relu`, of their ReLU, over all rows.

    The least scale is a hundredth of the root mean square of all; it is 1 where no feature varies.
    """
    blocks = range(0, len(rows), _ROWS)

    def block(start: int) -> np.ndarray:
        values = np.asarray(rows[start : start + _ROWS], np.float64)
        return np.maximum(values, 0) if input_relu else values

    mean = sum(block(start).sum(axis=0) for start in blocks) / len(rows)
    variance = sum(np.square(block(start) - mean).sum(axis=0) for start in blocks) / len(rows)
    typical = np.sqrt(variance.mean())
    return Scaling(mean, np.maximum(np.sqrt(variance), LEAST_SHARE * typical) if typical > 0 else np.ones_like(mean))


def none(feature_dim: int) -> Scaling:
    """Features as they are."""
    return Scaling(np.zeros(feature_dim), np.ones(feature_dim))


def folded(model: models.TSN | models.MultiscaleTRN, variables: Any, scaling: Scaling) -> Any:
    """Variables that say of features what `variables` say of scaled ones, in their dtype."""
    params = jax.tree.map(np.asarray, dict(variables["params"]))
    if isinstance(model, models.TSN):
        kernel, bias = _folded(params["kernel"], params["bias"], scaling)
        return {**variables, "params": {**params, "kernel": kernel, "bias": bias}}
    for size in range(1, model.num_scales + 1):
        head = params[f"scale_{size}"]
        kernel, bias = _folded(head["first"]["kernel"], head["first_bias"], scaling)
        params[f"scale_{size}"] = {**head, "first": {"kernel": kernel}, "first_bias": bias}
    return {**variables, "params": params}


def _folded(kernel: np.ndarray, bias: np.ndarray, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Of a kernel [..., D, H] and a bias [H]."""
    scaled = kernel.astype(np.float64) / scaling.scale[:, None]
    shift = (scaling.mean @ scaled).reshape(-1, len(bias)).sum(axis=0)
    return scaled.astype(kernel.dtype), (bias - shift).astype(bias.dtype)

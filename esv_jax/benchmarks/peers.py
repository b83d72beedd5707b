"""Estimators of other packages, through their public API: they see a game of one class as a black box."""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

Worths = Callable[[np.ndarray], np.ndarray]


# The approximators of shapiq, with their options; RegressionMSR corrects gradient-boosted trees.
_SHAPIQ: dict[str, dict[str, Any]] = {
    "KernelSHAP": {"pairing_trick": True},
    "OddSHAP": {},
    "RegressionMSR": {"index": "SV"},
}


def of_shapiq(name: str, worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """Values [T] of an approximator of shapiq."""
    import shapiq

    peer = getattr(shapiq.approximator, name)(num_frames, random_state=seed, **_SHAPIQ[name])
    interactions = peer.approximate(evaluations, worths)
    return np.array([interactions[(i,)] for i in range(num_frames)])


def kernel_explainer(worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """shap's KernelExplainer with l1_reg=False."""
    import shap

    explainer = shap.KernelExplainer(_model(worths), np.zeros((1, num_frames)), seed=seed)
    # It evaluates the empty and the full set besides.
    found = explainer.shap_values(np.ones((1, num_frames)), nsamples=evaluations - 2, l1_reg=False, silent=True)
    return np.asarray(found).reshape(num_frames)


def exact_explainer(worths: Worths, num_frames: int) -> np.ndarray:
    """shap's ExactExplainer: values [T, C] of worths bool [N, T] -> float [N, C]."""
    import shap

    explainer = shap.explainers.Exact(_model(worths), shap.maskers.Independent(np.zeros((1, num_frames))))
    return explainer(np.ones((1, num_frames)), max_evals=2**num_frames).values[0]


def _model(worths: Worths) -> Worths:
    """Of coalitions as rows of 0 and 1, as shap gives them."""
    return lambda rows: worths(np.asarray(rows) > 0.5)


def available() -> tuple[dict[str, Callable[..., np.ndarray]], list[str]]:
    """The peers that can be imported, and what is missing for the others, in words."""
    peers: dict[str, Callable[..., np.ndarray]] = {}
    missing = []
    if importlib.util.find_spec("shap") is None:
        missing.append("shap's KernelExplainer: pip install shap")
    else:
        peers["shap KernelExplainer"] = kernel_explainer
    if importlib.util.find_spec("shapiq") is None:
        missing.append(
            "shapiq's RegressionMSR, OddSHAP and KernelSHAP: pip install 'shapiq>=1.8' on Python 3.12 or newer"
        )
        return peers, missing
    import shapiq

    names = list(_SHAPIQ)
    if not hasattr(shapiq.approximator, "OddSHAP"):
        names = ["KernelSHAP"]
        missing.append(f"shapiq's RegressionMSR and OddSHAP: shapiq 1.8 or newer is needed, found {shapiq.__version__}")
    peers |= {f"shapiq {name}": functools.partial(of_shapiq, name) for name in names}
    return peers, missing

"""Estimators of other packages, through their public API: they see a game of one class as a black box."""

import importlib.util
import warnings
from collections.abc import Callable

import numpy as np

Worths = Callable[[np.ndarray], np.ndarray]


def regression_msr(worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """shapiq's RegressionMSR (gradient-boosted trees, corrected)."""
    import shapiq

    peer = shapiq.approximator.RegressionMSR(num_frames, "SV", random_state=seed)
    return _singles(peer.approximate(evaluations, worths), num_frames)


def odd_shap(worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """shapiq's OddSHAP."""
    import shapiq

    return _singles(
        shapiq.approximator.OddSHAP(num_frames, random_state=seed).approximate(evaluations, worths), num_frames
    )


def kernel_shap(worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """shapiq's KernelSHAP with paired coalitions."""
    import shapiq

    peer = shapiq.approximator.KernelSHAP(num_frames, pairing_trick=True, random_state=seed)
    return _singles(peer.approximate(evaluations, worths), num_frames)


def kernel_explainer(worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """shap's KernelExplainer with l1_reg=False."""
    import shap

    def model(rows: np.ndarray) -> np.ndarray:
        return worths(np.asarray(rows) > 0.5)

    explainer = shap.KernelExplainer(model, np.zeros((1, num_frames)), seed=seed)
    # It evaluates the empty and the full set besides.
    found = explainer.shap_values(np.ones((1, num_frames)), nsamples=evaluations - 2, l1_reg=False, silent=True)
    return np.asarray(found).reshape(num_frames)


def exact_explainer(worths: Worths, num_frames: int) -> np.ndarray:
    """shap's ExactExplainer: values [T, C] of worths bool [N, T] -> float [N, C]."""
    import shap

    def model(rows: np.ndarray) -> np.ndarray:
        return worths(np.asarray(rows) > 0.5)

    explainer = shap.explainers.Exact(model, shap.maskers.Independent(np.zeros((1, num_frames))))
    return explainer(np.ones((1, num_frames)), max_evals=2**num_frames).values[0]


def _singles(interactions: object, num_frames: int) -> np.ndarray:
    return np.array([interactions[(i,)] for i in range(num_frames)])  # type: ignore[index]


def quietly(peer: Callable[..., np.ndarray], *args: object) -> np.ndarray:
    """Calls a peer without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peer(*args)


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

    peers["shapiq KernelSHAP"] = kernel_shap
    if hasattr(shapiq.approximator, "OddSHAP"):
        peers["shapiq OddSHAP"] = odd_shap
        peers["shapiq RegressionMSR"] = regression_msr
    else:
        missing.append(f"shapiq's RegressionMSR and OddSHAP: shapiq 1.8 or newer is needed, found {shapiq.__version__}")
    return peers, missing

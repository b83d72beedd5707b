"""Estimators of other packages, through their public API: they see a game of one class as a black box."""

import functools
import importlib.util
import itertools
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Worths = Callable[[np.ndarray], np.ndarray]
# Coalitions that captum's KernelShap asks for in one call; by default one.
CAPTUM_ROWS = 64


class _Approximator(NamedTuple):
    """A class of shapiq.approximator, its options and what it needs; complementary pairs where it leaves them open."""

    name: str
    options: dict[str, Any]
    needs: tuple[str, ...] = ()


# RegressionMSR and ProxySHAP, adjusted, correct gradient-boosted trees by what they miss; cross-fitted, trees of five
# folds by what they miss of the rest. ShaplEIG is a Gaussian process that chooses what to ask for next.
_SHAPIQ = {
    "KernelSHAP": _Approximator("KernelSHAP", {"pairing_trick": True}),
    "LeverageSHAP": _Approximator("LeverageSHAP", {}),
    "PolySHAP": _Approximator("PolySHAP", {"pairing_trick": True}),
    "kADDSHAP": _Approximator("kADDSHAP", {"pairing_trick": True}),
    "SVARM": _Approximator("SVARM", {"pairing_trick": True}),
    "OddSHAP": _Approximator("OddSHAP", {}),
    "RegressionMSR": _Approximator("RegressionMSR", {"index": "SV"}),
    "ProxySHAP": _Approximator("ProxySHAP", {"index": "SV", "max_order": 1}),
    "ProxySHAP adjusted": _Approximator("ProxySHAP", {"index": "SV", "max_order": 1, "adjustment": True}),
    "ProxySHAP cross-fitted": _Approximator(
        "ProxySHAP", {"index": "SV", "max_order": 1, "adjustment": True, "k_folds": 5}
    ),
    "ProxySPEX": _Approximator("ProxySPEX", {"index": "SV", "max_order": 1}),
    "ShaplEIG": _Approximator("ShaplEIG", {"show_progress": False}, needs=("torch", "gpytorch", "botorch")),
}
_ORDER_2 = {"index": "k-SII", "max_order": 2}
_SHAPIQ_PAIRS = {
    "KernelSHAP-IQ": _Approximator("KernelSHAPIQ", {**_ORDER_2, "pairing_trick": True}),
    "inconsistent KernelSHAP-IQ": _Approximator("InconsistentKernelSHAPIQ", {**_ORDER_2, "pairing_trick": True}),
    "SVARM-IQ": _Approximator("SVARMIQ", {**_ORDER_2, "pairing_trick": True}),
    "ProxySHAP": _Approximator("ProxySHAP", _ORDER_2),
    "ProxySHAP adjusted": _Approximator("ProxySHAP", {**_ORDER_2, "adjustment": True}),
    "ProxySHAP cross-fitted": _Approximator("ProxySHAP", {**_ORDER_2, "adjustment": True, "k_folds": 5}),
}


def of_shapiq(approximator: _Approximator, worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """Values [T] of an approximator of shapiq."""
    interactions = _approximated(approximator, worths, num_frames, evaluations, seed)
    return np.array([interactions[(i,)] for i in range(num_frames)])


def pairs_of_shapiq(
    approximator: _Approximator, worths: Worths, num_frames: int, evaluations: int, seed: int
) -> np.ndarray:
    """Interactions [T, T] of an approximator of shapiq, 0 on the diagonal."""
    interactions = _approximated(approximator, worths, num_frames, evaluations, seed)
    found = np.zeros((num_frames, num_frames))
    for i, j in itertools.combinations(range(num_frames), 2):
        found[i, j] = found[j, i] = interactions[(i, j)]
    return found


def _approximated(approximator: _Approximator, worths: Worths, num_frames: int, evaluations: int, seed: int) -> Any:
    import shapiq

    peer = getattr(shapiq.approximator, approximator.name)(n=num_frames, random_state=seed, **approximator.options)
    return peer.approximate(evaluations, worths)


def kernel_explainer(worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """shap's KernelExplainer with l1_reg=False."""
    import shap

    explainer = shap.KernelExplainer(_model(worths), np.zeros((1, num_frames)), seed=seed)
    # It evaluates the empty and the full set besides.
    found = explainer.shap_values(np.ones((1, num_frames)), nsamples=evaluations - 2, l1_reg=False, silent=True)
    return np.asarray(found).reshape(num_frames)


def permutation_explainer(worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """shap's PermutationExplainer: each order of the frames forwards and backwards, 2 T + 1 evaluations."""
    import shap

    masker = shap.maskers.Independent(np.zeros((1, num_frames)))
    explainer = shap.explainers.Permutation(_model(worths), masker, seed=seed)
    return explainer(np.ones((1, num_frames)), max_evals=evaluations, silent=True).values.reshape(num_frames)


def exact_explainer(worths: Worths, num_frames: int) -> np.ndarray:
    """shap's ExactExplainer: values [T, C] of worths bool [N, T] -> float [N, C]."""
    import shap

    explainer = shap.explainers.Exact(_model(worths), shap.maskers.Independent(np.zeros((1, num_frames))))
    return explainer(np.ones((1, num_frames)), max_evals=2**num_frames).values[0]


def captum_kernel(worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """captum's KernelShap, of coalitions as its inputs: its baseline is that of nobody."""
    import torch
    from captum.attr import KernelShap

    torch.manual_seed(seed)
    explainer = KernelShap(lambda rows: torch.from_numpy(worths(rows.numpy() > 0.5)))
    everyone, at_once = torch.ones(1, num_frames), min(CAPTUM_ROWS, evaluations)
    return explainer.attribute(everyone, n_samples=evaluations, perturbations_per_eval=at_once).numpy()[0]


def captum_sampling(worths: Worths, num_frames: int, evaluations: int, seed: int) -> np.ndarray:
    """captum's ShapleyValueSampling: random orders of the frames, T evaluations each, and one of nobody."""
    import torch
    from captum.attr import ShapleyValueSampling

    torch.manual_seed(seed)
    explainer = ShapleyValueSampling(lambda rows: torch.from_numpy(worths(rows.numpy() > 0.5)))
    everyone, orders = torch.ones(1, num_frames), (evaluations - 1) // num_frames
    return explainer.attribute(everyone, n_samples=orders, perturbations_per_eval=num_frames).numpy()[0]


def _model(worths: Worths) -> Worths:
    """Of coalitions as rows of 0 and 1, as shap gives them."""
    return lambda rows: worths(np.asarray(rows) > 0.5)


def available() -> tuple[dict[str, Callable[..., np.ndarray]], list[str]]:
    """The peers that can be imported, and what is missing for the others, in words."""
    peers: dict[str, Callable[..., np.ndarray]] = {}
    missing = []
    if importlib.util.find_spec("shap") is None:
        missing.append("shap's KernelExplainer and PermutationExplainer: pip install shap")
    else:
        peers |= {"shap KernelExplainer": kernel_explainer, "shap PermutationExplainer": permutation_explainer}
    if importlib.util.find_spec("captum") is None:
        missing.append("captum's KernelShap and ShapleyValueSampling: pip install captum scikit-learn")
    else:
        peers |= {"captum KernelShap": captum_kernel, "captum ShapleyValueSampling": captum_sampling}
    of_values, not_there = _of_shapiq(_SHAPIQ, of_shapiq)
    return peers | of_values, missing + not_there


def of_pairs() -> tuple[dict[str, Callable[..., np.ndarray]], list[str]]:
    """Those of interactions of two frames that can be imported, and what is missing for the others, in words."""
    return _of_shapiq(_SHAPIQ_PAIRS, pairs_of_shapiq)


def _of_shapiq(approximators: dict[str, _Approximator], run: Callable[..., np.ndarray]) -> tuple[dict, list[str]]:
    if importlib.util.find_spec("shapiq") is None:
        return {}, ["shapiq's estimators: pip install 'shapiq>=1.8' on Python 3.12 or newer"]
    import shapiq

    peers, missing = {}, []
    for name, approximator in approximators.items():
        needed = [package for package in approximator.needs if importlib.util.find_spec(package) is None]
        if needed:
            missing.append(f"shapiq's {name}: pip install {' '.join(needed)}")
        elif not hasattr(shapiq.approximator, approximator.name):
            missing.append(f"shapiq's {name}: shapiq 1.8 or newer is needed, found {shapiq.__version__}")
        else:
            peers[f"shapiq {name}"] = functools.partial(run, approximator)
    return peers, missing


class Listener:
    """Runs peers, and says each different warning of each of them once."""

    def __init__(self, say: Callable[[str], None]):
        self._say, self._said = say, set[tuple[str, str]]()

    def run(self, name: str, peer: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray | None:
        """What peer(*arguments) finds; None where it fails, which is said once too."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                found = peer(*arguments)
            # Anything may go wrong in there, with few evaluations above all.
            except Exception as error:
                found = None
                self.once(name, f"failed: {type(error).__name__}: {error}")
        for warning in told:
            self.once(name, f"warns: {warning.message}")
        return found

    def once(self, name: str, text: str) -> None:
        """Says it of this peer unless that was said, with whatever numbers in it."""
        line = text.partition("\n")[0]
        if (name, re.sub(r"[\d.]+", "0", line)) not in self._said:
            self._said.add((name, re.sub(r"[\d.]+", "0", line)))
            self._say(f"{name} {line}")

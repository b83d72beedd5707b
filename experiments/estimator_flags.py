"""The flags that choose an estimator, the same for every script."""

from typing import Any

from absl import flags

import esv_jax
from esv_jax.base import Estimator
from esv_jax.checks import InputError
from esv_jax.estimators.recommended import MAX_EVALUATIONS as DEFAULT_EVALUATIONS
from esv_jax.estimators.recommended import MAX_EXACT_FRAMES as DEFAULT_EXACT_FRAMES

MAKERS = {
    "recommended": esv_jax.recommended,
    "exact": esv_jax.exact,
    "surrogate": esv_jax.surrogate,
    "regression": esv_jax.regression,
    "orderings": esv_jax.orderings,
    "stratified_paired": esv_jax.stratified_paired,
    "stratified": esv_jax.stratified,
}
ESTIMATOR = flags.DEFINE_enum(
    "estimator",
    "recommended",
    list(MAKERS),
    "recommended: exact where --max_exact_frames or --max_evaluations allows, else the best sample.",
)
MAX_EXACT_FRAMES = flags.DEFINE_integer(
    "max_exact_frames", DEFAULT_EXACT_FRAMES, "recommended: exact for so many frames.", lower_bound=1
)
MAX_EVALUATIONS = flags.DEFINE_integer(
    "max_evaluations", DEFAULT_EVALUATIONS, "The most coalitions of a video, if they are sampled.", lower_bound=1
)
PER_SIZE = flags.DEFINE_integer(
    "per_size", 128, "stratified, stratified_paired: the most coalitions of each size, at least 2."
)
SEED = flags.DEFINE_integer("seed", 0, "Of sampling: decides which coalitions are drawn.", -(2**63), 2**63 - 1)


def options() -> dict[str, Any]:
    """What the chosen estimator is made with."""
    name, budget = ESTIMATOR.value, {"max_evaluations": MAX_EVALUATIONS.value}
    if name == "exact":
        return {}
    if name == "recommended":
        return {"max_exact_frames": MAX_EXACT_FRAMES.value, **budget}
    if name.startswith("stratified"):
        if PER_SIZE.value < 2:
            raise InputError(f"--per_size should be at least 2, or there is no standard error; found {PER_SIZE.value}")
        return {"per_size": PER_SIZE.value}
    return budget


def estimator(**changed: Any) -> Estimator:
    """The chosen estimator, some of its options changed."""
    return MAKERS[ESTIMATOR.value](**{**options(), **{k: v for k, v in changed.items() if k in options()}})


def check_budget(num_frames: int) -> None:
    """Raises InputError if --max_evaluations is given and too few for any estimate of so many frames."""
    if flags.FLAGS["max_evaluations"].present and MAX_EVALUATIONS.value <= num_frames:
        raise InputError(
            f"--max_evaluations should be at least {num_frames + 1} for {num_frames} frames, "
            f"found {MAX_EVALUATIONS.value}"
        )


def floats_of_a_video(is_exact: bool, num_frames: int, num_classes: int, name: str, of: dict[str, int]) -> int:
    """About how many numbers the estimator of this name and options holds of a video."""
    if is_exact:
        return 2**num_frames * num_classes
    if name.startswith("stratified"):
        return of["per_size"] * num_frames * num_classes
    budget = of["max_evaluations"]
    if name in ("recommended", "surrogate"):
        return 4 * budget * max(budget, num_classes)
    return budget * num_classes

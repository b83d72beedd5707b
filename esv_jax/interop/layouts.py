"""In what order models want the axes of clips: told once, as "BTCHW"."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from esv_jax import checks
from esv_jax.games.removals import blur

AXES = "BTCHWD"


def check(layout: str) -> None:
    """Raises InputError unless `layout` names axes, each once."""
    if (
        not isinstance(layout, str)
        or sorted(layout) != sorted(set(layout))
        or not {"B", "T"} <= set(layout) <= set(AXES)
    ):
        raise checks.InputError(f'layout should name each axis once, like "BTCHW", out of {AXES}, found {layout!r}')


def of_removal(removal: Any, layout: str) -> Any:
    """The removal; "blur" along the axes that the layout says."""
    if not isinstance(removal, str) or removal != "blur":
        return removal
    frames = layout.replace("B", "").replace("T", "")
    if not {"H", "W"} <= set(frames):
        raise checks.InputError(f"blur is for layouts with H and W, found {layout!r}")
    return blur(axes=(1 + frames.index("H"), 1 + frames.index("W")))


def ordered(clips: Any, layout: str) -> np.ndarray:
    """Clips [N, T, ...], in one piece, with their axes in the order of the layout."""
    if isinstance(clips, Mapping):
        raise checks.InputError(
            f"video should be one array, found the modalities {checks.listed(clips)}: those are for host_game, whose "
            "predict calls the model"
        )
    if clips.ndim != len(layout):
        raise checks.InputError(
            f"video should have the axes of the layout {layout!r} without B, found shape {list(clips.shape[1:])}"
        )
    # Clips come as B, T and the rest in the layout's order.
    ours = "BT" + layout.replace("B", "").replace("T", "")
    return np.require(clips.transpose([ours.index(axis) for axis in layout]), requirements=["C", "W"])

"""What every analysis is given, and where all analyses are found."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

from esv_jax import analyses
from esv_jax.analyses.methods import Attributions
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject
from esv_jax.data.evidence import Evidence


class Study(NamedTuple):
    """The models to analyse side by side, and how.

    Attributes:
      subjects: of the same videos.
      attributions: gives those of every method, one of each subject; they are computed when first asked for.
      num_frames: frames shown, wherever one number is meant.
      approximated_frames: frames shown where values are approximated; None: nowhere.
      slow_videos: how many videos serve for what is slow.
      seed: decides what is drawn at random.
      evidence: of every video the numbers of the frames with evidence; None where it is not recorded.
      smooth: over how many frames values are averaged, where they are compared with evidence as means too; 1: nowhere.
    """

    subjects: list[Subject]
    attributions: Callable[[], list[Attributions]]
    num_frames: int
    approximated_frames: int | None
    slow_videos: int
    seed: int = 0
    evidence: Evidence | None = None
    smooth: int = 1


def every_analysis() -> dict[str, Callable[[Study], Report]]:
    """The function `analyse` of every analysis, by the name of its file."""
    names = [module.name for module in pkgutil.iter_modules(analyses.__path__)]
    modules = {name: importlib.import_module(f"{analyses.__name__}.{name}") for name in names}
    return {name: module.analyse for name, module in modules.items() if hasattr(module, "analyse")}

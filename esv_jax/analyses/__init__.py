"""The analyses of the paper, one a file: from the values of a set of videos to tables, figures and the page's tables.

A module with a function `analyse(study) -> Report` is an analysis, and is run with all others; the other modules here
are what they share.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any


def every() -> dict[str, Callable[[Any], Any]]:
    """The function `analyse` of every analysis, by the name of its module."""
    modules = {m.name: importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)}
    return {name: module.analyse for name, module in modules.items() if hasattr(module, "analyse")}

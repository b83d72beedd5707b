"""How PyTorch's modules are asked: as when they are used, not trained."""

import contextlib
from collections.abc import Iterator
from typing import Any

SAME, SAME_IN_HALF = 1e-5, 5e-2


@contextlib.contextmanager
def in_eval(model: Any) -> Iterator[None]:
    """All modules in eval mode, and back to what each was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def excess(ours: Any, native: Any) -> float | None:
    """By how much logits [C] that we asked for differ from the model's own, if by more than rounding.

    Of the largest logit 1e-5; in half precision other kernels round otherwise, and it is 0.05.
    """
    allowed = SAME_IN_HALF if native.dtype.itemsize == 2 else SAME
    differ = float((ours.float() - native.float()).abs().max())
    return None if differ <= allowed * max(1.0, float(native.float().abs().max())) else differ

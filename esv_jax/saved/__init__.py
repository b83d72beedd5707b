"""Saved models: folders that hold all that is needed to use a model again, and the game of one."""

from pathlib import Path

# What scripts use unless another is given. The demo's TSN, on the same backbone, is beside it.
DEMO_MODEL = Path(__file__).parent / "demo" / "multiscale_trn"

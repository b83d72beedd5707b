"""A game as other packages see it: coalitions in, the worths of one class out, and no more of them than allowed."""

import numpy as np

import esv_jax
from esv_jax import batches
from esv_jax.base import Subsets
from esv_jax.benchmarks.games import Instance
from esv_jax.benchmarks.peers import Worths
from esv_jax.coalitions import masks

# Up to so many frames all worths are worked out once.
TABLE_FRAMES = 16
# Coalitions of one size at a time, so that games that are compiled for every size are compiled once for each.
BLOCK = 64


class OverBudget(Exception):
    """More coalitions were asked for than allowed."""


class Counted:
    """Worths that may be asked for `budget` coalitions, those asked for again counted again.

    Attributes:
      evaluations: how many were asked for.
    """

    def __init__(self, worths: Worths, budget: int):
        self._worths, self._budget, self.evaluations = worths, budget, 0

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        rows = np.atleast_2d(np.asarray(mask, bool))
        self.evaluations += len(rows)
        if self.evaluations > self._budget:
            raise OverBudget(f"asked for {self.evaluations} coalitions where {self._budget} were allowed")
        return self._worths(rows)


def top_class(case: Instance) -> int:
    """The class that the whole video scores highest."""
    everyone = np.ones((1, len(case.video)), bool)
    return int(np.argmax(esv_jax.worths(case.game, case.params, case.video, everyone)))


def worths_of(case: Instance, target: int) -> Worths:
    """bool [N, T] -> float64 [N]: worths of a class; rows may be empty."""
    num_frames = len(case.video)
    if num_frames <= TABLE_FRAMES:
        bits = 1 << np.arange(num_frames)
        every = masks.every(num_frames)
        table = np.asarray(esv_jax.worths(case.game, case.params, case.video, every), np.float64)[:, target]
        return lambda rows: table[rows @ bits]

    def of(rows: np.ndarray) -> np.ndarray:
        found = np.zeros(len(rows))
        for block in _blocks(rows, by_size=isinstance(case.game.form, Subsets)):
            # Few different numbers of rows, so that little is compiled.
            filled = batches.filled(len(block), max(BLOCK, 1 << (len(block) - 1).bit_length()))[0]
            worths = esv_jax.worths(case.game, case.params, case.video, rows[block[filled]])
            found[block] = np.asarray(worths, np.float64)[: len(block), target]
        return found

    return of


def _blocks(rows: np.ndarray, by_size: bool) -> list[np.ndarray]:
    """Which rows to ask for at once."""
    if not by_size:
        return [np.arange(len(rows))]
    size = rows.sum(axis=1)
    of_sizes = [np.flatnonzero(size == k) for k in np.unique(size)]
    return [of_size[start : start + BLOCK] for of_size in of_sizes for start in range(0, len(of_size), BLOCK)]

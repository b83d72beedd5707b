"""What a head says of clips that it was not trained on, shown 1..T of their frames: to select by, and to calibrate."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import batches, games, models
from esv_jax.base import Game
from esv_jax.coalitions import lattice, masks
from esv_jax.explaining import worths
from esv_jax.metrics.calibration import brier_score, calibration_error

CLIPS_AT_ONCE = 16
# Of all sizes and clips together; all subsets of a clip where there are fewer. Epochs are compared by the same ones.
SUBSETS = 2**15


class Shown(NamedTuple):
    """Which subsets of their frames clips are shown in: bool [n, N, T], the sizes int [N], which increase."""

    mask: np.ndarray
    size: np.ndarray


class Questions(NamedTuple):
    """Subsets of clips, to be asked about again and again.

    Attributes:
      logits: (params, state) -> joint logits [n, N, C], on the host.
      size: int [N], how many frames they have.
      label: int [n], the clips' classes.
    """

    logits: Callable[[Any, Any], np.ndarray]
    size: np.ndarray
    label: np.ndarray


class Figures(NamedTuple):
    """How good scores are by the number of frames shown, float64 [T] each, for 1..T."""

    accuracy: np.ndarray
    nll: np.ndarray
    calibration_error: np.ndarray
    brier: np.ndarray


def subsets(num_clips: int, num_frames: int) -> Shown:
    """Random subsets of every size 1..T for every clip, as many of each clip; all of them where they are few."""
    rng = np.random.default_rng(0)
    most = -(-SUBSETS // (num_clips * num_frames))
    chosen, sizes = [], []
    for size in range(1, num_frames + 1):
        count = math.comb(num_frames, size)
        if count <= most:
            every = masks.of_members(lattice.combinations(num_frames, size), num_frames)
            of_size = np.repeat(every[None], num_clips, axis=0)
        else:
            rank = rng.random((num_clips, most, num_frames)).argsort(axis=2).argsort(axis=2)
            of_size = rank < size
        chosen.append(of_size)
        sizes.append(np.full(of_size.shape[1], size))
    return Shown(np.concatenate(chosen, axis=1).astype(bool), np.concatenate(sizes))


def questions(model: models.TSN | models.MultiscaleTRN, frames: np.ndarray, label: np.ndarray) -> Questions:
    """What to ask a model about clips of frames [n, T, D] and classes [n]."""
    shown = subsets(*frames.shape[:2])

    def of(params: Any, state: Any) -> np.ndarray:
        return logits(model, {"params": params, **state}, frames, shown.mask)

    return Questions(of, shown.size, label)


def logits(
    model: models.TSN | models.MultiscaleTRN, variables: Any, frames: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Joint logits float [n, N, C] of the subsets mask [n, N, T] of the frames [n, T, D] of clips."""
    empty = np.full(model.num_classes, 1 / model.num_classes, np.float32)
    game = games.tsn_game if isinstance(model, models.TSN) else games.trn_game
    functions = worths.without_empty(game(model, empty=empty))
    rows = batches.filled(len(frames), CLIPS_AT_ONCE)
    found = [np.asarray(_logits(functions, variables, frames[some], mask[some])) for some in rows]
    return np.concatenate(found)[: len(frames)]


@functools.partial(jax.jit, static_argnames=("functions",))
def _logits(functions: Game, variables: Any, frames: jax.Array, mask: jax.Array) -> jax.Array:
    def of_clip(frames: jax.Array, mask: jax.Array) -> jax.Array:
        return worths.logits_of_masks(functions, functions.prepare(variables, frames), mask)

    return jax.vmap(of_clip)(frames, mask)


def surprise(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """-log softmax(logits) [n, N] of the clips' classes, of logits [n, N, C], in float64."""
    scores = np.asarray(logits, np.float64)
    scores = scores - scores.max(axis=2, keepdims=True)
    chosen = np.take_along_axis(scores, label[:, None, None], axis=2)[:, :, 0]
    return np.log(np.exp(scores).sum(axis=2)) - chosen


def loss(logits: np.ndarray, size: np.ndarray, label: np.ndarray) -> float:
    """The mean over sizes of the mean surprise at subsets of that size.

    The Shapley value is a mean over sizes: a model that is wrong about single frames is as wrong in it as one that is
    wrong about all of them. Neither class weights nor smoothed labels are in it, as worths are to be the probabilities
    of what is there.
    """
    found = surprise(logits, label).mean(axis=0)
    return float(np.mean([found[size == k].mean() for k in np.unique(size)]))


def figures(logits: np.ndarray, size: np.ndarray, label: np.ndarray) -> Figures:
    """Accuracy and calibration of logits [n, N, C] by the number of frames."""
    nll = surprise(logits, label).mean(axis=0)
    found = []
    for k in np.unique(size):
        of_size = np.asarray(logits[:, size == k], np.float64)
        of_size = np.exp(of_size - of_size.max(axis=2, keepdims=True))
        probability = (of_size / of_size.sum(axis=2, keepdims=True)).reshape(-1, logits.shape[2])
        truth = np.repeat(label, (size == k).sum())
        right = probability.argmax(axis=1) == truth
        error, brier = calibration_error(probability, truth), brier_score(probability, truth)
        found.append((right.mean(), nll[size == k].mean(), error, brier))
    return Figures(*np.transpose(found))

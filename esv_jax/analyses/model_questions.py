"""What is asked of a model beside subsets of frames: other orders, other frames, copies, blanks, sums of terms."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import batches, checks
from esv_jax.base import Game, Host
from esv_jax.coalitions import masks
from esv_jax.estimators.recommended import recommended
from esv_jax.explaining.explain import explain
from esv_jax.explaining.worths import worths, worths_of_batch
from esv_jax.metrics import bootstrap, removal
from esv_jax.metrics.bootstrap import Interval

# Coalitions for each number that is fitted to them.
ROWS_A_NUMBER = 7
VIDEOS_AT_ONCE = 64
NO_CHANGE = 1e-6


class Altered(NamedTuple):
    """What becomes of the scores of whole clips that were altered.

    Attributes:
      accuracy: how often it is still right.
      other_class: how often it says another class than before.
      change: half the sum over classes of the changes of scores; of probabilities, their total variation.
    """

    accuracy: Interval
    other_class: Interval
    change: Interval


class Copies(NamedTuple):
    """The credit of the top frame of the predicted class, when it stands in for the frame beside it too.

    Attributes:
      total: the sum of the values of both, as a multiple of what the frame had alone.
      apart: how far the two, which are equal, are apart, as a multiple of that.
    """

    total: Interval
    apart: Interval


class Blank(NamedTuple):
    """The model's answer to a clip of zeros. change: how far it is from v(nobody), as in `Altered`."""

    change: float
    confidence: float
    predicted: int


class Explained(NamedTuple):
    """The share of the variance of v(S) of the predicted class, over coalitions of all sizes alike, that a sum of terms
    of single frames, and of single frames and pairs, has."""

    singles: Interval
    pairs: Interval


class Asking(NamedTuple):
    """Whom to ask, and what is told of how far it is."""

    game: Game
    params: Any
    videos: Sequence[Any]
    num_frames: int
    callback: Callable[[int, int], None]
    done: list[int]  # evaluations done, and wanted

    def told(self, evaluations: int) -> None:
        self.done[0] += evaluations
        self.callback(*self.done)


class Chosen:
    """Some of the videos, each altered when it is read."""

    def __init__(self, videos: Sequence[Any], numbers: np.ndarray, altered: Callable[[Any, int], Any] | None = None):
        self.videos, self.numbers, self.altered = videos, numbers, altered

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Any:
        video = self.videos[int(self.numbers[i])]
        return video if self.altered is None else self.altered(np.asarray(video), i)


def worths_of(asking: Asking, videos: Chosen, mask: np.ndarray) -> np.ndarray:
    """Float64 [B, N, C], of mask [B, N, P]; a few videos at a time, so that few are in memory.

    Raises:
      InputError: scores that are not finite, or videos of several shapes.
    """
    found = _worths_of(asking, videos, mask)
    checks.check_finite("the model's scores", found)
    return found


def _worths_of(asking: Asking, videos: Chosen, mask: np.ndarray) -> np.ndarray:
    if isinstance(asking.game.form, Host):
        found = []
        for video, rows in zip(videos, mask, strict=True):
            found.append(np.asarray(worths(asking.game, asking.params, video, rows), np.float64))
            asking.told(int(rows.any(axis=1).sum()))
        return np.stack(found)
    found, at_once = [], min(VIDEOS_AT_ONCE, len(mask))
    for rows in batches.filled(len(mask), at_once):
        of_batch = worths_of_batch(asking.game, asking.params, _stacked(videos, rows), mask[rows])
        new = np.unique(rows)
        found.append(np.asarray(of_batch, np.float64)[: len(new)])
        asking.told(int(mask[new].any(axis=2).sum()))
    return np.concatenate(found)


def _stacked(videos: Chosen, rows: np.ndarray) -> np.ndarray:
    read = [np.asarray(videos[int(i)]) for i in rows]
    for i, video in zip(rows, read, strict=True):
        checks.check_shape(f"videos[{videos.numbers[i]}], as the first one asked of,", video, read[0].shape)
    return np.stack(read)


def _of_whole(asking: Asking, numbers: np.ndarray, altered: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Scores [n, C] of whole clips of these numbers, altered."""
    mask = np.ones((len(numbers), 1, asking.num_frames), bool)
    return worths_of(asking, Chosen(asking.videos, numbers, altered), mask)[:, 0]


def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(after - before).sum(axis=-1) / 2


def rows_of_few(num_frames: int) -> int:
    """Of the coalitions of a video that terms of pairs are fitted to; all of them where they are few."""
    numbers = 1 + num_frames * (num_frames + 1) // 2
    return min(2**num_frames - 1, ROWS_A_NUMBER * numbers)


def of_order(
    asking: Asking, chosen: np.ndarray, whole: np.ndarray, label: np.ndarray, rng: np.random.Generator
) -> dict[str, Altered]:
    shuffles = [_out_of_order(asking.num_frames, rng) for _ in chosen]
    orders = {"reversed": lambda video, i: video[::-1], "shuffled": lambda video, i: video[shuffles[i]]}
    found = {}
    for name, altered in orders.items():
        scores = _of_whole(asking, chosen, altered)
        found[name] = Altered(
            bootstrap.interval((scores.argmax(axis=1) == label).astype(np.float64)),
            bootstrap.interval((scores.argmax(axis=1) != whole.argmax(axis=1)).astype(np.float64)),
            bootstrap.interval(change(whole, scores)),
        )
    return found


def _out_of_order(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """A random order that is not the one there was."""
    while True:
        order = rng.permutation(num_frames)
        if (order != np.arange(num_frames)).any():
            return order


def of_blank(asking: Asking, empty: np.ndarray) -> Blank | None:
    """None where scores of zeros are not finite, as those of a model that divides by their length are."""
    try:
        scores = _of_whole(asking, np.zeros(1, int), lambda video, i: np.zeros_like(video))[0]
    except checks.InputError:
        return None
    return Blank(float(change(empty, scores)), float(scores.max()), int(scores.argmax()))


def of_replaced(asking: Asking, numbers: np.ndarray, others: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Change [n, T] of the scores of videos when the frame at each position is that of the other of each."""
    num_frames = asking.num_frames

    def altered(video: np.ndarray, i: int) -> np.ndarray:
        other = np.asarray(asking.videos[int(others[i // num_frames])])
        video = video.copy()
        video[i % num_frames] = other[i % num_frames]
        return video

    scores = _of_whole(asking, np.repeat(numbers, num_frames), altered)
    return change(whole[:, None], scores.reshape(len(numbers), num_frames, -1))


def of_copies(asking: Asking, numbers: np.ndarray, predicted: np.ndarray, key: Any) -> Copies | None:
    """None where no frame of them supports the predicted class."""
    estimator = recommended(max_evaluations=rows_of_few(asking.num_frames), max_exact_frames=1)
    plan_key = jax.random.fold_in(key, 1) if isinstance(key, jax.Array) else key
    total, apart = [], []
    for number, c in zip(numbers, predicted, strict=True):
        video = np.asarray(asking.videos[int(number)])
        values = _values(asking, estimator, video, plan_key)[:, c]
        top = int(values.argmax())
        beside = top + 1 if top + 1 < len(values) else top - 1
        doubled = video.copy()
        doubled[beside] = video[top]
        of_both = _values(asking, estimator, doubled, plan_key)[[top, beside], c]
        if values[top] > NO_CHANGE:
            total.append(of_both.sum() / values[top])
            apart.append(abs(of_both[0] - of_both[1]) / values[top])
    return Copies(bootstrap.interval(np.array(total)), bootstrap.interval(np.array(apart))) if total else None


def _values(asking: Asking, estimator: Any, video: np.ndarray, key: Any) -> np.ndarray:
    found = explain(estimator, asking.game, asking.params, video, key=key)
    asking.told(int(found.num_evaluations))
    return np.asarray(found.values, np.float64)


def of_terms(asking: Asking, numbers: np.ndarray, predicted: np.ndarray, rng: np.random.Generator) -> Explained:
    num_frames = asking.num_frames
    rows = rows_of_few(num_frames)
    if rows == 2**num_frames - 1:
        mask = masks.every(num_frames)[1:]
        size = mask.sum(axis=1)
        weight = 1 / np.array([math.comb(num_frames, k) for k in size])
    else:
        size = rng.integers(1, num_frames + 1, rows)
        mask = rng.permuted(np.arange(num_frames)[None] < size[:, None], axis=1)
        weight = np.ones(rows)
    scores = worths_of(asking, Chosen(asking.videos, numbers), np.broadcast_to(mask, (len(numbers), *mask.shape)))
    scores = removal.of_class(scores, predicted).T
    # What does not change at all is explained by anything.
    varies = np.ptp(scores, axis=0) > NO_CHANGE
    first, second = np.triu_indices(num_frames, 1)
    singles = np.concatenate([np.ones((len(mask), 1)), mask], axis=1)
    pairs = np.concatenate([singles, mask[:, first] & mask[:, second]], axis=1)
    all_asked = rows == 2**num_frames - 1
    shares = [np.where(varies, _share(terms, scores, weight, all_asked), 1.0) for terms in (singles, pairs)]
    return Explained(*(bootstrap.interval(share) for share in shares))


def _share(terms: np.ndarray, scores: np.ndarray, weight: np.ndarray, all_asked: bool) -> np.ndarray:
    """R2 [n] of scores [N, n] by weighted least squares; where they are a sample, of rows left out of the fit."""
    root = np.sqrt(weight)[:, None]
    left, singular, _ = np.linalg.svd(terms * root, full_matrices=False)
    left = left[:, singular > singular.max() * 1e-10]
    residual = scores * root - left @ (left.T @ (scores * root))
    if not all_asked:
        residual = residual / np.maximum(1 - np.square(left).sum(axis=1), 1e-6)[:, None]
    middle = (weight[:, None] * scores).sum(axis=0) / weight.sum()
    spread = (weight[:, None] * np.square(scores - middle)).sum(axis=0)
    return 1 - np.square(residual).sum(axis=0) / np.where(spread > 0, spread, 1)

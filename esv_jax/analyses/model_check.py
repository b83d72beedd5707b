"""Is the model to be believed? What it says of the short clips that attributions are made of, before any are made.

An Element Shapley Value counts what the model says of 1, 2, ..., T frames alike. Where a model is sure and wrong on few
frames, its values say little of the video, however well it does on whole clips.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import checks
from esv_jax.analyses import model_questions as questions
from esv_jax.analyses.model_questions import Altered, Asking, Blank, Chosen, Copies, Explained
from esv_jax.analyses.model_verdict import verdict
from esv_jax.base import Game
from esv_jax.coalitions import masks
from esv_jax.coalitions.plans import host_generator
from esv_jax.games import groups
from esv_jax.metrics import bootstrap, calibration, removal
from esv_jax.metrics.bootstrap import Interval

# Subsets of each size of a video, at most; videos of which more than subsets is asked, and its share of the budget.
MOST_SUBSETS, FEW_VIDEOS, SHARE_OF_FEW = 8, 16, 0.4
LEAST_VIDEOS = 10  # fewer do not tell an accuracy from chance
DEFAULT_EVALUATIONS = 20_000
NUM_BINS = 15


class BySize(NamedTuple):
    """Of random subsets of k = 1..T frames, intervals over videos of float64 [T]; None where scores are no
    probabilities.

    Attributes:
      accuracy: how often the true class has the highest score.
      confidence: the highest score. surer: confidence - accuracy.
      calibration_error: expected calibration error, in 15 bins. brier: Brier score, 0..2.
      entropy: of the scores, as a share of the largest there can be.
    """

    accuracy: Interval
    confidence: Interval | None
    surer: Interval | None
    calibration_error: Interval | None
    brier: Interval | None
    entropy: Interval | None


class ModelCheck(NamedTuple):
    """What `check_model` found.

    Attributes:
      verdict: "good", "doubtful" or "bad". sentence: why.
      num_videos, num_frames, num_evaluations: of how many videos, T, and how many coalitions and clips were asked of.
      chance: accuracy of always saying the most frequent class.
      by_size: of random subsets.
      surer: how much surer than right it is: the mean over sizes, each alike, of confidence - accuracy where that is
        positive; None where scores are no probabilities.
      class_videos: int [C], how many videos are of a class.
      class_accuracy, class_confidence: float64 [C, T], by true class and size; NaN where there is no video.
      order: of whole clips "reversed" and "shuffled"; {} where the players are not the frames of an array.
      removed, replaced: float64 [T], change of the scores of whole clips when the frame at each position is removed,
        and when another clip's stands there; the mean over videos. replaced: None where it was not asked.
      ignored: positions where neither changed a score of any video.
      copies, explained: of few videos; None where the budget was too small or there is one frame.
      blank: None where the players are not the frames of an array, or scores of zeros are not finite.
    """

    verdict: str
    sentence: str
    num_videos: int
    num_frames: int
    num_evaluations: int
    chance: float
    by_size: BySize
    surer: Interval | None
    class_videos: np.ndarray
    class_accuracy: np.ndarray
    class_confidence: np.ndarray | None
    order: dict[str, Altered]
    removed: np.ndarray
    replaced: np.ndarray | None
    ignored: tuple[int, ...]
    copies: Copies | None
    blank: Blank | None
    explained: Explained | None


def check_model(
    game: Game,
    params: Any,
    videos: Sequence[Any],
    labels: Any,
    *,
    key: Any,
    max_evaluations: int = DEFAULT_EVALUATIONS,
    callback: Callable[[int, int], None] | None = None,
) -> ModelCheck:
    """Asks a model of labelled videos what decides whether its attributions mean something.

    Args:
      game, params: as for `explain`, of any form.
      videos: B of what `explain` takes, of equally many players; anything with a length and [i], read when needed. The
        model should not have been trained on them.
      labels: int [B], the true classes.
      key: PRNG key; decides the subsets, and the videos where not all can be asked of.
      max_evaluations: how often the model is asked at most. Where that is too few for all videos, some are chosen.
      callback: called after every few videos with how many evaluations are done and wanted.

    Raises:
      InputError: shapes or labels that do not fit, labels of one class alone, too small a budget, scores that are not
        finite, or what `explain` raises.
    """
    labels = np.asarray(labels)
    _check_labels(labels, len(videos))
    num_frames = game.num_players(videos[0])
    rng = host_generator(key)
    shares = _shares(len(videos), num_frames, max_evaluations)
    chosen = np.sort(rng.permutation(len(videos))[: shares.videos])
    asking = Asking(game, params, videos, num_frames, callback or (lambda done, wanted: None), [0, shares.evaluations])
    found = _of_subsets(asking, chosen, shares.subsets, rng)
    num_classes = found.worths.shape[2]
    if num_classes < 2 or labels.max() >= num_classes:
        raise checks.InputError(
            f"labels should be classes of the model, which has {num_classes}, at least 2; found {labels.max()}"
        )
    label = labels[chosen]
    if (label == label[0]).all():
        raise checks.InputError(
            f"labels should be of two classes at least, or being right says nothing, found {label[0]} alone"
        )
    by_size, surer = _by_size(found, label)
    whole = found.worths[:, -1]
    order, replaced, blank, copies, explained = {}, None, None, None, None
    if _has_frames(game, videos[0]):
        if num_frames > 1:
            order = questions.of_order(asking, chosen, whole, label, rng)
        blank = questions.of_blank(asking, found.worths[0, 0])
    # Without its only frame a clip is nobody.
    without = found.worths[:, found.without if num_frames > 1 else slice(1)]
    removed = questions.change(whole[:, None], without)
    changes = [removed.max(axis=0)]
    few = rng.permutation(len(chosen))[: shares.few]
    if shares.few:
        predicted = whole.argmax(axis=1)
        explained = questions.of_terms(asking, chosen[few], predicted[few], rng)
        if order:
            copies = questions.of_copies(asking, chosen[few], predicted[few], key)
            of_few = questions.of_replaced(asking, chosen[few], np.roll(chosen, 1)[few], whole[few])
            replaced = of_few.mean(axis=0)
            changes.append(of_few.max(axis=0))
    class_accuracy, class_confidence, class_videos = _by_class(found, label)
    ignored = np.flatnonzero(np.max(changes, axis=0) <= questions.NO_CHANGE) if num_frames > 1 else np.array([], int)
    check = ModelCheck(
        verdict="",
        sentence="",
        num_videos=len(chosen),
        num_frames=num_frames,
        num_evaluations=asking.done[0],
        chance=float(class_videos.max() / len(label)),
        by_size=by_size,
        surer=surer,
        class_videos=class_videos,
        class_accuracy=class_accuracy,
        class_confidence=None if surer is None else class_confidence,
        order=order,
        removed=removed.mean(axis=0),
        replaced=replaced,
        ignored=tuple(ignored.tolist()),
        copies=copies,
        blank=blank,
        explained=explained,
    )
    found_verdict, sentence = verdict(check)
    return check._replace(verdict=found_verdict, sentence=sentence)


class _Shares(NamedTuple):
    """How the budget is spent: on how many videos, subsets of each size, and videos of which more is asked."""

    videos: int
    subsets: int
    few: int
    evaluations: int


class _Subsets(NamedTuple):
    """Worths float64 [B, N, C] of nobody, of all without each player, of subsets, and of everyone last.

    Attributes:
      size: int [N]. drawn: bool [N], rows that count as random subsets. without: the rows of all but player 0..T-1.
    """

    worths: np.ndarray
    size: np.ndarray
    drawn: np.ndarray
    without: slice


def _check_labels(labels: np.ndarray, num_videos: int) -> None:
    if num_videos < LEAST_VIDEOS:
        raise checks.InputError(f"videos should be at least {LEAST_VIDEOS}, found {num_videos}")
    checks.check_shape("labels", labels, (num_videos,))
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise checks.InputError(f"labels should be class numbers, int of 0 and more, found {labels.dtype} {labels[:3]}")


def _shares(num_videos: int, num_frames: int, budget: int) -> _Shares:
    def of_subsets(most: int) -> int:
        if num_frames == 1:
            return 1
        drawn = sum(min(most, math.comb(num_frames, size)) for size in range(1, num_frames - 1))
        return drawn + num_frames + 1 + 2

    of_few = num_frames + 3 * questions.rows_of_few(num_frames)
    # What every video is asked comes first.
    spare = budget - 1 - LEAST_VIDEOS * of_subsets(1)
    few = min(num_videos, FEW_VIDEOS, max(0, min(int(SHARE_OF_FEW * budget), spare)) // of_few) if num_frames > 1 else 0
    left = budget - few * of_few - 1
    most = next((n for n in range(MOST_SUBSETS, 1, -1) if num_videos * of_subsets(n) <= left), 1)
    videos = min(num_videos, left // of_subsets(most))
    if videos < LEAST_VIDEOS:
        least = LEAST_VIDEOS * of_subsets(1) + 1
        raise checks.InputError(
            f"max_evaluations should be at least {least} for {LEAST_VIDEOS} videos of {num_frames} frames, "
            f"found {budget}"
        )
    few = min(few, videos)
    return _Shares(videos, most, few, videos * of_subsets(most) + few * of_few + 1)


def _of_subsets(asking: Asking, chosen: np.ndarray, most: int, rng: np.random.Generator) -> _Subsets:
    """Of nobody, all but one, everyone, and `most` random subsets of each other size of every video."""
    num_frames = asking.num_frames
    sizes = [size for size in range(1, num_frames - 1) for _ in range(min(most, math.comb(num_frames, size)))]
    sizes += [num_frames - 1] * num_frames * (num_frames > 1)
    but_one = ~np.eye(num_frames, dtype=bool) if num_frames > 1 else np.zeros((0, 1), bool)
    nobody = np.zeros((1, num_frames), bool)
    mask = np.stack(
        [np.concatenate([nobody, _drawn(num_frames, most, rng), but_one, masks.everyone(num_frames)]) for _ in chosen]
    )
    found = questions.worths_of(asking, Chosen(asking.videos, chosen), mask)
    size = np.array([0, *sizes, num_frames])
    return _Subsets(found, size, size > 0, slice(len(size) - 1 - len(but_one), len(size) - 1))


def _drawn(num_frames: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct random subsets of 1..T-2 players, at most so many of each size, bool [n, T]."""
    found: list[np.ndarray] = []
    for size in range(1, num_frames - 1):
        of_size: dict[bytes, np.ndarray] = {}
        while len(of_size) < min(most, math.comb(num_frames, size)):
            row = np.zeros(num_frames, bool)
            row[rng.permutation(num_frames)[:size]] = True
            of_size.setdefault(row.tobytes(), row)
        found += of_size.values()
    return np.array(found, bool).reshape(-1, num_frames)


def _by_size(found: _Subsets, label: np.ndarray) -> tuple[BySize, Interval | None]:
    right = removal.is_right(found.worths, label).astype(np.float64)
    accuracy = bootstrap.interval(_mean_of_size(right, found))
    if not _are_probabilities(found.worths[:, found.drawn]):
        return BySize(accuracy, None, None, None, None, None), None
    probability = np.clip(found.worths, 0, 1)
    confidence = probability.max(axis=2)
    truth = np.arange(probability.shape[2])[None, None] == label[:, None, None]
    brier = np.square(probability - truth).sum(axis=2)
    logarithm = np.log(np.where(probability > 0, probability, 1))
    entropy = -(probability * logarithm).sum(axis=2) / math.log(probability.shape[2])
    gap = confidence - right
    in_bin = calibration.bin_of(confidence, NUM_BINS)[..., None] == np.arange(NUM_BINS)
    error = bootstrap.interval_of(lambda mean: np.abs(mean).sum(axis=-1), _mean_of_size(gap[..., None] * in_bin, found))
    of_size = [bootstrap.interval(_mean_of_size(values, found)) for values in (confidence, gap, brier, entropy)]
    by_size = BySize(accuracy, of_size[0], of_size[1], error, of_size[2], of_size[3])
    return by_size, bootstrap.interval_of(lambda mean: np.maximum(mean, 0).mean(axis=-1), _mean_of_size(gap, found))


def _mean_of_size(values: np.ndarray, found: _Subsets) -> np.ndarray:
    """[B, T, ...] of values [B, N, ...]: the mean over the subsets of each size 1..T."""
    sizes = range(1, int(found.size.max()) + 1)
    return np.stack([values[:, found.drawn & (found.size == size)].mean(axis=1) for size in sizes], axis=1)


def _by_class(found: _Subsets, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracy and confidence [C, T] by true class, and how many videos there are of each."""
    num_classes = found.worths.shape[2]
    right = _mean_of_size(removal.is_right(found.worths, label).astype(np.float64), found)
    confidence = _mean_of_size(found.worths.max(axis=2), found)
    count = np.bincount(label, minlength=num_classes)
    accuracy_of, confidence_of = (np.full((num_classes, right.shape[1]), np.nan) for _ in range(2))
    for c in np.flatnonzero(count):
        accuracy_of[c], confidence_of[c] = right[label == c].mean(axis=0), confidence[label == c].mean(axis=0)
    return accuracy_of, confidence_of, count


def _has_frames(game: Game, video: Any) -> bool:
    """Whether the video is one array whose rows are the players, in their order."""
    is_array = isinstance(video, np.ndarray | jax.Array)
    return is_array and not groups.is_grouped(game) and video.shape[0] == game.num_players(video)


def _are_probabilities(scores: np.ndarray) -> bool:
    low = scores.min() >= -checks.PROBABILITY_TOLERANCE
    return bool(low and np.abs(scores.sum(axis=-1) - 1).max() <= checks.PROBABILITY_TOLERANCE)

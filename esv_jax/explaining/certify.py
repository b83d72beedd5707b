"""Sampling until a question has a sure answer: which frame is the top one, which three are, what sign each has."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from esv_jax import checks, student
from esv_jax.base import Attribution, Estimator, Game
from esv_jax.explaining import growing
from esv_jax.explaining import worths as asking
from esv_jax.explaining.explain import explain, is_exact
from esv_jax.explaining.until import Progress

QUESTIONS = ("top", "sign", "top3")
# The first look has so many evaluations, or so many a player.
FIRST_LOOK, FIRST_LOOK_A_PLAYER = 64, 4
# Differences of values that are a smaller share than this of the largest worth may be rounding.
ROUNDING = 1e-5


class Certificate(NamedTuple):
    """An answer and whether it is sure.

    Attributes:
      answer: int [n]: the top frame; or the three highest, highest first; or the sign of every frame, -1, 0 or 1.
      certain: bool [], whether the answer is sure; for signs bool [P], of each.
      undecided: the frames that could not be told apart; for signs those that could be 0. None if all is certain.
      num_evaluations: how many coalitions were evaluated.
      attribution: of the last look.
      said: the answer in a sentence, in which frames count from 0.
    """

    answer: np.ndarray
    certain: np.ndarray
    undecided: tuple[int, ...]
    num_evaluations: int
    attribution: Attribution
    said: str


def certify(
    estimator: Estimator,
    game: Game,
    params: Any,
    video: Any,
    *,
    key: Any,
    max_evaluations: int,
    question: Literal["top", "sign", "top3"] = "top",
    class_index: int | None = None,
    level: float = 0.95,
    archive: str | os.PathLike | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Certificate:
    """Samples more and more coalitions until the answer is sure, or evaluations run out.

    "top": the frame of the largest value, when its difference to that of every other frame is surely above 0.
    "top3": the three of the largest values, when the difference of each to each of the others is.
    "sign": the sign of every value, when its interval leaves out 0; every frame for itself.

    One plan grows as in `explain_until`, from 64 evaluations or 4 a player on. Where values are equal, an answer is
    wrongly called sure with a chance of at most about 1 - level, however often was looked; likewise for each sign.
    Differences have standard errors of their own: those of the samples that both values come from (`Estimate`), which
    takes fewer evaluations than to wait until intervals are apart. What may be rounding is never called sure, also
    where all coalitions were evaluated.

    Args:
      estimator, game, params, video: as for `explain`; the estimator's own number of evaluations does not count.
      key: PRNG key of the plan.
      max_evaluations: coalitions at most.
      question: "top", "sign" or "top3".
      class_index: of which class's values; None: of that with the highest score of the whole video.
      level: how sure.
      archive: for host games, as for `explain`.
      callback: called with a `Progress` after every look.

    Raises:
      InputError: another question, class or level; an estimator that cannot grow, or does not tell what its standard
        errors are made of.
    """
    checks.check_positive("max_evaluations", max_evaluations)
    if question not in QUESTIONS:
        raise checks.InputError(f"question should be one of {', '.join(QUESTIONS)}, found {question!r}")
    if not 0.5 <= level < 1:
        raise checks.InputError(f"level should be at least 0.5 and below 1, found {level}")
    if game.empty is not None:
        _check_class(class_index, len(game.empty))
    start = time.perf_counter()
    num_players = game.num_players(video)
    seen: Iterable[growing.Look]
    if is_exact(estimator, game, num_players):
        seen, widened = [growing.Look(explain(estimator, game, params, video, archive=archive), None, None)], 1.0
    elif estimator.grown is None:
        raise checks.InputError(f"{estimator.name} cannot go on with a larger plan")
    else:
        first = min(max(FIRST_LOOK, FIRST_LOOK_A_PLAYER * num_players), max_evaluations)
        budgets = growing.budgets(first, max_evaluations)
        widened = growing.widening(len(budgets), level)
        estimators = [estimator.grown(num_players, budget) for budget in budgets]
        seen = growing.looks(estimators, game, params, video, key, archive)
    for look in seen:
        found = look.attribution._replace(widened=jnp.asarray(widened, look.attribution.values.dtype))
        if found.sampled and (look.estimate is None or look.estimate.influence is None):
            raise checks.InputError(f"{estimator.name} does not tell what its standard errors are made of")
        _check_class(class_index, len(found.full))
        if class_index is None:
            class_index = int(np.argmax(found.full))
        answer, certain, undecided = _answer(
            question,
            look._replace(attribution=found),
            ROUNDING * _largest_worth(look, game, params, video, class_index),
            class_index,
            level,
        )
        evaluations = int(found.num_evaluations)
        if callback is not None:
            callback(Progress(evaluations, float(np.max(found.std_error)), time.perf_counter() - start))
        # Neither exact values nor NaN change.
        if np.all(certain) or not np.max(found.std_error) > 0:
            break
    return Certificate(
        answer,
        certain,
        undecided,
        evaluations,
        found,
        sentence(question, answer, certain, undecided, evaluations, level if found.sampled else None),
    )


def _check_class(class_index: int | None, num_classes: int) -> None:
    if class_index is not None and not 0 <= class_index < num_classes:
        raise checks.InputError(f"class_index should be one of 0..{num_classes - 1}, found {class_index}")


def sentence(
    question: str,
    answer: np.ndarray,
    certain: np.ndarray,
    undecided: Sequence[int],
    num_evaluations: int,
    level: float | None,
    names: Sequence[int] | None = None,
) -> str:
    """What a `Certificate` says, certain to `level` (None: beyond doubt), of frames of these names or numbers."""

    def frames(numbers: Iterable[int]) -> str:
        named = [str(n if names is None else names[n]) for n in numbers]
        return f"frame {named[0]}" if len(named) == 1 else f"frames {', '.join(named[:-1])} and {named[-1]}"

    sure = "certain" if level is None else f"certain to {100 * level:.6g} %"
    after = f"after {num_evaluations} evaluations"
    if question == "sign":
        found = [
            (word, np.flatnonzero(certain & (answer == sign))) for word, sign in (("positive", 1), ("negative", -1))
        ]
        told = ", ".join(f"{word}: {frames(numbers)}" for word, numbers in found if len(numbers))
        return "; ".join(
            [
                *([f"{told}, each {sure}"] if told else []),
                *([f"undecided: {frames(undecided)} {after}"] if undecided else []),
            ]
        )
    if undecided:
        return f"undecided between {frames(undecided)} {after}"
    if len(answer) == 1:
        return f"{frames(answer)} is the top frame, {sure}"
    return f"{frames(sorted(answer))} are the top {len(answer)}, {sure}"


def _answer(
    question: str, look: growing.Look, rounding: float, class_index: int, level: float
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """`Certificate.answer`, `.certain` and `.undecided`, where differences up to `rounding` say nothing."""
    found = look.attribution
    values = np.asarray(found.values, np.float64)[:, class_index]
    if question == "sign":
        low, high = (np.asarray(end)[:, class_index] for end in found.interval(level))
        certain = ((low > 0) | (high < 0)) & (np.abs(values) > rounding)
        return np.sign(np.nan_to_num(values)).astype(int), certain, tuple(np.flatnonzero(~certain).tolist())
    order = np.argsort(-values, kind="stable")
    count = min(3 if question == "top3" else 1, len(values))
    ahead, behind = order[:count], order[count:]
    middle = np.asarray(found.middle, np.float64)[:, class_index]
    beyond = np.maximum(_reach(look, class_index, level), rounding)
    doubtful = ~((middle[:, None] - middle[None]) > beyond)[np.ix_(ahead, behind)]
    undecided = np.concatenate([ahead[doubtful.any(axis=1)], behind[doubtful.any(axis=0)]])
    return ahead, np.asarray(not doubtful.any()), tuple(np.sort(undecided).tolist())


def _reach(look: growing.Look, class_index: int, level: float) -> np.ndarray:
    """By how much a frame's value must exceed another's to be surely above it, float64 [P, P]."""
    if look.estimate is None or not look.attribution.sampled:
        return np.zeros((1, 1))
    influence, deviation, degrees = look.estimate.influence, look.estimate.deviation, look.estimate.degrees
    of_samples = np.asarray(influence, np.float64) * np.asarray(deviation, np.float64)[:, class_index]
    covariance = of_samples @ of_samples.T
    own = np.diag(covariance)
    variance = np.maximum(own[:, None] + own[None] - 2 * covariance, 0)
    return float(student.quantile((1 + level) / 2, degrees) * look.attribution.widened) * np.sqrt(variance)


def _largest_worth(look: growing.Look, game: Game, params: Any, video: Any, class_index: int) -> float:
    """Of the coalitions that were evaluated; where these were not kept, of the whole video and of its halves."""
    if look.logits is None:
        num_players = len(look.attribution.values)
        half = np.arange(num_players) < num_players // 2
        worths = asking.worths(game, params, video, np.stack([half, ~half]))
    else:
        worths = game.link(jnp.asarray(look.logits))
    ends = max(abs(float(end[class_index])) for end in (look.attribution.full, look.attribution.empty))
    return max(ends, float(np.max(np.abs(worths[:, class_index]))))

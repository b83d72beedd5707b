"""One explained video, on the host: what the table, the picture and the files are all made from. No jax here."""

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from esv_jax.base import Attribution, Player
from esv_jax.checks import InputError, check_finite, check_shape, listed, shown
from esv_jax.games.players import FRAMES, checked

NO_INTERVAL = "too few samples for an interval: ask for more evaluations"


class Explanation(NamedTuple):
    """An attribution with the frames, times and names that a reader needs beside it. Made by `explanation`.

    Attributes:
      title: what was explained, a line for people.
      frames: int64 [T], the index in the video of each frame, 0 for its first.
      times: float64 [T], seconds from the start of the video.
      images: uint8 [T, H, W, 3], RGB, the frames to show.
      class_names: C names.
      values, std_error, full, empty: float64 [P, C], [P, C], [C], [C]; as in `Attribution`. P is T unless there are
        `players`.
      low, high: float64 [P, C], the ends of the values' 95 % intervals; infinite where there are too few samples.
      sampled: whether coalitions were sampled: then there are intervals and, as the sampled estimator does not force
        the values to add up, a `gap`.
      players: P of them, where values are not those of single frames; their "frames" count rows of `frames`.
    """

    title: str
    frames: np.ndarray
    times: np.ndarray
    images: np.ndarray
    class_names: tuple[str, ...]
    values: np.ndarray
    std_error: np.ndarray
    full: np.ndarray
    empty: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sampled: bool
    players: tuple[Player, ...] | None = None


def explanation(
    attribution: Attribution,
    *,
    title: str,
    frames: np.ndarray,
    times: np.ndarray,
    images: np.ndarray,
    class_names: Sequence[str],
    sampled: bool,
    players: Iterable[Player] | None = None,
) -> Explanation:
    """Joins an attribution (values [P, C], ...) with its frames; brings everything to the host and checks that it fits.

    Args:
      players: those of `grouped`, or of several modalities (`esv_jax.players`): their names and which frames are
        theirs; None: every frame is one.

    Raises:
      InputError: shapes that disagree; NaN or infinite values, standard errors or scores; frames that are not there.
    """
    num_frames, num_classes = len(frames), len(class_names)
    own = None if players is None else checked(players)
    if own is not None:
        outside = [
            i for player in own for m, rows in player.parts if m == FRAMES for i in rows if not 0 <= i < num_frames
        ]
        if outside:
            raise InputError(f"players should have frames of 0..{num_frames - 1}, found {listed(outside)}")
    per_player, per_class = (num_frames if own is None else len(own), num_classes), (num_classes,)
    host = {}
    for name, shape in {"values": per_player, "std_error": per_player, "full": per_class, "empty": per_class}.items():
        check_shape(f"attribution.{name}", getattr(attribution, name), shape)
        host[name] = np.asarray(getattr(attribution, name), np.float64)
        check_finite(f"attribution.{name}", host[name])
    low, high = (np.asarray(end, np.float64) for end in attribution.interval())
    check_shape("times", times, [num_frames])
    check_shape("images", images, [num_frames, "H", "W", 3])
    return Explanation(
        title=title,
        frames=np.asarray(frames, np.int64),
        times=np.asarray(times, np.float64),
        images=np.asarray(images),
        class_names=tuple(class_names),
        # Values of double precision may lie beyond ends of single.
        low=np.minimum(low, host["values"]),
        high=np.maximum(high, host["values"]),
        sampled=sampled,
        players=own,
        **host,
    )


def names(explained: Explanation) -> list[str]:
    """Of every player: the number of its frame in the video, or its own."""
    if explained.players is None:
        return [str(frame) for frame in explained.frames]
    return [shown(player.name) for player in explained.players]


def cells(explained: Explanation) -> list[list[int]]:
    """Which cells of a picture every player stands in, increasing: 0..T - 1 are the frames; behind them is one for each
    player that has something else."""
    if explained.players is None:
        return [[i] for i in range(len(explained.frames))]
    found, count = [], len(explained.frames)
    for player in explained.players:
        of_frames = sorted(i for modality, rows in player.parts if modality == FRAMES for i in rows)
        if any(modality != FRAMES for modality, _ in player.parts):
            of_frames.append(count)
            count += 1
        found.append(of_frames)
    return found


def predicted_class(explained: Explanation) -> int:
    """The index of the class with the highest score of the whole video; the first of equals."""
    return int(np.argmax(explained.full))


def gap(explained: Explanation) -> np.ndarray:
    """full - empty - values.sum(0), float64 [C]: what the values leave unexplained; rounding only, if exact."""
    return np.asarray(explained.full - explained.empty - np.sum(explained.values, axis=0))


def has_interval(explained: Explanation, class_index: int) -> bool:
    """Whether there are samples enough for intervals of a class; if not, `NO_INTERVAL` says so."""
    return bool(np.isfinite([explained.low[:, class_index], explained.high[:, class_index]]).all())


def class_index(class_names: Sequence[str], name: str) -> int:
    """The index of `name`, exact but for capitals.

    Raises:
      InputError: no such class, with the closest names; or one that two classes answer to.
    """
    if name in class_names:
        return list(class_names).index(name)
    folded = [known.casefold() for known in class_names]
    if folded.count(name.casefold()) == 1:
        return folded.index(name.casefold())
    by_folded = dict(zip(folded, class_names, strict=True))
    close = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    within = [known for known in folded if name and name.casefold() in known]
    likely = [by_folded[f] for f in dict.fromkeys(within + close)][:3]
    hint = (
        f"close names are {listed(map(repr, likely))}" if likely else f"the first is {listed([repr(class_names[0])])}"
    )
    raise InputError(f"unknown class {listed([repr(name)])}: the model knows {len(class_names)} classes; {hint}")


def add_up(terms: np.ndarray, total: float, decimals: int) -> np.ndarray:
    """Rounds `terms` [n] so that, as printed, they add up to `total` as printed.

    Terms that sum to a total rarely still do once each is rounded. Here those nearest to the middle between two
    roundings go the other way until they do: every result is within one unit of the last decimal of its term.
    """
    unit = 10.0**-decimals
    scaled = np.asarray(terms, np.float64) / unit
    rounded = np.rint(scaled)
    missing = round(total / unit) - int(rounded.sum())
    step = np.sign(missing)
    nearest = np.argsort(-step * (scaled - rounded), kind="stable")
    rounded[nearest[: abs(missing)]] += step
    return np.round(rounded * unit, decimals) + 0.0  # no "-0.00"

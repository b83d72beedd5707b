"""Who shares a score besides single frames: segments, shots, tubelets, windows of sound, words, channels.

Players are named sets of entries along the first axis of a video, or of its modalities where it is a mapping of
several, {"frames": [T, ...], "words": [W]}. `grouped(game, players)` divides scores over them.
"""

import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from esv_jax import checks
from esv_jax.base import Array, Player, one_player_a_frame

FRAMES = "frames"


def each(count: int, *, modality: str = FRAMES, names: Sequence[str] | None = None) -> tuple[Player, ...]:
    """Every entry a player of its own: frames, words (by their own `names`), channels."""
    checks.check_positive("count", count)
    called = _names(names, count, lambda i: _entry(modality, i))
    return tuple(Player(name, ((modality, (i,)),)) for i, name in enumerate(called))


def segments(count: int, num_segments: int, *, modality: str = FRAMES) -> tuple[Player, ...]:
    """`count` entries in so many segments of equal length, or nearly: entry i is in that of floor(i n / count)."""
    checks.check_positive("count", count)
    checks.check_positive("num_segments", num_segments)
    if num_segments > count:
        raise checks.InputError(f"num_segments should be at most the {count} entries, found {num_segments}")
    return between(count, [-(-i * count // num_segments) for i in range(1, num_segments)], modality=modality)


def tubelets(count: int, size: int = 2, *, modality: str = FRAMES) -> tuple[Player, ...]:
    """`size` entries after another each, as models see them that embed two frames at once; the last may be shorter."""
    checks.check_positive("count", count)
    checks.check_positive("size", size)
    return between(count, range(size, count, size), modality=modality)


def between(
    count: int, boundaries: Iterable[int], *, modality: str = FRAMES, names: Sequence[str] | None = None
) -> tuple[Player, ...]:
    """Shots, scenes, words spoken: one player up to each boundary, the first entry behind a cut, and one to the end.

    Args:
      count: of the entries, as a rule T.
      boundaries: increasing, within 1..count - 1.
      names: of the players; by default "frames 0-3".

    Raises:
      InputError: boundaries that are not such, or not as many names as players.
    """
    checks.check_positive("count", count)
    try:
        ends = [0, *map(_index, boundaries), count]
    except TypeError as error:
        raise checks.InputError(f"boundaries should be whole numbers, found {boundaries!r:.100}") from error
    if any(start >= stop for start, stop in itertools.pairwise(ends)):
        raise checks.InputError(
            f"boundaries should be increasing and within 1..{count - 1}, found {checks.listed(ends[1:-1], 8)}"
        )
    spans = list(itertools.pairwise(ends))
    called = _names(names, len(spans), lambda i: _span(modality, *spans[i]))
    return tuple(
        Player(name, ((modality, tuple(range(start, stop))),))
        for name, (start, stop) in zip(called, spans, strict=True)
    )


def opened(player: Player) -> tuple[Player, ...]:
    """The player's entries, each a player of its own."""
    return tuple(
        Player(_entry(modality, i), ((modality, (i,)),)) for modality, indices in player.parts for i in indices
    )


def by_modality(values: Array, players: Sequence[Player]) -> dict[str, np.ndarray]:
    """What the players of each modality have been given together, [C] of values [P, C]; the sums add up to theirs.

    A player of several modalities counts as of one of its own, "frames and sound".
    """
    own = [" and ".join(dict.fromkeys(modality for modality, _ in player.parts)) for player in players]
    checks.check_shape("values", values, (len(own), "C"))
    values = np.asarray(values)
    return {name: values[[of == name for of in own]].sum(axis=0) for name in dict.fromkeys(own)}


def lengths_of(video: Any) -> dict[str, int]:
    """How many entries each modality of a video has; of an array its frames."""
    if not isinstance(video, Mapping):
        return {FRAMES: one_player_a_frame(video)}
    if not video:
        raise checks.InputError("video should hold at least one modality, found an empty mapping")
    return {name: one_player_a_frame(part) for name, part in video.items()}


def num_entries(video: Any) -> int:
    """E, of all modalities together."""
    return sum(lengths_of(video).values())


def parts_of(lengths: Mapping[str, int]) -> dict[str, slice]:
    """Which of the E entries are those of each modality, in their order."""
    found, start = {}, 0
    for name, length in lengths.items():
        found[name] = slice(start, start + length)
        start += length
    return found


def checked(players: Iterable[Any]) -> tuple[Player, ...]:
    """The players as tuples: of `Player`, or of (name, [(modality, indices), ...]).

    Raises:
      InputError: they are not such; an empty one; an entry in two of them.
    """
    found = []
    if not isinstance(players, Iterable):
        raise checks.InputError(f"players should be a list, found {type(players).__name__}")
    for player in players:
        try:
            name, parts = player
            of_each: dict[str, tuple[int, ...]] = {}
            for modality, indices in parts:
                of_each[str(modality)] = of_each.get(modality, ()) + tuple(map(_index, indices))
            found.append(Player(str(name), tuple(of_each.items())))
        except (TypeError, ValueError) as error:
            raise checks.InputError(
                f"players should be (name, [(modality, indices), ...]) each, found {player!r:.100}"
            ) from error
    if not found:
        raise checks.InputError("players should be at least one, found none")
    for player in found:
        if not any(indices for _, indices in player.parts):
            raise checks.InputError(f"players should have entries each, found none in {checks.shown(player.name)!r}")
    entries = [(m, i) for player in found for m, indices in player.parts for i in indices]
    twice = checks.repeated(entries)
    if twice:
        raise checks.InputError(
            "players should have no entry in common, found in two of them "
            + checks.listed(f"{modality} {i}" for modality, i in twice)
        )
    return tuple(found)


def membership(players: Sequence[Player], lengths: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which entries are whose, bool [P, E], and those of modalities of which no player has any, bool [E].

    Raises:
      InputError: an entry that is not there; a modality of which players have some entries and no player others.
    """
    part_of = parts_of(lengths)
    mask = np.zeros((len(players), sum(lengths.values())), bool)
    for row, player in zip(mask, players, strict=True):
        for modality, indices in player.parts:
            if modality not in lengths:
                raise checks.InputError(
                    f"players should be of the modalities {checks.listed(lengths)}, found {modality!r:.80}"
                )
            outside = [i for i in indices if not 0 <= i < lengths[modality]]
            if outside:
                raise checks.InputError(
                    f"players should have {modality} of 0..{lengths[modality] - 1}, found {checks.listed(outside)}"
                )
            row[part_of[modality]][list(indices)] = True
    nobodys = np.logical_not(mask.any(axis=0))
    for name, length in lengths.items():
        of_modality = nobodys[part_of[name]]
        if of_modality.any() and not of_modality.all():
            missing = checks.listed(np.flatnonzero(of_modality).tolist())
            raise checks.InputError(f"players should have all {length} {name} between them, found none with {missing}")
    return mask, nobodys


def _index(value: Any) -> int:
    """A whole number; no mask, no digits of a text.

    Raises:
      TypeError: it is none.
    """
    if isinstance(value, bool | np.bool_):
        raise TypeError("a truth value is no index")
    return operator.index(value)


def _names(given: Sequence[str] | None, count: int, default: Any) -> list[str]:
    if given is None:
        return [default(i) for i in range(count)]
    called = [str(name) for name in given]
    if len(called) != count:
        raise checks.InputError(f"names should be {count}, one of each player, found {len(called)}")
    return called


def _entry(modality: str, i: int) -> str:
    return f"{i}" if modality == FRAMES else f"{modality} {i}"


def _span(modality: str, start: int, stop: int) -> str:
    return f"{modality} {start}" if stop == start + 1 else f"{modality} {start}-{stop - 1}"

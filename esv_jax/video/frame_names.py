"""Which file names of a folder are the frames of one video, and in which order.

A name is a stem with a number in it: img_00001, "frame (12)", 0.25, cam2_0001, "2024-01-05 12.30.45". The stems of one
video are the same but for that number. Other names beside them (optical flow, depth, masks, copies) are no frames of
it, and which of them are meant cannot be known: that is an error.
"""

import itertools
import os
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from esv_jax.checks import InputError, listed

_TIME_OF_DAY = r"(?:[0-9]?[0-9]:[0-5][0-9]:[0-5][0-9]|[0-9]{2}([-.])[0-5][0-9]\2[0-5][0-9])(?:[.,][0-9]{1,6})?"
# 20240105_123045, 2024-01-05 12.30.45, 2024-01-05-12h30m45s123
_DATE_AND_TIME = (
    r"(?:19|20)[0-9]{2}[-._:]?[01][0-9][-._:]?[0-3][0-9](?:[-_ t.]+| at )"
    r"[0-2][0-9][-._:h]?[0-5][0-9][-._:m]?[0-5][0-9](?:[.,s]?[0-9]{1,6})?"
)
_DECIMAL = r"[0-9]+[.,][0-9]+"
# A time or a decimal stands alone: 1.2.3 is three numbers.
_NUMBER = re.compile(rf"((?<![0-9])(?<![0-9][.,])(?:{_DATE_AND_TIME}|{_TIME_OF_DAY}|{_DECIMAL})(?![.,]?[0-9])|[0-9]+)")
_DIGITS = re.compile("([0-9]+)")
_AM_OR_PM = re.compile(r"\s?[ap]m(?![a-z])")


class FrameNames(NamedTuple):
    """The frames of a folder.

    Attributes:
      names: of the files, in the order of the frames.
      numbers: in the names, increasing; None where they hold no whole number that could be a frame's.
    """

    names: list[str]
    numbers: list[int] | None


class _Name(NamedTuple):
    """A file name in parts: the text around its numbers, and their values, which can be compared with one another."""

    name: str
    texts: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def stem(self) -> str:
        return "#".join(self.texts)


def frames_among(names: Sequence[str], folder: object) -> FrameNames:
    """The frames among the names of the pictures of a folder, at least one, in order.

    The names are those of one sequence, ignoring upper and lower case and suffixes. One picture without a number in
    its name beside at least two with one, such as a poster, is no frame.

    Args:
      names: of the files, in any order.
      folder: where they are, for messages.

    Raises:
      InputError: they are not one sequence, two have the same number, or what the order is cannot be known.
    """
    if len(names) == 1:
        (only,) = map(_parsed, names)
        whole = len(only.values) == 1 and isinstance(only.values[0], int)
        return FrameNames(list(names), list(only.values) if whole else None)
    numbered, stems = _numbered(names, _parsed)
    if len(stems) > 1:  # 20240105_000059 looks like a time, and 20240105_000060 does not
        plain = _numbered(names, _parsed_as_digits)
        numbered, stems = plain if len(plain[1]) == 1 else (numbered, stems)
    others = [_parsed(name) for name in names if not _DIGITS.search(os.path.splitext(name)[0])]
    if not stems:
        raise InputError(
            f"which frame is the first cannot be known: the pictures of {folder} have no numbers in their names "
            f"({listed(sorted(name.name for name in others))})"
        )
    poster = len(others) == 1 and len(numbered) > 1 and _letters(others[0]) != _letters(numbered[0])
    if len(stems) > 1 or (others and not poster):
        found = listed([*sorted(stems.values()), *sorted(name.name for name in others)])
        raise InputError(
            f"{folder} should hold the pictures of one video, found several kinds of names ({found}): put each kind "
            "into a folder of its own"
        )
    if any(_AM_OR_PM.match(text) for text in numbered[0].texts[1:]):  # 12.30 comes before 1.05
        raise InputError(
            f"the pictures of {folder} should have times of 24 hours in their names, found AM or PM "
            f"({listed(sorted(name.name for name in numbered))})"
        )
    return _in_order(numbered, folder)


def _numbered(names: Sequence[str], parse: Callable[[str], _Name]) -> tuple[list[_Name], dict[tuple[str, ...], str]]:
    """Those of the names that hold numbers, and their different stems."""
    numbered = [name for name in map(parse, names) if name.values]
    return numbered, {name.texts: name.stem for name in numbered}


def _parsed_as_digits(name: str) -> _Name:
    """A name without times and decimals: every number in it is a whole one."""
    parts = _DIGITS.split(os.path.splitext(name)[0].casefold())
    return _Name(name, tuple(parts[::2]), tuple(map(int, parts[1::2])))


def _parsed(name: str) -> _Name:
    stem = os.path.splitext(name)[0].casefold()
    before, digits, after = _DIGITS.split(stem, maxsplit=1) if _DIGITS.search(stem) else (stem, "", "")
    if not _DIGITS.search(after):  # most names, and quickly
        return _Name(name, (before, after), (int(digits),)) if digits else _Name(name, (before,), ())
    parts = _NUMBER.split(stem)
    return _Name(name, tuple(parts[::3]), tuple(map(_value, parts[1::3])))


def _value(number: str) -> Any:
    if number.isdecimal():
        return int(number)
    first, *rest = re.findall("[0-9]+", number)
    if len(rest) == 1 and re.fullmatch(_DECIMAL, number):
        return Decimal(f"{first}.{rest[0]}")
    return int(first), "".join(rest)  # a time: all but the hours, or the year, has leading zeros


def _letters(name: _Name) -> str:
    return "".join(filter(str.isalpha, "".join(name.texts)))


def _in_order(names: Sequence[_Name], folder: object) -> FrameNames:
    """Names of one stem by the number that varies; others that vary have to increase with it, as a frame's time does.

    Raises:
      InputError: it does not increase from name to name, or others do not.
    """
    columns = list(zip(*(name.values for name in names), strict=True))
    try:
        varying = [column for column in columns if len(set(column)) > 1]
        order = sorted(range(len(names)), key=lambda i: (*(column[i] for column in varying), names[i].name))
        pairs = list(itertools.pairwise(order))
        steps = [[column[i] < column[j] for column in varying] for i, j in pairs]
    except TypeError as error:  # a time and a number
        raise InputError(
            f"the pictures of {folder} should have numbers or times in their names, found both "
            f"({listed(sorted(name.name for name in names))})"
        ) from error
    for column in varying:
        _check_decimals([value for value in column if isinstance(value, Decimal)], folder)
    for (i, j), step in zip(pairs, steps, strict=True):
        if not any(step):
            raise InputError(
                f"{folder} should hold one picture for each frame, found two with the same number: "
                f"{names[i].name}, {names[j].name}"
            )
    if not all(all(step) for step in steps):
        raise InputError(
            f"{folder} should hold the pictures of one video, found names in which several numbers vary "
            f"({listed(names[i].name for i in order)}): which of them is the frame's cannot be known"
        )
    whole = len(varying) == 1 and all(isinstance(value, int) for value in varying[0])
    return FrameNames([names[i].name for i in order], [varying[0][i] for i in order] if whole else None)


def _check_decimals(values: Sequence[Decimal], folder: object) -> None:
    """Raises InputError for names such as 1.9 and 1.10, or 1.8, 1.10 and 1.12, which may be two numbers as well as a
    decimal."""
    texts = [f"{value:f}".split(".") for value in values]
    if len({len(fraction) for _, fraction in texts}) <= 1:
        return
    unclear = next((text for text in texts if len(text[1]) > 1 and text[1].endswith("0")), None)
    if not any(len(fraction) > 1 and fraction.startswith("0") for _, fraction in texts):  # as no counting gives
        behind: dict[str, list[str]] = {}
        for whole, fraction in texts:
            behind.setdefault(whole, []).append(fraction)
        unclear = unclear or next(([whole, max(found)] for whole, found in behind.items() if _are_counted(found)), None)
    if unclear:
        raise InputError(
            f"the pictures of {folder} have names such as {'.'.join(unclear)}: whether that is a decimal, or two "
            "numbers, cannot be known"
        )


def _are_counted(fractions: Sequence[str]) -> bool:
    """Whether the digits behind a point are every n-th number, of several lengths: 8, 10, 12."""
    numbers = sorted(map(int, fractions))
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    return len(set(map(len, fractions))) > 1 and len(numbers) > 2 and len(steps) == 1

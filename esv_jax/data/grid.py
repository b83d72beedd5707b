"""The GRID corpus (Cooke, Barker, Cunningham & Shao, 2006): sentences of six words, and when each word is said.

A folder of the corpus holds videos, s1/bbaf2n.mpg, of 75 frames at 25 a second, and beside or elsewhere below it the
words' times, align/bbaf2n.align: lines "start end word", in thousandths of a frame. What a sentence says at one place
is the class of its clip, and the frames of that word are its evidence.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from esv_jax import files
from esv_jax.checks import InputError, listed

FRAMES_PER_SECOND = 25
PLACES = ("command", "colour", "preposition", "letter", "digit", "adverb")
_UNITS_A_FRAME = 1000
_SILENCE = ("sil", "sp")
_VIDEOS = (".mpg", ".mpeg", ".mp4", ".avi", ".mov", ".mkv", ".webm")


class Sentence(NamedTuple):
    """A clip of the corpus.

    Attributes:
      path: of the video, relative to the folder.
      speaker: the first of the folders that it is in, "s1".
      word: what is said at the place asked for.
      first, last: frames in which it is said.
    """

    path: str
    speaker: str
    word: str
    first: int
    last: int


def read_grid(folder: str | os.PathLike, place: str) -> list[Sentence]:
    """The sentences of a folder of the corpus, in the order of their paths.

    Args:
      folder: with videos and *.align below it, in whatever folders; a sentence's two files have one name.
      place: which of a sentence's words is the class, one of `PLACES`.

    Raises:
      InputError: no such folder or place, videos without times or with damaged ones, or names that come twice or are
        no text.
    """
    if place not in PLACES:
        raise InputError(f"place should be one of {', '.join(PLACES)}, found {place!r:.80}")
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"there is no folder {folder}")
    below = sorted(path for path in root.rglob("*") if path.is_file() and not files.is_of_desktop(path.name))
    videos = [path for path in below if path.suffix.lower() in _VIDEOS]
    times: dict[str, list[Path]] = {}
    for path in below:
        if path.suffix.lower() == ".align":
            times.setdefault(path.stem, []).append(path)
    if not videos:
        raise InputError(f"{folder} should hold the videos of GRID ({', '.join(_VIDEOS)}), found none")
    found = []
    for video in videos:
        of_video = _times_of(video, times.get(video.stem, []))
        word, first, last = _word(of_video, PLACES.index(place))
        relative = video.relative_to(root)
        if not files.is_one_line(str(relative)):
            raise InputError(f"videos should have names of one line of text in UTF-8, found {str(relative)!a:.80}")
        speaker = relative.parts[0] if len(relative.parts) > 1 else ""
        found.append(Sentence(relative.as_posix(), speaker, word, first, last))
    return found


def _times_of(video: Path, mine: Sequence[Path]) -> Path:
    """The file of a video's times: of those of its name the one which shares most of its folders."""
    if not mine:
        raise InputError(f"{video} should have its words' times in a file {video.stem}.align, found none")
    shared = [len(os.path.commonpath([video, path])) for path in mine]
    nearest = [path for path, length in zip(mine, shared, strict=True) if length == max(shared)]
    if len(nearest) > 1:
        raise InputError(f"{video} should have its words' times in one file, found {listed(nearest)}")
    return nearest[0]


def _word(path: Path, place: int) -> tuple[str, int, int]:
    """The word at a place, and the first and the last frame in which most of the frame is of it."""
    words = []
    for line, text in enumerate(_lines(path), start=1):
        parts = text.split()
        if not parts:
            continue
        start, end = (files.whole_number(part) for part in parts[:2]) if len(parts) == 3 else (None, None)
        if start is None or end is None or not 0 <= start <= end < 10**7:
            raise InputError(f"line {line} of {path} should be a start, an end and a word, found {text.strip()!r:.80}")
        if parts[2] not in _SILENCE:
            words.append((parts[2], start, end))
    if len(words) != len(PLACES):
        raise InputError(f"{path} should have the {len(PLACES)} words of a sentence, found {len(words)}")
    word, start, end = words[place]
    first = (start + _UNITS_A_FRAME // 2) // _UNITS_A_FRAME
    return word, first, max(first, (end + _UNITS_A_FRAME // 2) // _UNITS_A_FRAME - 1)


def _lines(path: Path) -> list[str]:
    try:
        with files.disk_errors(f"the times {path} cannot be read"):
            return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"the times {path} should be text, found bytes that are none") from error

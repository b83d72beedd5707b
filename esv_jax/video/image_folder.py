"""A folder of pictures as a video (Pillow).

Its frames are the pictures of one sequence of names (`frame_names`), whose order is that of the numbers in them.
Beside them a folder may hold texts (labels, notes), sounds, hidden files, what a desktop puts there, and folders, which
are no part of the video. Anything else might be frames that are not read here, and is an error.
"""

import bisect
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, listed, require
from esv_jax.video.frame_names import FrameNames, frames_among
from esv_jax.video.frames import Frames, NumberInName, Seconds, end_of_part

# fmt: off
_PICTURES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm",
    ".pnm",
)
_TEXTS = (
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".log", ".srt", ".vtt", ".ini", ".cfg",
    ".html", ".htm", ".pdf", ".py", ".sh", ".md5", ".xmp", ".aae",
)
# fmt: on
# Pillow reads others by running programs.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
_SOUNDS = (".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus")
_MOST_PIXELS = 2**26  # twice those of the largest videos (8K); as many need less than 1 GB while they are read
_SETTLED = 5.0  # seconds after the last file came or went
_FPS = 25.0  # images have no times of their own
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of a TIFF


def pick(path: str | os.PathLike, choose: Callable[[int], np.ndarray]) -> Frames:
    """The frames whose increasing numbers `choose(number of frames in the folder)` gives, at least one.

    Raises:
      InputError: there is no picture, or one that cannot be read or differs in size from the others; the names are not
        those of one sequence (`frame_names.frames_among`); there are files that may be frames and are not read.
    """
    names, _ = _frames_of(path)
    indices = choose(len(names))
    images = np.stack(list(_images([Path(path, names[i]) for i in indices])))
    return Frames(images, indices / _FPS, indices, len(names))


def iter_frames(path: str | os.PathLike, start: int | Seconds, stop: int | Seconds | None) -> Iterator[np.ndarray]:
    """The frames start .. stop - 1 (to the end if None), uint8 [H, W, 3] each, holding one at a time.

    Positions in the folder, or, if `start` or `stop` is a `NumberInName`, the numbers in the names: those that are
    there, where the numbering has gaps.

    Raises:
      InputError: as for `pick`; the video does not reach from `start` to `stop`; the names have no numbers, or `start`
        is a time, which pictures have not.
    """
    if isinstance(start, Seconds) or isinstance(stop, Seconds):
        raise InputError(f"a part of {path} is asked for by its time, but a folder of pictures has no times")
    names, numbers = _frames_of(path)
    if isinstance(start, NumberInName) or isinstance(stop, NumberInName):
        begin, end = _part_by_number(path, numbers, start, stop)
    else:
        begin, end = start, end_of_part(path, start, stop, len(names))
    yield from _images([Path(path, name) for name in names[begin:end]])


def _part_by_number(
    path: str | os.PathLike, numbers: Sequence[int] | None, start: int, stop: int | None
) -> tuple[int, int]:
    """Where the frames numbered start .. stop - 1 (to the end if None) begin and end among those of these numbers."""
    if numbers is None:
        raise InputError(
            f"the frames numbered {start} and on are asked for, but the names in {path} have no frame numbers"
        )
    following = numbers[-1] + 1 if stop is None else stop
    begin, end = bisect.bisect_left(numbers, start), bisect.bisect_left(numbers, following)
    inside = numbers[0] <= start < following <= numbers[-1] + 1
    if not inside or begin == end:
        raise InputError(
            f"the frames numbered {start}..{following - 1} are asked for, but {path} has "
            f"{numbers[0]}..{numbers[-1]}{', and none of these' if inside else ''}"
        )
    return begin, end


def _frames_of(path: str | os.PathLike) -> FrameNames:
    """The frames among the files of a folder; kept, as the actions of a long video ask one after another."""
    with files.disk_errors(f"the folder {path} cannot be read"):
        status = os.stat(path)
    # A file that comes within the same tick of the clock does not change the folder's time.
    is_settled = time.time() - status.st_mtime > _SETTLED
    read = _frames_in if is_settled else _frames_in.__wrapped__
    return read(os.fspath(path), status.st_ino, status.st_mtime_ns)


@functools.lru_cache(2)
def _frames_in(path: str, *version: int) -> FrameNames:
    pictures: list[str] = []
    folders: list[str] = []
    strange: list[str] = []
    with files.disk_errors(f"the folder {path} cannot be read"), os.scandir(path) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith(".") or files.is_of_desktop(entry.name):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif suffix in _PICTURES and entry.is_file():
                pictures.append(entry.name)
            elif suffix not in (*_TEXTS, *_SOUNDS) and not _is_a_word(entry.name):
                strange.append(entry.name)
    if strange:
        raise InputError(
            f"the folder {path} should hold the pictures of a video, found {listed(sorted(strange))}, which cannot be "
            "read as pictures: put them elsewhere"
        )
    if not pictures or (folders and len(pictures) == 1):
        found = "no pictures that are read here" if not pictures else f"{pictures[0]} alone"
        beside = f", but the folders {listed(sorted(folders))}: give the one that is the video" if folders else ""
        kinds = "" if pictures or folders else f" ({', '.join(_PICTURES)})"
        raise InputError(f"the folder {path} holds {found}{kinds}{beside}")
    return frames_among(pictures, path)


def _is_a_word(name: str) -> bool:
    """Whether a file is called README, LICENSE or n_frames (which those who extract frames for 3D-ResNets have)."""
    return "." not in name and not any(map(str.isdigit, name))


def _images(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """The images, uint8 [H, W, 3] each, turned as their EXIF orientation says."""
    pillow = require("PIL.Image", extra="video")
    shape = None
    for path in paths:
        try:
            with pillow.open(path, formats=_FORMATS) as stored:
                _check_readable(stored, path)
                image = _rgb(stored)
        except InputError:
            raise
        except pillow.UnidentifiedImageError as error:
            raise InputError(f"the image {path} cannot be read: it is none, or of another kind") from error
        except Exception as error:  # whatever Pillow's decoders meet in a damaged file
            raise InputError(f"the image {path} cannot be read: {files.reason(error)}") from error
        shape = shape or image.shape
        if image.shape != shape:
            raise InputError(
                f"the image {path} is {image.shape[1]}x{image.shape[0]}, but {paths[0].name} is {shape[1]}x{shape[0]}: "
                "the frames of a video have one size"
            )
        yield image


def _check_readable(stored: Any, path: Path) -> None:
    """Raises InputError for a picture that is too large, several pictures, or one whose black and white are unknown."""
    if stored.width * stored.height > _MOST_PIXELS:
        raise InputError(
            f"the image {path} is {stored.width}x{stored.height}; a frame may have {_MOST_PIXELS:,} pixels"
        )
    # A phone's jpeg may hold a small copy or a depth map besides (MPO).
    if getattr(stored, "is_animated", False) and stored.format != "MPO":
        raise InputError(f"the image {path} holds several pictures, and which of them is the frame cannot be known")
    if stored.mode == "F" or (stored.mode == "I" and stored.format not in ("PNG", "PPM")):
        raise InputError(
            f"the image {path} holds numbers ({'float' if stored.mode == 'F' else 'integers'}) whose black and white "
            "are unknown: save it with 8 or 16 bits"
        )


def _rgb(stored: Any) -> np.ndarray:
    """A picture of any mode, uint8 [H, W, 3]. Of 16 bits the higher 8 are taken, as video software does."""
    operations = require("PIL.ImageOps", extra="video")
    turned = operations.exif_transpose(stored)
    if stored.mode.startswith("I"):
        tags = getattr(stored, "tag_v2", {})
        grey = (np.asarray(turned) >> (tags.get(_BITS_PER_SAMPLE, (16,))[0] - 8)).astype(np.uint8)
        grey = 255 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey
        return np.repeat(grey[..., None], 3, axis=2)
    if turned.mode == "P" and "transparency" in turned.info:  # Pillow warns of some otherwise
        turned = turned.convert("RGBA")
    return np.asarray(turned.convert("RGB"))

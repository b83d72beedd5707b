"""A folder of images as a video (Pillow)."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from esv_jax.checks import InputError, require
from esv_jax.video.frames import Frames, end_of_part

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_FPS = 25.0  # images have no times of their own


def pick(path: str | os.PathLike, choose: Callable[[int], np.ndarray]) -> Frames:
    """The frames whose increasing numbers `choose(number of images in the folder)` gives, at least one.

    Raises:
      InputError: there is no image, or one that cannot be read or differs in size from the others.
    """
    files = _image_files(path)
    indices = choose(len(files))
    return Frames(np.stack(list(_images([files[i] for i in indices]))), indices / _FPS, indices, len(files))


def iter_frames(path: str | os.PathLike, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """The frames start .. stop - 1 (to the end if None), uint8 [H, W, 3] each, holding one at a time.

    Raises:
      InputError: as for `pick`; or the video ends before them.
    """
    files = _image_files(path)
    yield from _images(files[start : end_of_part(path, start, stop, len(files))])


def _image_files(folder: str | os.PathLike) -> list[Path]:
    """The images of a folder in natural order (frame2 before frame10); other files and hidden ones are not frames."""
    files = [p for p in Path(folder).iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".")]
    if not files:
        raise InputError(f"the folder {folder} holds no images ({', '.join(_SUFFIXES)})")
    return sorted(files, key=lambda p: ([_natural(part) for part in re.split(r"(\d+)", p.name)], p.name))


def _natural(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (0, part.lower())


def _images(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """The images, uint8 [H, W, 3] each, turned as their EXIF orientation says."""
    pillow, operations = require("PIL.Image", extra="video"), require("PIL.ImageOps", extra="video")
    size = None
    for file in files:
        try:
            with pillow.open(file) as stored:
                image = operations.exif_transpose(stored).convert("RGB")
        except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:  # Pillow's ways to say no
            raise InputError(f"the image {file} cannot be read: {error}") from error
        size = size or image.size
        if image.size != size:
            raise InputError(
                f"the image {file} is {image.width}x{image.height}, but {files[0].name} is {size[0]}x{size[1]}: "
                "the frames of a video have one size"
            )
        yield np.asarray(image)

"""A folder of images as a video (Pillow)."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from esv_jax.checks import InputError, require

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FPS = 25.0  # images have no times of their own


def image_files(folder: str | os.PathLike) -> list[Path]:
    """The images of a folder in natural order (frame2 before frame10); other files and hidden ones are not frames.

    Raises:
      InputError: there is none.
    """
    files = [p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    if not files:
        raise InputError(f"the folder {folder} holds no images ({', '.join(SUFFIXES)})")
    return sorted(files, key=lambda p: ([_natural(part) for part in re.split(r"(\d+)", p.name)], p.name))


def _natural(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (0, part.lower())


def read_images(files: Sequence[Path]) -> np.ndarray:
    """The images, turned as their EXIF orientation says.

    Returns:
      uint8 [T, H, W, 3].

    Raises:
      InputError: a file is not an image, is cut short, or differs in size from the first.
    """
    pillow, operations = require("PIL.Image", extra="video"), require("PIL.ImageOps", extra="video")
    images: list[np.ndarray] = []
    for file in files:
        try:
            with pillow.open(file) as image:
                images.append(np.asarray(operations.exif_transpose(image).convert("RGB")))
        except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:  # Pillow's ways to say no
            raise InputError(f"the image {file} cannot be read: {error}") from error
        if images[-1].shape != images[0].shape:
            (height, width), (first_height, first_width) = images[-1].shape[:2], images[0].shape[:2]
            raise InputError(
                f"the image {file} is {width}x{height}, but {files[0].name} is {first_width}x{first_height}: "
                "the frames of a video have one size"
            )
    return np.stack(images)

"""From decoded frames to what a backbone is given: resize the short side, crop the centre (Pillow)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from esv_jax.checks import InputError, check_positive, check_shape, listed, require

# Of what a file says: no backbone sees more pixels, and no normalisation of 0..255 has larger numbers.
MAX_SIDE = 2**14
MAX_LEVEL = 1e6


class Preprocess(NamedTuple):
    """What a backbone expects of its images. `_asdict()` of it is json; `preprocess_from_json` reads that back.

    Attributes:
      short_side: the shorter side of the image after resizing, pixels; the aspect ratio is kept.
      size: the side of the square cut from the centre, pixels, at most `short_side`.
      mean, std: per channel (R, G, B), in units of 0..255. The backbone computes (x - mean) / std on device.
    """

    short_side: int
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def preprocess_from_json(fields: Mapping[str, Any]) -> Preprocess:
    """The `Preprocess` whose `_asdict()` was written to json as `fields`.

    Raises:
      InputError: a field is missing, unknown or has an impossible value.
    """
    if not isinstance(fields, Mapping) or set(fields) != set(Preprocess._fields):
        found = listed(fields) if isinstance(fields, Mapping) else type(fields).__name__
        raise InputError(f"preprocess should have the fields {', '.join(Preprocess._fields)}, found {found}")
    for name in ("short_side", "size"):
        if not isinstance(fields[name], int):
            raise InputError(f"preprocess.{name} should be a number of pixels, found {fields[name]!r:.40}")
        check_positive(f"preprocess.{name}", fields[name])
        if fields[name] > MAX_SIDE:
            raise InputError(f"preprocess.{name} should be at most {MAX_SIDE} pixels, found {fields[name]:.3g}")
    if fields["size"] > fields["short_side"]:
        raise InputError(f"preprocess.size is {fields['size']}, larger than short_side, {fields['short_side']}")
    for name in ("mean", "std"):
        values = fields[name]
        numbers = isinstance(values, list | tuple) and all(type(value) in (int, float) for value in values)
        if not numbers or not all(abs(value) <= MAX_LEVEL for value in values):
            raise InputError(f"preprocess.{name} should be three numbers, one for each of R, G, B, found others")
        check_shape(f"preprocess.{name}", values, (3,))
    if min(fields["std"]) <= 0:
        raise InputError(f"preprocess.std should be positive, found {list(fields['std'])}")
    mean, std = (tuple(float(v) for v in fields[name]) for name in ("mean", "std"))
    return Preprocess(fields["short_side"], fields["size"], mean, std)  # type: ignore[arg-type]


def resize_and_crop(images: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Images as a backbone wants them: bilinear with antialiasing to `short_side`, then the central square.

    Args:
      images: uint8 [T, H, W, 3], RGB.
      preprocess: the backbone's wishes; `mean` and `std` are not applied here.

    Returns:
      uint8 [T, size, size, 3].

    Raises:
      InputError: wrong shape or dtype, or `size` exceeds `short_side`.
      MissingExtraError: Pillow is not installed.
    """
    check_shape("images", images, ("T", "H", "W", 3))
    if images.dtype != np.uint8:
        raise InputError(f"images should be uint8 (0..255), found {images.dtype}")
    short_side, size = preprocess.short_side, preprocess.size
    if not 1 <= size <= short_side:
        raise InputError(f"preprocess.size should be in 1..short_side ({short_side}), found {size}")
    pillow = require("PIL.Image", extra="video")
    num_frames, height, width = images.shape[:3]
    shorter = min(height, width)
    new_height, new_width = (max(short_side, round(side * short_side / shorter)) for side in (height, width))
    top, left = (new_height - size) // 2, (new_width - size) // 2
    out = np.empty((num_frames, size, size, 3), np.uint8)
    for i, image in enumerate(images):
        resized = pillow.fromarray(image).resize((new_width, new_height), pillow.Resampling.BILINEAR)
        out[i] = np.asarray(resized)[top : top + size, left : left + size]
    return out

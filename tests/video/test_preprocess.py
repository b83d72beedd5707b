import json

import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.video.preprocess import Preprocess, preprocess_from_json, resize_and_crop

FIELDS = {"short_side": 8, "size": 6, "mean": [1, 2, 3], "std": [4, 5, 6]}


def square(short_side, size):
    return Preprocess(short_side, size, (0.0,) * 3, (1.0,) * 3)


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def test_without_resizing_the_central_square_is_cut_out():
    images = random_images(2, 10, 17)
    np.testing.assert_array_equal(resize_and_crop(images, square(10, 6)), images[:, 2:8, 5:11])
    tall = random_images(1, 17, 10)
    np.testing.assert_array_equal(resize_and_crop(tall, square(10, 10)), tall[:, 3:13])


def test_halving_a_picture_of_even_blocks_gives_the_blocks():
    blocks = random_images(1, 8, 12)
    images = blocks.repeat(8, axis=1).repeat(8, axis=2)
    small = resize_and_crop(images, square(8, 8))
    # In the middle of a block of 8 pixels shrunk to one, antialiasing (a triangle 16 wide) mixes in the neighbours:
    # weights 1/8, 3/4, 1/8 in each direction.
    kernel = np.array([1, 6, 1]) / 8
    wide = np.pad(blocks[0].astype(float), ((1, 1), (0, 0), (0, 0)), "edge")[:, 2 - 1 : 10 + 1]
    rows = sum(k * wide[i : i + 8] for i, k in enumerate(kernel))
    expected = sum(k * rows[:, i : i + 8] for i, k in enumerate(kernel))
    np.testing.assert_allclose(small[0, 1:-1], expected[1:-1], atol=1)


def test_the_aspect_ratio_is_kept():
    """A disc stays a disc: as wide as high, in the middle, at half the size."""
    y, x = np.mgrid[:100, :180]
    disc = ((y - 49.5) ** 2 + (x - 89.5) ** 2 < 40**2).astype(np.uint8)[None, ..., None] * np.full(3, 255, np.uint8)
    small = resize_and_crop(disc, square(50, 50))[0, ..., 0] > 127
    assert small.any(axis=0).sum() == small.any(axis=1).sum() == 40
    np.testing.assert_array_equal(small, small[::-1, ::-1])


def test_every_frame_is_treated_alone():
    images = random_images(3, 20, 30)
    together = resize_and_crop(images, square(9, 7))
    assert together.shape == (3, 7, 7, 3)
    assert together.dtype == np.uint8
    for i in range(3):
        np.testing.assert_array_equal(together[i], resize_and_crop(images[i : i + 1], square(9, 7))[0])


def test_extreme_aspect_ratios_still_fill_the_square():
    assert resize_and_crop(random_images(1, 1, 400), square(9, 9)).shape == (1, 9, 9, 3)


@pytest.mark.parametrize(
    ("images", "preprocess", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), square(4, 4), r"images should have shape \[T, H, W, 3\], found \[4, 4, 3\]"),
        (np.zeros((1, 4, 4, 3), np.float32), square(4, 4), "images should be uint8 .*, found float32"),
        (np.zeros((1, 4, 4, 3), np.uint8), square(4, 5), r"size should be in 1\.\.short_side \(4\), found 5"),
    ],
)
def test_wrong_images_are_refused(images, preprocess, message):
    with pytest.raises(InputError, match=message):
        resize_and_crop(images, preprocess)


def test_json_there_and_back():
    preprocess = Preprocess(8, 6, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert preprocess_from_json(json.loads(json.dumps(preprocess._asdict()))) == preprocess
    assert preprocess_from_json(FIELDS) == preprocess


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 9}, "size is 9, larger than short_side, 8"),
        ({"short_side": 0}, "short_side should be an integer of at least 1"),
        ({"mean": [1, 2]}, r"mean should have shape \[3\], found \[2\]"),
        ({"std": [1, 0, 1]}, r"std should be positive, found \[1, 0, 1\]"),
        ({"crop": 5}, "should have the fields"),
    ],
)
def test_impossible_json_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        preprocess_from_json(FIELDS | change)

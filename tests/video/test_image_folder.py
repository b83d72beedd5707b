"""Folders of pictures: which are the frames, in which order, and what their pixels are."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from esv_jax.checks import InputError
from esv_jax.video import decode, image_folder
from esv_jax.video.frames import NumberInName, Seconds
from tests.video.videos import numbered_image, numbers_of, write_images


def only_frame(folder):
    (image,) = decode.read_frames(folder, [0]).images
    return image


# Which pictures


def test_a_folder_of_images_is_a_video_in_the_order_of_the_numbers(tmp_path):
    folder = write_images(tmp_path / "frames", ["f1.png", "f2.bmp", "F3.PNG", "f10.png", "f20.jpg", "f100.jpeg"])
    frames = decode.sample_frames(folder, 3)
    assert numbers_of(frames.images) == frames.indices.tolist() == [1, 3, 5]
    np.testing.assert_allclose(frames.times, [1 / 25, 3 / 25, 5 / 25])
    assert frames.num_frames_in_video == 6
    assert numbers_of(decode.read_frames(folder, [5, 0, 5]).images) == [5, 0, 5]
    assert numbers_of(decode.iter_frames(folder)) == list(range(6))


def test_decimals_are_in_the_order_of_their_values(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.25.png", "0.5.png", "1.0.png", "2.5.png", "10.25.png"])
    assert numbers_of(decode.iter_frames(folder)) == list(range(5))


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "JPEG", "jpe", "jfif", "bmp", "dib", "tif", "TIFF", "webp", "gif", "ppm", "pgm"]
)
def test_every_kind_of_picture_is_read(tmp_path, suffix):
    (tmp_path / "frames").mkdir()
    for number in (3, 10, 200):
        image = Image.fromarray(numbered_image(number))
        image.convert("L" if suffix == "pgm" else "RGB").save(tmp_path / "frames" / f"{number}.{suffix}")
    assert numbers_of(decode.iter_frames(tmp_path / "frames")) == [3, 10, 200]


def test_what_is_no_part_of_the_video(tmp_path):
    folder = write_images(tmp_path / "frames", ["1.webp", "2.webp", "poster.jpg"], [1, 2, 999])
    others = ["notes.txt", "1.json", "2.XML", "1.AAE", "seqinfo.ini", "n_frames", "README", "sound.wav"]
    for name in [*others, ".hidden.exr", "._1.webp", ".DS_Store", "Thumbs.db"]:
        (folder / name).write_text("not a frame")
    write_images(folder / "masks", ["1.png"])
    assert numbers_of(decode.iter_frames(folder)) == [1, 2]


def test_a_folder_is_looked_through_once_until_it_changes(tmp_path, monkeypatch):
    folder, looked = write_images(tmp_path / "frames", ["1.png", "2.png"]), []
    among = image_folder.frames_among
    monkeypatch.setattr(image_folder, "frames_among", lambda *names: looked.append(1) or among(*names))
    for _ in range(2):  # too young to be trusted
        assert numbers_of(decode.iter_frames(folder, 1)) == [1]
    assert len(looked) == 2
    os.utime(folder, (0, 0))
    for start in (0, 1):
        assert numbers_of(decode.iter_frames(folder, start)) == [0, 1][start:]
    assert len(looked) == 3
    Image.fromarray(numbered_image(7)).save(folder / "3.png")
    assert numbers_of(decode.iter_frames(folder, 2)) == [7]


def test_a_single_picture_is_a_video_of_one_frame(tmp_path):
    assert numbers_of(decode.iter_frames(write_images(tmp_path / "frames", ["still life.png"], [77]))) == [77]


@pytest.mark.parametrize("name", ["3.exr", "3.heic", "clip.mp4", "flow.npy", "3.png.part", "frame_3", "3"])
def test_other_files_are_told(tmp_path, name):
    folder = write_images(tmp_path / "frames", ["1.png", "2.png"])
    (folder / name).write_text("what is this?")
    with pytest.raises(InputError, match=f"frames should hold the pictures of a video, found {name}, which cannot be"):
        list(decode.iter_frames(folder))


def test_folders_without_a_video(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"the folder .*empty holds no pictures that are read here \(\.png, \.jpg,"):
        decode.sample_frames(tmp_path / "empty", 1)
    write_images(tmp_path / "empty" / "frames", ["1.png", "2.png"])
    with pytest.raises(InputError, match=r"read here, but the folders frames: give the one that is the video"):
        list(decode.iter_frames(tmp_path / "empty"))
    Image.fromarray(numbered_image(1)).save(tmp_path / "empty" / "poster.jpg")
    with pytest.raises(InputError, match=r"holds poster\.jpg alone, but the folders frames: give the one"):
        list(decode.iter_frames(tmp_path / "empty"))


def test_a_link_to_nothing_is_no_frame_that_can_be_left_out(tmp_path):
    folder = write_images(tmp_path / "frames", ["1.png", "2.png"])
    (folder / "3.png").symlink_to(tmp_path / "removed.png")
    with pytest.raises(InputError, match=r"found 3\.png, which cannot be read"):
        list(decode.iter_frames(folder))
    (folder / "3.png").unlink()
    (folder / "3.png").symlink_to(folder / "1.png")
    assert numbers_of(decode.iter_frames(folder)) == [0, 1, 0]


# Parts by the numbers in the names


@pytest.fixture
def with_gaps(tmp_path):
    """The frames 5..9 and 20..24, which show these numbers."""
    numbers = [*range(5, 10), *range(20, 25)]
    return write_images(tmp_path / "frames", [f"frame_{number:010d}.jpg" for number in numbers], numbers)


@pytest.mark.parametrize(
    ("start", "stop", "shown"),
    [
        (5, 6, [5]),
        (6, 10, [6, 7, 8, 9]),
        (8, 22, [8, 9, 20, 21]),
        (10, 21, [20]),
        (21, 25, [21, 22, 23, 24]),
        (23, None, [23, 24]),
    ],
)
def test_a_part_by_the_numbers_in_the_names(with_gaps, start, stop, shown):
    stop = None if stop is None else NumberInName(stop)
    assert numbers_of(decode.iter_frames(with_gaps, NumberInName(start), stop)) == shown


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (4, 7, "the frames numbered 4..6 are asked for, but .*frames has 5..24$"),
        (23, 26, r"numbered 23\.\.25 are asked for"),
        (30, 31, r"numbered 30\.\.30 are asked for"),
        (11, 15, r"numbered 11\.\.14 are asked for, but .*frames has 5\.\.24, and none of these$"),
        (7, 7, r"numbered 7\.\.6 are asked for"),
    ],
)
def test_parts_that_are_not_there(with_gaps, start, stop, message):
    with pytest.raises(InputError, match=message):
        list(decode.iter_frames(with_gaps, NumberInName(start), NumberInName(stop)))


def test_parts_that_have_no_meaning(tmp_path, with_gaps):
    with pytest.raises(InputError, match="a folder of pictures has no times"):
        list(decode.iter_frames(with_gaps, Seconds(0.5), Seconds(1)))
    times = write_images(tmp_path / "times", ["0.5.png", "1.5.png"])
    with pytest.raises(InputError, match=r"the names in .*times have no frame numbers"):
        list(decode.iter_frames(times, NumberInName(0), NumberInName(2)))
    with pytest.raises(InputError, match=r"asked for by the numbers in their names, but .*clip\.mp4 is no folder"):
        list(decode.iter_frames(tmp_path / "clip.mp4", NumberInName(0), NumberInName(2)))


# Pixels


def test_images_are_turned_as_their_orientation_says(tmp_path):
    (tmp_path / "frames").mkdir()
    image = Image.fromarray(numbered_image(7))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    image.save(tmp_path / "frames" / "1.png", exif=exif)
    np.testing.assert_array_equal(only_frame(tmp_path / "frames"), np.rot90(numbered_image(7), -1))


RAMP = (np.arange(48 * 64) * 21).reshape(48, 64).astype(np.uint16)  # 0..64491


def tiff(values, *, photometric=1, bits=16, sample_format=1, order="<"):
    """A grey TIFF of one strip, written by hand as the format's definition says: Pillow writes few of them."""
    height, width = values.shape
    if bits == 12:  # two samples in three bytes
        a, b = values[:, ::2].astype(np.uint16), values[:, 1::2].astype(np.uint16)
        data = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], axis=-1).astype(np.uint8).tobytes()
    else:
        data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data)), (339, sample_format)]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    offset = struct.pack(f"{order}I", 8 + len(data))
    return magic + offset + data + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("1.tif", tiff(RAMP), RAMP >> 8),
        ("1.tif", tiff(RAMP, order=">"), RAMP >> 8),
        ("1.tif", tiff(RAMP, photometric=0), 255 - (RAMP >> 8)),
        ("1.tif", tiff(RAMP >> 4, bits=12), RAMP >> 8),
        ("1.pgm", b"P5 64 48 65535\n" + RAMP.astype(">u2").tobytes(), RAMP >> 8),
        ("1.pgm", b"P5 64 48 1023\n" + (RAMP >> 6).astype(">u2").tobytes(), (RAMP >> 6) * 65535.0 / 1023 // 256),
    ],
    ids=["little-endian", "big-endian", "white is zero", "12 bits", "pgm", "pgm of 10 bits"],
)
def test_grey_of_many_bits_by_its_higher_eight(tmp_path, name, content, expected):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / name).write_bytes(content)
    image = only_frame(tmp_path / "frames")
    np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("turns", [0, 1])
def test_grey_png_of_16_bits(tmp_path, turns):
    (tmp_path / "frames").mkdir()
    image = Image.fromarray(RAMP)
    exif = image.getexif()
    if turns:
        exif[0x0112] = 8  # to be turned anticlockwise by 90 degrees
    image.save(tmp_path / "frames" / "1.png", exif=exif)
    expected = np.rot90(RAMP >> 8, turns)
    np.testing.assert_array_equal(only_frame(tmp_path / "frames"), np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "transparent P"])
def test_pixels_of_other_modes(tmp_path, mode):
    """A picture of black and white has the same pixels in all of them; transparent ones have their colour."""
    image = Image.fromarray(numbered_image(0b101100110101))
    (tmp_path / "frames").mkdir()
    path = tmp_path / "frames" / ("1.tif" if mode == "CMYK" else "1.png")
    if mode.endswith("P"):
        options = {"transparency": bytes([0, 255])} if mode == "transparent P" else {}
        image.convert("L").quantize(2).save(path, **options)
    else:
        image = image.convert(mode)
        if mode in ("LA", "RGBA"):
            image.putalpha(Image.fromarray(np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)))
        image.save(path)
    np.testing.assert_array_equal(only_frame(tmp_path / "frames"), numbered_image(0b101100110101))


def test_a_phone_s_jpeg_of_two_pictures_is_the_first(tmp_path):
    """MPO: behind the picture is a small copy, or how far away things are."""
    (tmp_path / "frames").mkdir()
    first, second = Image.fromarray(numbered_image(5)), Image.fromarray(numbered_image(6))
    first.save(tmp_path / "frames" / "1.jpg", format="MPO", save_all=True, append_images=[second])
    assert numbers_of(decode.iter_frames(tmp_path / "frames")) == [5]


def test_pictures_of_several_sizes(tmp_path):
    mixed = write_images(tmp_path / "mixed", ["1.png", "2.png"])
    Image.fromarray(numbered_image(2)[:, :40]).save(mixed / "3.png")
    with pytest.raises(InputError, match=r"3\.png is 40x48, but 1\.png is 64x48"):
        decode.sample_frames(mixed, 3)
    with pytest.raises(InputError, match=r"3\.png is 40x48, but 1\.png is 64x48"):
        list(decode.iter_frames(mixed))


def png(width, height, data=b""):
    """A grey PNG by its definition, whose header may promise what it does not hold."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(data))]
    body = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in [*chunks, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("2.png", b"hello", "cannot be read: it is none, or of another kind"),
        ("2.png", b"", "cannot be read: it is none"),
        ("2.png", png(64, 48, bytes(65 * 48))[:60], "cannot be read: image file is truncated"),
        ("2.png", png(9000, 9000), "is 9000x9000; a frame may have 67,108,864 pixels"),
        ("2.png", png(40000, 40000), r"cannot be read: Image size \(1600000000 pixels\) exceeds limit"),
        ("2.tif", tiff(RAMP.astype(np.float32), bits=32, sample_format=3), r"holds numbers \(float\)"),
        ("2.tif", tiff(RAMP.astype(np.int32), bits=32, sample_format=2), r"holds numbers \(integers\)"),
        ("2.tif", tiff(RAMP.astype(np.int16), sample_format=2), r"holds numbers \(integers\)"),
        (
            "2.jpg",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n",
            "cannot be read: it is none, or of another kind",
        ),
    ],
    ids=["text", "empty", "cut", "large", "larger", "float", "32 bits", "signed", "a program"],
)
def test_pictures_that_cannot_be_read(tmp_path, name, content, message):
    folder = write_images(tmp_path / "frames", ["1.png"])
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"the image .*frames.{name} {message}"):
        decode.sample_frames(folder, 2)


@pytest.mark.parametrize("name", ["2.gif", "2.webp", "2.tif", "2.png"])
def test_several_pictures_in_a_file_are_no_frame(tmp_path, name):
    folder = write_images(tmp_path / "frames", ["1.png"])
    first, second = Image.fromarray(numbered_image(5)), Image.fromarray(numbered_image(6))
    first.save(folder / name, save_all=True, append_images=[second])
    with pytest.raises(InputError, match=f"{name} holds several pictures"):
        list(decode.iter_frames(folder))

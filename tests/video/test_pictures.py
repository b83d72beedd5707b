"""What a frame looks like: how it is turned, its colours, its size, and which stream it is of."""

import struct

import av
import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.video import decode
from tests.video.videos import HEIGHT, WIDTH, numbered_image, numbers_of, write_streams, write_video

FAST = {"preset": "ultrafast", "crf": "18"}

# The display matrix (a, b, c, d) of a mp4 maps (x, y) to (a x + c y, b x + d y), y pointing downwards.
ORIENTATIONS = {
    "as stored": ((1, 0, 0, 1), lambda image: image),
    "turned by 90": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "turned by 180": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "turned by 270": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "mirrored, as by a front camera": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda image: image[::-1]),
    "mirrored at the diagonal": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    "mirrored at the other diagonal": ((0, -1, -1, 0), lambda image: image.transpose(1, 0, 2)[::-1, ::-1]),
    "mirrored and enlarged": ((-3, 0, 0, 0.5), lambda image: image[:, ::-1]),
    "nearly turned by 90": ((0.3, 0.95, -0.95, 0.3), lambda image: np.rot90(image, -1)),
    "nearly mirrored": ((-0.95, 0.3, 0.3, 0.95), lambda image: image[:, ::-1]),
    "nothing": ((0, 0, 0, 0), lambda image: image),
}


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_display_matrices_are_honoured(tmp_path, suffix, orientation):
    matrix, turn = ORIENTATIONS[orientation]
    path = write_video(tmp_path / f"clip.{suffix}", "libx264", 5, options=FAST)
    upright = decode.read_frames(path, [3]).images[0]
    content = bytearray(path.read_bytes())
    a, b, c, d = (round(value * 65536) for value in matrix)
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    turned = decode.read_frames(path, [3]).images[0]
    np.testing.assert_array_equal(turned, turn(upright))
    np.testing.assert_array_equal(list(decode.iter_frames(path))[3], turned)


def test_an_orientation_is_known_also_beside_data_that_pyav_has_no_name_for(tmp_path):
    """A jpeg of a camera: its EXIF block is side data of the frame."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    Image.fromarray(numbered_image(7)).save(tmp_path / "clip.jpg", exif=exif)
    Image.fromarray(numbered_image(7)).save(tmp_path / "plain.jpg")
    (turned,), (plain,) = decode.iter_frames(tmp_path / "clip.jpg"), decode.iter_frames(tmp_path / "plain.jpg")
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


BARS = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200), (128, 128, 128)])
# Y, Cb, Cr of R, G, B in 0..1: the weights of red and blue in luma, ITU-R BT.601, 709 and 2020
MATRICES = {"bt601": (5, 0.299, 0.114), "bt709": (1, 0.2126, 0.0722), "bt2020": (9, 0.2627, 0.0593)}


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_are_those_that_were_filmed(tmp_path, matrix, is_full):
    code, kr, kb = MATRICES[matrix]
    red, green, blue = np.repeat(BARS, 16, axis=0).T / 255
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = np.stack([(blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)])
    planes = np.concatenate([[luma], chroma + 0.5])
    scale, low = ([255] * 3, [0] * 3) if is_full else ([219, 224, 224], [16, 16, 16])
    stored = np.round(planes * np.reshape(scale, (3, 1)) + np.reshape(low, (3, 1))).astype(np.uint8)
    image = np.repeat(stored[:, None], HEIGHT, axis=1)
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "1", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = image.shape[2], HEIGHT, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = code, 2 if is_full else 1
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="yuv444p")))
        file.mux(stream.encode(None))
    shown = decode.read_frames(path, [1]).images[0]
    np.testing.assert_allclose(shown[HEIGHT // 2, 8::16], BARS, atol=4)


# Which stream


WHOLE, SMALL = (WIDTH, HEIGHT), (32, 24)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize(
    ("streams", "first", "said"),
    [
        ([(100, SMALL, True), (0, WHOLE, True)], 0, "video stream 1 (64x48) is read, not 0 (32x24)"),
        ([(0, WHOLE, True), (100, SMALL, True)], 0, "video stream 0 (64x48) is read, not 1 (32x24)"),
        ([(100, WHOLE, False), (0, WHOLE, True)], 0, "video stream 1 (64x48) is read, not 0 (64x48)"),
        ([(100, WHOLE, False), (0, WHOLE, False)], 100, "video stream 0 (64x48) is read, not 1 (64x48)"),
        ([(0, WHOLE, True)], 0, None),
    ],
)
def test_of_several_streams_the_default_is_read_or_else_the_largest(tmp_path, suffix, streams, first, said):
    path = write_streams(tmp_path / f"clip.{suffix}", streams)
    assert numbers_of(decode.iter_frames(path)) == [first + i for i in range(4)]
    assert numbers_of(decode.read_frames(path, [1, 3]).images) == [first + 1, first + 3]
    assert decode.stream_read(path) == said


def test_there_is_one_stream_in_a_folder(tmp_path):
    assert decode.stream_read(tmp_path) is None


# Sizes


@pytest.mark.parametrize(("width", "height"), [(65535, 65535), (60000, 2000)])
def test_frames_too_large_to_decode_are_refused(tmp_path, width, height):
    """Before memory is taken for them: the header of a file of a few bytes says so."""
    (tmp_path / "clip.y4m").write_bytes(f"YUV4MPEG2 W{width} H{height} F25:1 C420jpeg\nFRAME\n".encode() + bytes(999))
    with pytest.raises(InputError, match=rf"clip\.y4m (are {width}x{height}|is not a video that can be read)"):
        decode.read_frames(tmp_path / "clip.y4m", [0])


def test_the_size_of_the_pictures_counts_and_not_that_of_the_header(tmp_path):
    path = write_video(tmp_path / "clip.mp4", "libx264", 5, options=FAST)
    content = bytearray(path.read_bytes())
    at = content.index(b"avc1", content.index(b"stsd")) + 28
    content[at : at + 4] = struct.pack(">HH", 65535, 65535)
    path.write_bytes(content)
    assert numbers_of(decode.iter_frames(path)) == numbers_of(decode.sample_frames(path, 5).images) == [0, 1, 2, 3, 4]

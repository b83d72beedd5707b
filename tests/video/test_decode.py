import re
import sys

import av
import numpy as np
import pytest

from esv_jax.checks import InputError, MissingExtraError
from esv_jax.data import decode as old_decode
from esv_jax.video import decode, video_file
from tests.video.videos import check_by_decoding, numbers_of, rewrite_packets, write_images, write_video

FAST = {"preset": "ultrafast", "crf": "18"}
H264 = {"g": "12", "bf": "2", "preset": "veryfast", "crf": "18"}
VP = {"g": "12", "deadline": "realtime", "cpu-used": "8", "b": "500k"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0", "crf": "18"}
KINDS = {
    "mp4, h264 with B-frames": ("mp4", "libx264", H264),
    "mp4, h264 with open groups": ("mp4", "libx264", OPEN_GOP),
    "mp4 in fragments, mpeg4": ("mp4", "mpeg4", {"qscale": "2"}),
    "webm, vp8": ("webm", "libvpx", VP),
    "webm, vp9": ("webm", "libvpx-vp9", VP),
    "avi, mpeg4": ("avi", "mpeg4", {"qscale": "2"}),
    "avi, mpeg4 with B-frames": ("avi", "mpeg4", {"bf": "2", "qscale": "2"}),
    "avi, h264, which have wrong timestamps": ("avi", "libx264", H264),
    "avi, mjpeg": ("avi", "mjpeg", {}),
    "mkv, h264 with open groups": ("mkv", "libx264", OPEN_GOP),
    "mkv, ffv1": ("mkv", "ffv1", {}),
    "ts, h264": ("ts", "libx264", H264),
    "h264 without a container or timestamps": ("h264", "libx264", FAST),
}
DECODED_FROM_THE_BEGINNING = {
    "mp4 in fragments, mpeg4",
    "avi, mpeg4",
    "avi, mpeg4 with B-frames",
    "avi, h264, which have wrong timestamps",
    "avi, mjpeg",
    "ts, h264",
    "h264 without a container or timestamps",
}


@pytest.fixture(params=KINDS, scope="module")
def path_of_kind(request, tmp_path_factory):
    suffix, codec, options = KINDS[request.param]
    container = {"movflags": "frag_keyframe+empty_moov"} if "fragments" in request.param else {}
    path = tmp_path_factory.mktemp("kinds") / f"clip.{suffix}"
    return write_video(path, codec, 50, options=options, container=container)


@pytest.mark.parametrize("checked", [3, 256])
def test_every_kind_of_file_gives_the_right_frames(path_of_kind, monkeypatch, checked):
    check_by_decoding(monkeypatch, checked)
    everything = list(decode.iter_frames(path_of_kind))
    assert numbers_of(everything) == list(range(50))

    frames = decode.sample_frames(path_of_kind, 8)
    assert frames.indices.tolist() == numbers_of(frames.images) == [3, 9, 15, 21, 28, 34, 40, 46]
    np.testing.assert_allclose(frames.times, frames.indices / 25, atol=1e-9)
    assert frames.num_frames_in_video == 50
    assert frames.images.dtype == np.uint8
    assert frames.images.shape == (8, 48, 64, 3)
    assert frames.times.dtype == np.float64
    assert frames.indices.dtype == np.int64

    for number in range(50):  # each reached from its own keyframe, to the last bit what decoding everything gives
        np.testing.assert_array_equal(decode.read_frames(path_of_kind, [number]).images[0], everything[number])


def test_the_number_of_frames_under_its_old_name(path_of_kind):
    assert old_decode.probe(path_of_kind).num_frames == 50


@pytest.mark.parametrize("kind", sorted(set(KINDS) - DECODED_FROM_THE_BEGINNING))
def test_frames_are_reached_by_seeking(tmp_path, monkeypatch, kind):
    suffix, codec, options = KINDS[kind]
    path = write_video(tmp_path / f"clip.{suffix}", codec, 50, options=options)
    monkeypatch.setattr(video_file, "_index_of_decoded", None)
    assert numbers_of(decode.sample_frames(path, 8).images) == [3, 9, 15, 21, 28, 34, 40, 46]


def test_frames_come_in_the_order_asked_for_and_as_often(path_of_kind):
    frames = decode.read_frames(path_of_kind, [40, 2, 2, 49])
    assert numbers_of(frames.images) == frames.indices.tolist() == [40, 2, 2, 49]
    np.testing.assert_allclose(frames.times, np.array([40, 2, 2, 49]) / 25, atol=1e-9)


@pytest.mark.parametrize(
    ("suffix", "codec", "num_frames"), [("mp4", "libx264", 3000), ("webm", "libvpx", 500), ("mkv", "libx264", 500)]
)
def test_of_a_long_video_only_what_is_needed_is_decoded(tmp_path, monkeypatch, suffix, codec, num_frames):
    options = {"libx264": FAST | {"g": "50", "bf": "2"}, "libvpx": VP | {"g": "50"}}[codec]
    path = write_video(tmp_path / f"long.{suffix}", codec, num_frames, options=options)
    decoded = []
    original = video_file._decoded

    def counting(source):
        for frame in original(source):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video_file, "_decoded", counting)
    with av.open(str(path)) as file:
        packets = sorted((p.pts, p.is_keyframe) for p in file.demux(file.streams.video[0]) if p.size)
    keyframes = np.flatnonzero([is_keyframe for _, is_keyframe in packets])

    check_by_decoding(monkeypatch, 20)
    assert decode.read_frames(path, [0]).num_frames_in_video == num_frames
    assert len(decoded) == 20 + 1  # the beginning is looked at once, and then known

    decoded.clear()
    frames = decode.sample_frames(path, 7)
    assert numbers_of(frames.images) == frames.indices.tolist()
    needed = sum(i - keyframes[keyframes <= i].max() + 1 for i in frames.indices)
    assert len(decoded) == needed < num_frames / 3

    decoded.clear()
    assert numbers_of(decode.read_frames(path, [407, 411, 409]).images) == [407, 411, 409]
    assert len(decoded) == 411 - keyframes[keyframes <= 407].max() + 1  # from the keyframe on, all in one go

    decoded.clear()
    assert numbers_of(decode.iter_frames(path, 407, 412)) == list(range(407, 412))
    assert len(decoded) == 411 - keyframes[keyframes <= 407].max() + 1


def test_a_file_that_is_written_again_is_another(tmp_path):
    path = write_video(tmp_path / "clip.mp4", "libx264", 20, options=FAST)
    assert decode.read_frames(path, [0]).num_frames_in_video == 20
    write_video(path, "libx264", 30, options=FAST)
    assert decode.read_frames(path, [0]).num_frames_in_video == 30


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_times_of_a_variable_frame_rate(tmp_path, suffix):
    milliseconds = 500 + np.cumsum(np.random.default_rng(0).integers(10, 90, 40))  # the first is not at 0 either
    path = write_video(tmp_path / f"clip.{suffix}", "libx264", 40, pts=milliseconds, options=H264)
    frames = decode.sample_frames(path, 10)
    assert numbers_of(frames.images) == frames.indices.tolist()
    np.testing.assert_allclose(frames.times, (milliseconds - milliseconds[0])[frames.indices] / 1000, atol=1e-9)


def test_frames_before_the_beginning_of_a_mp4_are_not_displayed(tmp_path, monkeypatch):
    monkeypatch.setattr(video_file, "_index_of_decoded", None)
    milliseconds = np.arange(50) * 40 - 400
    container = {"avoid_negative_ts": "disabled"}
    path = write_video(tmp_path / "clip.mp4", "libx264", 50, pts=milliseconds, options=H264, container=container)
    frames = decode.sample_frames(path, 8)
    assert frames.num_frames_in_video == 40
    assert numbers_of(frames.images) == (frames.indices + 10).tolist()
    assert numbers_of(decode.iter_frames(path)) == list(range(10, 50))
    np.testing.assert_allclose(frames.times, frames.indices / 25, atol=1e-9)


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("asf", "mpeg4")])
def test_negative_timestamps_count_from_the_first(tmp_path, suffix, codec):
    milliseconds = np.arange(50) * 40 - 400
    container = {"avoid_negative_ts": "disabled"}
    path = write_video(
        tmp_path / f"clip.{suffix}", codec, 50, pts=milliseconds, options={"g": "12"}, container=container
    )
    with av.open(str(path)) as file:
        assert file.streams.video[0].start_time < 0
    frames = decode.sample_frames(path, 8)
    assert numbers_of(frames.images) == frames.indices.tolist()
    np.testing.assert_allclose(frames.times, frames.indices / 25, atol=1e-9)


def test_vp8_frames_that_are_only_referred_to_are_not_counted(tmp_path):
    shown = write_video(tmp_path / "shown.webm", "libvpx", 50, options=VP | {"g": "25"})

    def hide(number, packet):  # clears show_frame
        return bytes([packet[0] & ~0x10]) + packet[1:] if number % 7 == 3 else packet

    path = rewrite_packets(shown, tmp_path / "hidden.webm", hide)
    visible = [i for i in range(50) if i % 7 != 3]
    frames = decode.sample_frames(path, 8)
    assert frames.num_frames_in_video == len(visible)
    assert numbers_of(frames.images) == [visible[i] for i in frames.indices]
    np.testing.assert_allclose(frames.times, [visible[i] / 25 for i in frames.indices], atol=1e-9)


@pytest.mark.parametrize("length", [6, None])
def test_mpeg4_packets_that_display_nothing_are_not_counted(tmp_path, length):
    """Both where they are as small as they come, which is known at sight, and where only decoding shows it."""
    whole = write_video(tmp_path / "whole.avi", "mpeg4", 50, options={"qscale": "2"})

    def skip(number, packet):  # clears vop_coded (ISO/IEC 14496-2, 6.2.5) in packets that do not begin a new second
        return (packet[:5] + bytes([packet[5] & ~0x20]) + packet[6:])[:length] if number in (10, 29, 30, 41) else packet

    path = rewrite_packets(whole, tmp_path / "skipped.avi", skip)
    with av.open(str(path)) as file:
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(decoded) == 46
    frames = decode.sample_frames(path, 15)
    assert frames.num_frames_in_video == 46
    np.testing.assert_array_equal(frames.images, [decoded[i] for i in frames.indices])
    np.testing.assert_allclose(frames.times, np.setdiff1d(range(50), (10, 29, 30, 41))[frames.indices] / 25)


def test_repeated_timestamps_are_not_trusted(tmp_path):
    whole = write_video(tmp_path / "whole.mkv", "mjpeg", 50)
    path = rewrite_packets(whole, tmp_path / "clip.mkv", lambda i, packet: packet, pts=lambda i: i // 2 * 80)
    frames = decode.sample_frames(path, 8)
    assert frames.num_frames_in_video == 50
    assert numbers_of(frames.images) == frames.indices.tolist()
    assert (np.diff(frames.times) > 0).all()


# Bad input


@pytest.mark.parametrize("indices", [[3, 50], [-1, 3]])
def test_frames_that_are_not_there(tmp_path, indices):
    path = write_video(tmp_path / "clip.mp4", "libx264", 50, options=FAST)
    with pytest.raises(InputError, match=r"frame (50|-1) is asked for, but .*clip\.mp4 has the frames 0\.\.49"):
        decode.read_frames(path, indices)


@pytest.mark.parametrize("indices", [[], [1.5], [[1, 2]], 3])
def test_indices_that_are_none(tmp_path, indices):
    with pytest.raises(InputError, match="indices should be integers"):
        decode.read_frames(tmp_path / "any.mp4", indices)


def test_fewer_frames_than_asked_for_names_both_numbers(tmp_path):
    path = write_video(tmp_path / "clip.mp4", "libx264", 5, options=FAST)
    with pytest.raises(InputError, match=r"clip\.mp4: num_frames is 8, but the video has only 5 frames"):
        decode.sample_frames(path, 8)
    assert numbers_of(decode.sample_frames(path, 5).images) == [0, 1, 2, 3, 4]


READERS = [lambda path: decode.sample_frames(path, 2), lambda path: list(decode.iter_frames(path))]


def check_refused(path, message):
    for read in READERS:
        with pytest.raises(InputError, match=message):
            read(path)


def test_no_such_file(tmp_path):
    check_refused(tmp_path / "none.mp4", r"there is no file .*none\.mp4")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("noise.mp4", bytes(range(256)) * 40, "is not a video that can be read"),
        ("labels.csv", b"path,label\na.mp4,run\n", "is not a video but a text file, which begins 'path,label a.mp4"),
        ("notes.txt", b"Some notes about the clips.\n" * 40, "is not a video but a text file"),
        (
            "page.mp4",
            b"\xef\xbb\xbf<!DOCTYPE html>\n<html>" + b"ab " * 99,
            "is not .* which begins '<!DOCTYPE html> <html>",
        ),
        ("letters.ANS", bytes(range(32, 256)) * 40, "is not a video .*: its bytes would be drawn as letters"),
        ("empty.mp4", b"", "is an empty file"),
    ],
)
def test_what_is_no_video(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    check_refused(tmp_path / name, f"{name} .*{message}")


@pytest.mark.parametrize(("suffix", "codec"), [("wav", "pcm_s16le"), ("mp4", "aac"), ("mkv", "pcm_s16le")])
def test_sound_alone(tmp_path, suffix, codec):
    path = tmp_path / f"sound.{suffix}"
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=8000, layout="mono")
        form = "fltp" if codec == "aac" else "s16"
        silence = np.zeros((1, 4096), np.float32 if codec == "aac" else np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format=form, layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    check_refused(path, f"sound.{suffix} has no video stream, only: audio")


@pytest.mark.parametrize(
    ("suffix", "codec", "message"),
    [
        ("avi", "mpeg4", "has a video stream without frames"),
        ("mp4", "libx264", "has no video stream, only: an empty container"),
        ("webm", "libvpx", "is not a video that can be read: it ends before its first frame"),
    ],
)
def test_zero_frames(tmp_path, suffix, codec, message):
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.start_encoding()
    check_refused(path, f"clip.{suffix} {message}")


@pytest.mark.parametrize("kind", ["webm, vp8", "webm, vp9", "avi, mpeg4", "avi, mjpeg", "mkv, ffv1", "fast-start mp4"])
@pytest.mark.parametrize("packets_left", [25, 49])
def test_a_truncated_video_says_how_much_of_it_is_there(tmp_path, kind, packets_left):
    suffix, codec, options = KINDS.get(kind, ("mp4", "libx264", FAST))
    container = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = write_video(tmp_path / f"clip.{suffix}", codec, 50, options=options, container=container)
    with av.open(str(path)) as file:
        positions = sorted(p.pos for p in file.demux(file.streams.video[0]) if p.size)
    content = path.read_bytes()
    size = positions[packets_left] + 12
    path.write_bytes(content[:size])
    truncated = rf"clip\.{suffix} is truncated: (\d+) frames of 50 can be decoded; it has {size} bytes and its headers "
    check_refused(path, truncated + rf"promise at least {len(content)}$")
    with pytest.raises(InputError) as error:
        decode.read_frames(path, [0])
    decoded = int(re.search(truncated, str(error.value))[1])
    assert packets_left - 1 <= decoded <= packets_left


def test_a_truncated_mp4_whose_header_is_at_its_end(tmp_path):
    path = write_video(tmp_path / "clip.mp4", "libx264", 50, options=FAST)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 50])
    check_refused(path, r"clip\.mp4 is truncated: 0 frames can be decoded; it has \d+ bytes")


def test_a_file_that_lacks_nothing_but_its_index_is_read(tmp_path):
    path = write_video(tmp_path / "clip.avi", "mpeg4", 50, options={"qscale": "2"})
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"idx1")])
    assert numbers_of(decode.sample_frames(path, 8).images) == [3, 9, 15, 21, 28, 34, 40, 46]


@pytest.mark.parametrize("kind", ["webm, vp9", "avi, mjpeg"])
def test_a_damaged_frame_is_not_passed_over(tmp_path, kind):
    suffix, codec, options = KINDS[kind]
    whole = write_video(tmp_path / f"whole.{suffix}", codec, 50, options=options)
    path = rewrite_packets(whole, tmp_path / f"clip.{suffix}", lambda i, p: bytes(len(p)) if i == 28 else p)
    with pytest.raises(InputError, match=r"clip\.\w+ is damaged: 28 frames( of \d+)? can be decoded \("):
        decode.sample_frames(path, 8)
    with pytest.raises(InputError, match=r"clip\.\w+ is damaged: 28 frames"):
        list(decode.iter_frames(path))


@pytest.mark.parametrize(("package", "name"), [("av", "clip.mp4"), ("PIL", "frames")])
def test_without_the_packages_the_extra_is_named(tmp_path, monkeypatch, package, name):
    write_images(tmp_path / "frames", ["1.png"])
    write_video(tmp_path / "clip.mp4", "libx264", 5, options=FAST)
    for module in [m for m in sys.modules if m.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"the package '{package}' .* pip install 'esv-jax\[video\]'"):
        decode.sample_frames(tmp_path / name, 1)


@pytest.mark.parametrize("late", [0, 1500])
def test_when_frames_are_shown_and_when_the_first_is_in_the_file(tmp_path, late):
    times = late + 40 * np.arange(12) + np.arange(12) ** 2
    video = write_video(tmp_path / "v.mp4", "libx264", 12, pts=times)
    np.testing.assert_allclose(decode.times_of(video), (times - late) / 1000, atol=1e-9)
    assert decode.start_of(video) == late / 1000


def test_folders_of_images_start_at_zero(tmp_path):
    assert decode.start_of(write_images(tmp_path / "images", ["1.png", "2.png"])) == 0

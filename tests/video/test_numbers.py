"""A frame's number counts what decoding from the beginning shows, whichever way the video is read.

The oracle is PyAV alone, decoding the file from its beginning.
"""

import av
import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.video import decode, video_file
from esv_jax.video.frames import Seconds
from tests.video.videos import check_by_decoding, numbers_of, rewrite_packets, write_video

H264_OPEN = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0", "crf": "15"}
HEVC = "keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0:log-level=none:pools=1:frame-threads=1"
HEVC_OPEN = {"preset": "ultrafast", "x265-params": f"open-gop=1:{HEVC}"}
HEVC_CLOSED = {"preset": "ultrafast", "x265-params": f"open-gop=0:{HEVC}"}
MPEG2 = {"g": "12", "bf": "2", "qscale": "2"}


def shown_by_decoding(path):
    """The numbers that the frames show, and their times in seconds."""
    with av.open(str(path)) as file:
        frames = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in file.decode(video=0)]
    return numbers_of(image for image, _ in frames), np.array([time for _, time in frames])


def check_numbers(path, monkeypatch):
    """Every way of reading has the frames of plain decoding, also where almost only packets are looked at."""
    right, times = shown_by_decoding(path)
    for checked in (256, 4):
        check_by_decoding(monkeypatch, checked)
        assert numbers_of(decode.iter_frames(path)) == right
        frames = decode.sample_frames(path, 7)
        assert frames.num_frames_in_video == len(right)
        assert numbers_of(frames.images) == [right[i] for i in frames.indices]
        np.testing.assert_allclose(frames.times, (times - times[0])[frames.indices], atol=1e-6)
        assert numbers_of(decode.iter_frames(path, 5, 9)) == right[5:9]
        with pytest.raises(InputError, match=rf"has the frames 0\.\.{len(right) - 1}"):
            decode.read_frames(path, [len(right)])
    return right


def without_the_first_group(source, target):
    """Copies the packets from the second keyframe on, as a recorder that is switched on late gets them."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        num_keyframes = 0
        for packet in old.demux(stream):
            num_keyframes += packet.size > 0 and packet.is_keyframe
            if packet.size and num_keyframes > 1:
                packet.stream = copy
                new.mux(packet)
    return target


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4"])
@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", H264_OPEN), ("libx265", HEVC_OPEN), ("mpeg2video", MPEG2)],
    ids=lambda v: str(v)[:9],
)
def test_frames_that_refer_to_what_was_cut_off_have_no_number(tmp_path, monkeypatch, suffix, codec, options):
    whole = write_video(tmp_path / f"whole.{suffix}", codec, 60, options=options)
    path = without_the_first_group(whole, tmp_path / f"cut.{suffix}")
    with av.open(str(path)) as file:
        num_packets = sum(packet.size > 0 for packet in file.demux(video=0))
    right = check_numbers(path, monkeypatch)
    assert right == list(range(12, 60))
    assert num_packets > len(right) or suffix == "mp4"


def test_hevc_pictures_dropped_in_the_middle_have_no_number(tmp_path, monkeypatch):
    """Behind an end of sequence (a NAL unit of type 36), pictures that refer to what was before it are dropped."""
    whole = write_video(tmp_path / "whole.mkv", "libx265", 60, options=HEVC_OPEN)
    with av.open(str(whole)) as file:
        keyframes = [i for i, p in enumerate(p for p in file.demux(video=0) if p.size) if p.is_keyframe]
    end = (2).to_bytes(4, "big") + bytes([36 << 1, 1])
    path = rewrite_packets(whole, tmp_path / "ended.mkv", lambda i, p: p + end if i + 1 == keyframes[2] else p)
    assert len(check_numbers(path, monkeypatch)) < 60


def test_hevc_pictures_that_are_thrown_away_have_no_number(tmp_path, monkeypatch):
    """An instantaneous refresh may tell the decoder not to show what waits (no_output_of_prior_pics_flag)."""
    whole = write_video(tmp_path / "whole.mkv", "libx265", 60, options=HEVC_CLOSED)

    def throw(number, packet):
        content, at = bytearray(packet), 0
        while at < len(packet):
            size = int.from_bytes(packet[at : at + 4], "big")
            if packet[at + 4] >> 1 in (19, 20) and number > 20:
                content[at + 6] |= 0x40
            at += 4 + size
        return bytes(content)

    check_numbers(rewrite_packets(whole, tmp_path / "thrown.mkv", throw), monkeypatch)


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("webm", "libvpx-vp9", {"lag-in-frames": "12", "auto-alt-ref": "1", "g": "20", "b": "300k", "cpu-used": "8"}),
        ("mkv", "libsvtav1", {"preset": "12", "svtav1-params": "hierarchical-levels=4:keyint=20"}),
        ("mkv", "libx265", HEVC_OPEN),
        ("mp4", "libx265", HEVC_CLOSED),
        ("mov", "mjpeg", {}),
    ],
)
def test_other_codings_by_their_packets(tmp_path, monkeypatch, suffix, codec, options):
    path = write_video(tmp_path / f"whole.{suffix}", codec, 60, options=options)
    assert check_numbers(path, monkeypatch) == list(range(60))
    monkeypatch.setattr(video_file, "_index_of_decoded", None)
    decode.sample_frames(path, 3)  # by the packets indeed


# Times


def test_a_part_is_cut_out_by_its_times(tmp_path, monkeypatch):
    """Of a variable rate whose first time is not 0: nearest in time, by the definition."""
    random = np.random.default_rng(0)
    milliseconds = 500 + np.concatenate([[0], np.cumsum(random.integers(10, 90, 39))])
    path = write_video(tmp_path / "clip.mkv", "libx264", 40, pts=milliseconds, options={"g": "12", "bf": "2"})
    begins = (milliseconds - milliseconds[0]) / 1000
    end = begins[-1] + np.median(np.diff(begins))
    for checked in (256, 4):
        check_by_decoding(monkeypatch, checked)
        for _ in range(20):
            start, stop = np.sort(random.uniform(0, begins[-1], 2))
            first = int(np.argmin(np.abs(begins - start)))
            last = int(np.argmin(np.abs(np.append(begins, end) - stop)))
            if first == last:
                with pytest.raises(InputError, match=r"no frame of .*clip\.mkv begins between"):
                    list(decode.iter_frames(path, Seconds(start), Seconds(stop)))
                continue
            assert numbers_of(decode.iter_frames(path, Seconds(start), Seconds(stop))) == list(range(first, last))
        assert numbers_of(decode.iter_frames(path, Seconds(begins[30]))) == list(range(30, 40))
        assert numbers_of(decode.iter_frames(path, Seconds(begins[30]), Seconds(end + 0.001))) == list(range(30, 40))
        halfway = Seconds((begins[7] + begins[8]) / 2)
        assert numbers_of(decode.iter_frames(path, halfway, Seconds(begins[9])))[0] == 7


def test_the_times_of_a_file_without_times_are_those_of_its_rate(tmp_path):
    path = write_video(tmp_path / "clip.h264", "libx264", 30, options={"preset": "ultrafast"})
    assert numbers_of(decode.iter_frames(path, Seconds(0.4), Seconds(0.81))) == list(range(10, 20))


@pytest.mark.parametrize(
    ("start", "stop"), [(0.5, 1.3), (1.21, None), (2, 3), (-0.1, 0.5), (float("nan"), 1), (0, float("inf"))]
)
def test_times_beyond_the_video_are_refused(tmp_path, start, stop):
    path = write_video(tmp_path / "clip.mp4", "libx264", 30, options={"preset": "ultrafast"})
    with pytest.raises(InputError, match=r"the part from .* s to .* is asked for, but .*clip\.mp4 is 1\.20 s long"):
        list(decode.iter_frames(path, Seconds(start), None if stop is None else Seconds(stop)))


def test_a_video_of_one_frame_has_a_length(tmp_path):
    path = write_video(tmp_path / "clip.mp4", "libx264", 1, options={"preset": "ultrafast"})
    assert numbers_of(decode.iter_frames(path, Seconds(0), Seconds(0.04))) == [0]


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])  # by packets, by decoding
def test_what_was_learned_of_a_video_is_kept_for_its_parts(tmp_path, monkeypatch, codec):
    path = write_video(tmp_path / "clip.mkv", codec, 30, options={"g": "10"})
    list(decode.iter_frames(path, 5, 7))
    monkeypatch.setattr(video_file, "_packet_times", None)
    assert numbers_of(decode.iter_frames(path, 20, 22)) == [20, 21]


def test_frames_that_are_only_checked_are_not_kept(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mkv", "libx264", 30, options={"g": "10"})
    kept = []

    class Seen:
        def __init__(self, frame):
            self.frame = frame
            kept.append(1)

        def __del__(self):
            kept.pop()

        def __getattr__(self, name):
            most.append(len(kept))
            return getattr(self.frame, name)

    most, decoded = [], video_file._all_decoded
    monkeypatch.setattr(video_file, "_all_decoded", lambda source: map(Seen, decoded(source)))
    assert len(video_file._index(path).times) == 30
    assert 0 < max(most) < 4

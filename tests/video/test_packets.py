"""How many frames packets show, against ffmpeg's own filters that take packets apart, and against the standards."""

import av
import pytest

from esv_jax.video import packets
from tests.video.videos import write_video

# VP9 (6.2): marker 10, profile, show_existing_frame, frame_type, show_frame, error_resilient_mode
SHOWN, HIDDEN, EXISTING = b"\x86 shown", b"\x84 hidden, only referred to", b"\x88\x00"
SHOWN_3, HIDDEN_3, EXISTING_3 = b"\xb3 profile 3", b"\xb2 profile 3", b"\xb4 profile 3"


def superframe(*frames, size=2):
    """VP9, annex B."""
    marker = bytes([0xC0 | size - 1 << 3 | len(frames) - 1])
    return b"".join(frames) + marker + b"".join(len(f).to_bytes(size, "little") for f in frames) + marker


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([SHOWN], 1),
        ([HIDDEN], 0),
        ([EXISTING], 1),
        ([HIDDEN, SHOWN], 1),
        ([HIDDEN, HIDDEN, EXISTING], 1),
        ([SHOWN, SHOWN], 2),
        ([SHOWN_3], 1),
        ([HIDDEN_3], 0),
        ([HIDDEN_3, EXISTING_3], 1),
    ],
)
def test_vp9(tmp_path, frames, expected):
    count = packets.counter("vp9", False, None)
    assert count(frames[0] if len(frames) == 1 else superframe(*frames)) == expected
    assert count(superframe(*frames, size=1)) == expected

    with av.open(str(write_video(tmp_path / "clip.webm", "libvpx-vp9", 1))) as file:
        split = av.bitstream.BitStreamFilterContext("vp9_superframe_split", file.streams.video[0])
        packet = av.Packet(superframe(*frames))
        packet.pts, packet.time_base = 7, file.streams.video[0].time_base
        assert sum(part.pts is not None for part in split.filter(packet)) == expected  # hidden ones have no time


def test_vp9_frames_that_are_not_there():
    assert packets.counter("vp9", False, None)(superframe(HIDDEN, b"")) is None


def test_av1(tmp_path):
    options = {"preset": "10", "svtav1-params": "hierarchical-levels=4:keyint=20"}
    path = write_video(tmp_path / "clip.mkv", "libsvtav1", 40, options=options)
    count = packets.counter("av1", False, None)
    hidden = 0
    with av.open(str(path)) as file:
        split = av.bitstream.BitStreamFilterContext("av1_frame_split", file.streams.video[0])
        for packet in file.demux(video=0):
            if packet.size:
                assert count(memoryview(packet)) == 1
                for part in split.filter(packet):
                    assert count(memoryview(part)) == (part.pts is not None)
                    hidden += part.pts is None
    assert hidden > 0


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"\x32\x03\x10ab", 1),  # a frame with its size, shown
        (b"\x32\x03\x00ab", 0),
        (b"\x30\x10ab", 1),  # to the end of the packet
        (b"\x36\x00\x03\x10ab", 1),  # with an extension: spatial layer 0
        (b"\x36\x08\x03\x10ab", None),  # spatial layer 1
        (b"\x12\x00\x0a\x02\x00a\x32\x83\x00\x10ab", 1),  # delimiter, sequence; a size in two bytes
        (b"\x0a\x01\x18\x32\x01\x10", None),  # a still picture, whose frames have another header
        (b"\x1a\x01\x80", 1),  # a frame header alone: an existing frame
        (b"\x3a\x01\x80", 0),  # a redundant one
    ],
)
def test_av1_units(packet, expected):
    assert packets.counter("av1", False, None)(packet) == expected


def units(*contents, size=4):
    return b"".join(len(content).to_bytes(size, "big") + content for content in contents)


SPS, SEI, IDR, SLICE, SECOND_SLICE = b"\x67abc", b"\x06abc", b"\x65\x88abc", b"\x41\x9aabc", b"\x41\x40abc"


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([SPS, SEI, IDR], 1),
        ([SLICE, SECOND_SLICE], 1),
        ([SLICE, SLICE], None),  # two fields, or two frames
        ([SPS, SEI], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("size", [2, 4])
def test_h264(contents, expected, size):
    count = packets.counter("h264", False, bytes([1, 0, 0, 0, 0xFC | size - 1]))
    assert count(units(*contents, size=size)) == expected


def test_a_packet_that_is_cut_is_not_trusted():
    assert packets.counter("h264", False, b"\x01\0\0\0\xff")(units(SLICE)[:-1]) is None


def hevc(kind, first=True, layer=0, third=0):
    return bytes([kind << 1 | layer >> 5, (layer & 31) << 3 | 1, first << 7 | third]) + b"abc"


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([hevc(32), hevc(19)], 1),
        ([hevc(1), hevc(1, first=False)], 1),
        ([hevc(1), hevc(1, layer=1)], 1),  # the second eye is not shown
        ([hevc(1), hevc(1)], None),
        ([hevc(39)], None),
        ([hevc(16)], None),  # a broken link
        ([hevc(1), b"\x48\x01"], None),  # the end of a sequence
        ([hevc(20, third=0x40)], None),  # what waits is not to be shown
        ([hevc(1, third=0x40)], 1),
    ],
)
def test_hevc(contents, expected):
    extradata = b"\x01" + bytes(20) + b"\xff\0"
    assert packets.counter("hevc", False, extradata)(units(*contents)) == expected


@pytest.mark.parametrize(
    ("codec", "intra_only", "extradata"),
    [("h264", False, b"\0\0\0\1\x67"), ("h264", False, None), ("hevc", False, b"\x01"), ("mpeg4", False, b"\0")],
)
def test_what_only_decoding_can_tell(codec, intra_only, extradata):
    assert packets.counter(codec, intra_only, extradata) is None


def test_vp8_and_codings_of_single_pictures():
    count = packets.counter("vp8", False, None)
    assert (count(b"\x10ab"), count(b"\x00ab")) == (1, 0)
    assert packets.counter("mjpeg", True, None)(b"ab") == 1

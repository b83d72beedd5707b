import struct

import pytest

from esv_jax.video.truncation import promised_bytes
from tests.video.videos import write_video

EBML = b"\x1a\x45\xdf\xa3" + b"\x84abcd"
SEGMENT = b"\x18\x53\x80\x67"
FTYP = struct.pack(">I4s", 16, b"ftyp") + bytes(8)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (FTYP + struct.pack(">I4s", 100, b"mdat"), 116),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 5_000_000_000), 5_000_000_016),
        (FTYP + struct.pack(">I4s", 0, b"mdat") + bytes(50), None),
        (FTYP, 16),
        (b"RIFF" + struct.pack("<I", 101) + b"AVI " + bytes(20), 110),
        (b"RIFF" + struct.pack("<I", 20) + b"AVI " + bytes(16) + b"RIFF" + struct.pack("<I", 500) + b"AVIX", 536),
        (b"RIFF" + struct.pack("<I", 0) + b"AVI " + bytes(20), None),
        (EBML + SEGMENT + b"\x82ab", 9 + 5 + 2),
        (EBML + SEGMENT + b"\x01" + (12345).to_bytes(7, "big"), 9 + 12 + 12345),
        (EBML + SEGMENT + b"\x01" + b"\xff" * 7, None),
        (EBML + SEGMENT + b"\xff", None),
        (EBML, None),
        (b"neither", None),
        (b"", None),
    ],
)
def test_sizes_by_the_formats_definitions(tmp_path, content, expected):
    (tmp_path / "file").write_bytes(content)
    assert promised_bytes(tmp_path / "file") == expected


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("webm", "libvpx"), ("mkv", "libx264"), ("avi", "mpeg4")]
)
def test_whole_files_promise_what_they_hold(tmp_path, suffix, codec):
    path = write_video(tmp_path / f"clip.{suffix}", codec, 20)
    assert promised_bytes(path) == path.stat().st_size


def test_a_live_recording_promises_nothing(tmp_path):
    assert promised_bytes(write_video(tmp_path / "live.webm", "libvpx", 20, container={"live": "1"})) is None

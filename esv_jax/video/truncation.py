"""How long a video file says that it is, in bytes: the exact sign of a file that was cut short.

Durations and frame counts in headers are often missing or estimates; sizes are not. Each function gives the position
where the last element begun in the file ends, or None where the format leaves it open (as live streams do).
"""

import os
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")


def promised_bytes(path: str | os.PathLike) -> int | None:
    """The size that the headers of a mp4/mov, avi or mkv/webm file promise; None for other files and open ends."""
    with open(path, "rb") as file:
        start = file.read(12)
        file.seek(0)
        if start[4:8] in _MP4_FIRST_BOXES:
            return _mp4_end(file)
        if start[:4] == b"RIFF":
            return _riff_end(file)
        if start[:4] == _EBML:
            return _matroska_end(file)
    return None


def _mp4_end(file: BinaryIO) -> int | None:
    """ISO/IEC 14496-12, 4.2: boxes of a 32-bit size (1: 64 bits after the type; 0: to the end of file) and a type."""
    position = 0
    while len(header := file.read(16)) >= 8:
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:
            return None
        position += size
        if position > os.fstat(file.fileno()).st_size:  # and perhaps behind anything that can be sought
            break
        file.seek(position)
    return position


def _riff_end(file: BinaryIO) -> int | None:
    """RIFF chunks of a little-endian 32-bit size; a long avi has several, one after another (OpenDML)."""
    position = 0
    while len(header := file.read(8)) == 8 and header[:4] == b"RIFF":
        size = int.from_bytes(header[4:], "little")
        if size in (0, 0xFFFFFFFF):  # a recorder that never came back to fill it in
            return None
        position += 8 + size + size % 2
        file.seek(position)
    return position


def _matroska_end(file: BinaryIO) -> int | None:
    """RFC 8794: the EBML header, then one Segment; a size with all bits set is unknown."""
    for element in (_EBML, _SEGMENT):
        if file.read(4) != element:
            return None
        first = file.read(1)
        if not first or first[0] == 0:
            return None
        num_bytes = 9 - first[0].bit_length()
        bits = 7 * num_bytes
        size = int.from_bytes(first + file.read(num_bytes - 1), "big") & ((1 << bits) - 1)
        if size == (1 << bits) - 1:
            return None
        end = file.tell() + size
        file.seek(end if element == _EBML else 0, os.SEEK_SET)
    return end

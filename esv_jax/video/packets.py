"""How many frames a coded packet makes a decoder show, read from its own bits.

Most packets show one frame, but VP8, VP9 and AV1 code frames that are only referred to, a packet may hold two fields or
no picture at all, and HEVC can tell a decoder to drop pictures.
"""

from collections.abc import Callable, Iterator

Packet = bytes | memoryview

# H.264 (ITU-T H.264, table 7-1) and HEVC (ITU-T H.265, table 7-1)
_H264_SLICES = (1, 5)
_HEVC_BROKEN_LINKS, _HEVC_RANDOM_ACCESS, _HEVC_LAST_SLICE = range(16, 19), range(16, 24), 31
_HEVC_ENDS = (36, 37)  # of a sequence, of the stream: what follows may refer to nothing before it
# AV1 (Bitstream & Decoding Process Specification, 5.3.1)
_AV1_SEQUENCE, _AV1_FRAME_HEADER, _AV1_FRAME = 1, 3, 6


def counter(codec: str, intra_only: bool, extradata: bytes | None) -> Callable[[Packet], int | None] | None:
    """The function that says of a packet how many frames it shows; None where only decoding can tell.

    Args:
      codec: name of the coding, as ffmpeg writes it (h264, av1).
      intra_only: every packet of the coding is one picture.
      extradata: what the container says to the decoder.
    """
    if codec == "h264" and extradata and extradata[0] == 1:  # ISO/IEC 14496-15, 5.3.3: lengths in front of the units
        return lambda packet: _h264(_units(packet, (extradata[4] & 3) + 1))
    if codec == "hevc" and extradata and extradata[0] == 1 and len(extradata) > 21:
        return lambda packet: _hevc(_units(packet, (extradata[21] & 3) + 1))
    if codec in _OTHERS:
        return _OTHERS[codec]
    return (lambda packet: 1) if intra_only else None


def _units(packet: Packet, length_size: int) -> Iterator[Packet]:
    """The beginnings of a packet's NAL units; of one that is cut or empty, nothing."""
    at = 0
    while at + length_size < len(packet):
        start = at + length_size
        at = start + int.from_bytes(packet[at:start], "big")
        if start < at <= len(packet):
            yield packet[start : min(at, start + 3)]


def _h264(units: Iterator[Packet]) -> int | None:
    """One coded picture, which begins with a slice whose first_mb_in_slice is 0, coded as the bit 1 (7.3.3, 9.1)."""
    pictures = sum(len(unit) > 1 and unit[0] & 31 in _H264_SLICES and unit[1] >> 7 for unit in units)
    return 1 if pictures == 1 else None


def _hevc(units: Iterator[Packet]) -> int | None:
    """One coded picture (first_slice_segment_in_pic_flag, 7.3.6.1), of those that no decoder drops."""
    pictures = 0
    for unit in units:
        kind = unit[0] >> 1 & 63
        if kind in _HEVC_ENDS or kind in _HEVC_BROKEN_LINKS:
            return None
        if len(unit) < 3:
            continue
        if kind in _HEVC_RANDOM_ACCESS and unit[2] & 0x40:  # no_output_of_prior_pics_flag
            return None
        layer = (unit[0] & 1) << 5 | unit[1] >> 3
        pictures += layer == 0 and kind <= _HEVC_LAST_SLICE and unit[2] >> 7
    return 1 if pictures == 1 else None


def _vp8(packet: Packet) -> int:
    """The show_frame bit: RFC 6386, 9.1."""
    return packet[0] >> 4 & 1


def _vp9(packet: Packet) -> int | None:
    """VP9 Bitstream & Decoding Process Specification: frames in a superframe (annex B), show_frame (6.2)."""
    frames, marker = [packet], packet[-1]
    if marker & 0xE0 == 0xC0:
        num_frames, size = (marker & 7) + 1, (marker >> 3 & 3) + 1
        index = packet[-2 - num_frames * size :]
        if index[0] == marker:
            frames, at = [], 0
            for i in range(num_frames):
                length = int.from_bytes(index[1 + i * size : 1 + (i + 1) * size], "little")
                frames.append(packet[at : at + length])
                at += length
    shown = 0
    for frame in frames:
        if not frame:
            return None
        header = frame[0] << 1 if frame[0] & 0x30 == 0x30 else frame[0]  # profile 3 has one more bit
        shown += bool(header & 0x08 or header & 0x02)  # show_existing_frame or show_frame
    return shown


def _av1(packet: Packet) -> int | None:
    at = shown = 0
    while at < len(packet):
        header = packet[at]
        kind, has_extension, has_size = header >> 3 & 15, header >> 2 & 1, header >> 1 & 1
        if has_extension and at + 1 < len(packet) and packet[at + 1] >> 3 & 3:  # of a spatial layer above the base
            return None
        at += 1 + has_extension
        size, num_bytes = _leb128(packet, at) if has_size else (len(packet) - at, 0)
        at += num_bytes
        if at >= len(packet):
            break
        if kind == _AV1_SEQUENCE and packet[at] & 0x08:  # reduced_still_picture_header: frames have no show_frame
            return None
        if kind in (_AV1_FRAME_HEADER, _AV1_FRAME):
            shown += bool(packet[at] & 0x80 or packet[at] & 0x10)  # show_existing_frame or show_frame
        at += size
    return shown


def _leb128(packet: Packet, at: int) -> tuple[int, int]:
    """A number (AV1, 4.10.5) and how many bytes it takes."""
    value = 0
    for i, byte in enumerate(packet[at : at + 8]):
        value |= (byte & 0x7F) << 7 * i
        if not byte & 0x80:
            return value, i + 1
    return value, 8


_OTHERS: dict[str, Callable[[Packet], int | None]] = {
    "vp8": _vp8,
    "vp9": _vp9,
    "av1": _av1,
    "ffv1": lambda packet: 1,  # a frame that is the same as the one before is still a packet
}

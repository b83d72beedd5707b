"""Frames of a video file by their number (PyAV), decoding no more of a long video than the frames asked for need.

A frame's number counts what decoding from the beginning shows; that is the truth, and everything else is checked
against it. A short video is decoded to learn it. Of a long one the beginning is, which tells what a decoder drops
there, and the packets are read: where each says that it shows one frame (`packets`) and carries a time of its own,
their sorted times number the frames. A wanted frame is then reached from the keyframe before it, and every frame
decoded on the way must carry the time that its number says. Where anything disagrees (times missing, repeated or
wrong, frames that do not come from one packet each) the video is decoded from its beginning and counted.

The file is opened here and handed to ffmpeg as a stream of bytes: its name is never taken for an address, and what is
written in it opens no other file.
"""

import contextlib
import functools
import itertools
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from esv_jax.checks import InputError, listed, require
from esv_jax.video import packets
from esv_jax.video.frames import Frames, Seconds, end_of_part
from esv_jax.video.truncation import promised_bytes

_DEFAULT_FPS = 25.0
_SEEK_ATTEMPTS = 3
# Groups of pictures are seldom longer. Of large frames so many pixels, but more frames than can be reordered (16).
_DECODED_TO_CHECK = 256
_PIXELS_TO_CHECK, _LEAST_TO_CHECK = 2**28, 32
_LARGEST_SIDE = 8192
# Where each frame is a packet that carries its time. Those of avi files are counted, and another after seeking.
_CONTAINERS_OF_FRAMES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_DRAWN_TEXT = ("tty", "bin", "xbin", "adf", "idf")  # ffmpeg draws the bytes of such files as letters
_INDICES_KEPT = 8  # the actions of a long video ask for its index one after another


class _Source(NamedTuple):
    """An open file: PyAV's container, and the stream that is read."""

    path: str
    container: Any
    stream: Any


class _Look(NamedTuple):
    """Height and width of the stored frames, and how they are turned (a, b, c, d of `_display_matrix`).

    All frames of a video look as its first, also where they change midway.
    """

    height: int
    width: int
    matrix: tuple[int, int, int, int]


class _Index(NamedTuple):
    """The displayed frames of a video.

    Attributes:
      times: float64 [M], when they are displayed, seconds after the first.
      end: when the last one ends.
      look: what they look like.
      stamps: int64 [M], their presentation times in units of the stream's time base, increasing, and
      keyframes: int64 [K], numbers of the frames that decoding can start from, increasing; both are empty where the
        video is decoded from its beginning.
    """

    times: np.ndarray
    end: float
    look: _Look
    stamps: np.ndarray
    keyframes: np.ndarray


class _DisagreementError(Exception):
    """The decoded frames are not those that the packets announce."""


def pick(path: str | os.PathLike, choose: Callable[[int], np.ndarray]) -> Frames:
    """The frames whose increasing numbers `choose(number of frames in the video)` gives, at least one.

    Raises:
      InputError: not a video, or one that is truncated, damaged, too large, or without frames.
    """
    index = _index(path)
    try:
        return _picked(path, index, choose(len(index.times)))
    except _DisagreementError:
        index = _index_of_decoded(*_version_of(path))
        return _picked(path, index, choose(len(index.times)))


def iter_frames(path: str | os.PathLike, start: int | Seconds, stop: int | Seconds | None) -> Iterator[np.ndarray]:
    """The frames start .. stop - 1 (to the end if None), uint8 [H, W, 3] each, holding one at a time.

    `Seconds` stand for the frame that begins nearest to them, the earlier one of two.

    Raises:
      InputError: as for `pick`; or the video ends before them.
    """
    if not isinstance(start, Seconds) and start == 0 and stop is None:
        _check_whole(path)
        with _opened(path) as source:
            look = None
            for frame in _all_decoded(source):
                look = look or _look(frame)
                yield _image(frame, look)
        return
    given = 0
    index = _index(path)
    with contextlib.suppress(_DisagreementError):
        for frame in _frames_at(path, index, _part(path, index, start, stop)):
            yield _image(frame, index.look)
            given += 1
        return
    index = _index_of_decoded(*_version_of(path))
    for frame in _frames_at(path, index, _part(path, index, start, stop)[given:]):
        yield _image(frame, index.look)


def times_of(path: str | os.PathLike) -> np.ndarray:
    """When each frame is displayed, seconds after the first, float64 [M].

    Raises:
      InputError: as for `pick`.
    """
    return _index(path).times


def start_of(path: str | os.PathLike) -> float:
    """The time of the first frame in seconds, as the file counts it: players show it then. 0 where it has none.

    Raises:
      InputError: as for `pick`.
    """
    with _opened(path) as source:
        first = next(_all_decoded(source))
        return 0.0 if first.pts is None else float(first.pts * source.stream.time_base)


def stream_read(path: str | os.PathLike) -> str | None:
    """Which stream is read of a file with several video streams, in words; None where there is one.

    Raises:
      InputError: not a video.
    """
    with _opened(path) as source:
        others = [s for s in _video_streams(source.container) if s is not source.stream]
        if not others:
            return None
        return f"video stream {_named(source.stream)} is read, not {listed(map(_named, others))}"


# Files


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[_Source]:
    av = require("av", extra="video")
    _check_file(path)
    # Titles need not be in Unicode; from PyAV 19 on that is no error, and cannot be asked for.
    tolerant = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
            container = av.open(
                file,
                options={"max_pixels": str(_LARGEST_SIDE**2)},
                container_options={
                    "protocol_whitelist": "none"
                },  # playlists open no files, session descriptions no ports
                **tolerant,
            )
        except (av.FFmpegError, OSError) as error:
            raise _refusal(path, f"is not a video that can be read: {_reason(error)}") from error
        stack.enter_context(container)
        streams = _video_streams(container)
        if container.format.name in _DRAWN_TEXT:
            raise _refusal(path, "is not a video that can be read: its bytes would be drawn as letters")
        if not streams:
            kinds = sorted({"picture" if s.type == "video" else s.type for s in container.streams})
            raise _refusal(path, f"has no video stream, only: {', '.join(kinds) or 'an empty container'}")
        stream = max(streams, key=_rank)
        if stream.codec_context is None:
            raise InputError(f"{path} is coded in a way that the installed PyAV cannot decode")
        width, height = _size(stream)
        if width * height > _LARGEST_SIDE**2:
            raise InputError(
                f"the frames of {path} are {width}x{height}, and more than {_LARGEST_SIDE}x{_LARGEST_SIDE} pixels "
                "are not decoded"
            )
        yield _Source(os.fspath(path), container, stream)


def _video_streams(container: Any) -> list[Any]:
    """The streams that are videos of their own: no covers, and no tiles of a larger picture."""
    disposition = require("av", extra="video").stream.Disposition
    return [
        s for s in container.streams.video if not s.disposition & (disposition.attached_pic | disposition.dependent)
    ]


def _rank(stream: Any) -> int:
    """What ffmpeg chooses a stream by: the largest one, where none or all are marked as the default."""
    width, height = _size(stream)
    is_default = stream.disposition & require("av", extra="video").stream.Disposition.default
    return width * height + 5_000_000 * bool(is_default)


def _size(stream: Any) -> tuple[int, int]:
    context = stream.codec_context
    return (context.width, context.height) if context else (0, 0)


def _named(stream: Any) -> str:
    width, height = _size(stream)
    return f"{stream.index} ({width}x{height})"


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "it ends before its first frame"
    return getattr(error, "strerror", None) or str(error)


def _check_file(path: str | os.PathLike) -> None:
    """Raises InputError if there is no file with something in it."""
    if "\0" in os.fspath(path):
        raise InputError(f"no file can be called {os.fspath(path)!r}")
    if not os.path.exists(path):
        raise InputError(f"there is no file {path}")
    if not os.path.isfile(path):
        raise InputError(f"{path} is not a file but a device or a pipe, in which frames cannot be sought")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read by this user")
    if os.path.getsize(path) == 0:
        raise InputError(f"{path} is an empty file")


def _refusal(path: str | os.PathLike, reason: str) -> InputError:
    """The error for a file that is no video, which says so if it is a text, such as a playlist or a web page."""
    with open(path, "rb") as file:
        text = file.read(1024).decode("utf-8", "ignore").lstrip("\ufeff")
    if text and all(c.isprintable() or c.isspace() for c in text):
        return InputError(f"{path} is not a video but a text file, which begins {' '.join(text.split())[:40]!r}")
    return InputError(f"{path} {reason}")


def _check_whole(path: str | os.PathLike) -> None:
    """Raises InputError if there is no file, or it is shorter than its headers say and frames are missing for it."""
    _check_file(path)
    size, promised = os.path.getsize(path), promised_bytes(path)
    if promised is None or size >= promised:
        return
    num_packets = whole = decoded = 0
    av = require("av", extra="video")
    with contextlib.suppress(InputError, av.FFmpegError), _opened(path) as source:
        stream, duration = source.stream, source.container.duration  # microseconds
        num_packets = stream.frames or round((duration or 0) * (stream.average_rate or 0) / 1_000_000)
        for packet in _packets(source):
            if not packet.is_corrupt:
                whole += packet.size > 0  # also those of frames that are not displayed
                decoded += sum(not frame.is_corrupt for frame in packet.decode())
    if whole < num_packets or num_packets == 0:
        of = f" of {num_packets}" if num_packets else ""
        raise InputError(
            f"{path} is truncated: {decoded} frames{of} can be decoded; "
            f"it has {size} bytes and its headers promise at least {promised}"
        )


# Numbers


def _version_of(path: str | os.PathLike) -> tuple[str, int, int, int]:
    """The path, and what changes when the file is written again."""
    status = os.stat(path)
    return os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns


def _index(path: str | os.PathLike) -> _Index:
    _check_whole(path)
    return _index_of_version(*_version_of(path))


@functools.lru_cache(_INDICES_KEPT)
def _index_of_version(path: str, *version: int) -> _Index:
    try:
        return _index_of_packets(path)
    except _DisagreementError:
        return _index_of_decoded(path, *version)


def _index_of_packets(path: str) -> _Index:
    """The index of a stream whose every displayed frame is one packet with a time of its own.

    Raises:
      _DisagreementError: other streams.
    """
    with _opened(path) as source:
        stamps, keyframes = _packet_times(source)
    with _opened(path) as source:
        frames = _all_decoded(source)
        first_frame = next(frames)
        look, shown = _look(first_frame), [first_frame.pts]
        of_size = max(_LEAST_TO_CHECK, _PIXELS_TO_CHECK // (look.height * look.width))
        to_check = min(_DECODED_TO_CHECK, of_size)
        shown += [frame.pts for frame in itertools.islice(frames, to_check - 1)]
        if shown[0] is None:
            raise _DisagreementError
        # The others are never shown, as they refer to what is cut off.
        stamps = stamps[np.searchsorted(stamps, shown[0]) :]
        expected = stamps[: len(shown)] if len(shown) == to_check else stamps
        if shown != expected.tolist():
            raise _DisagreementError
        times = (stamps - stamps[0]) * float(source.stream.time_base)
        first = np.searchsorted(stamps, keyframes[keyframes >= stamps[0]])
        return _Index(times, _end(times, source), look, stamps, first)


@functools.lru_cache(_INDICES_KEPT)
def _index_of_decoded(path: str, *version: int) -> _Index:
    """The index of any video, by decoding all of it and keeping nothing but the times."""
    with _opened(path) as source:
        frames = _all_decoded(source)
        first = next(frames)
        look, stamps = _look(first), [first.pts, *(frame.pts for frame in frames)]
        if None not in stamps and np.all(np.diff(stamps) > 0):
            times = (np.asarray(stamps) - stamps[0]) * float(source.stream.time_base)
        else:
            times = np.arange(len(stamps)) / float(source.stream.average_rate or _DEFAULT_FPS)
        none = np.zeros(0, np.int64)
        return _Index(times, _end(times, source), look, none, none)


def _packet_times(source: _Source) -> tuple[np.ndarray, np.ndarray]:
    """Presentation times of the packets that are displayed, and of the keyframes among them, both int64, increasing."""
    av = require("av", extra="video")
    context = source.stream.codec_context
    shown = packets.counter(context.codec.canonical_name, context.codec.intra_only, context.extradata)
    if shown is None or source.container.format.name not in _CONTAINERS_OF_FRAMES:
        raise _DisagreementError
    stamps, keyframes = [], []
    try:
        for packet in _packets(source):
            if packet.size == 0 or packet.is_discard:
                continue
            num_frames = shown(memoryview(packet))
            if num_frames == 0:
                continue
            if num_frames != 1 or packet.pts is None or packet.is_corrupt:
                raise _DisagreementError
            stamps.append(packet.pts)
            if packet.is_keyframe:
                keyframes.append(packet.pts)
    except av.FFmpegError as error:  # decoding from the beginning says where it breaks
        raise _DisagreementError from error
    ordered = np.unique(np.asarray(stamps, np.int64))
    if not stamps or not keyframes or len(ordered) < len(stamps):
        raise _DisagreementError
    return ordered, np.unique(np.asarray(keyframes, np.int64))


def _end(times: np.ndarray, source: _Source) -> float:
    """When the last frame ends, as long as most are."""
    duration = np.median(np.diff(times)) if len(times) > 1 else 1 / (source.stream.average_rate or _DEFAULT_FPS)
    return float(times[-1]) + float(duration)


def _part(path: str | os.PathLike, index: _Index, start: int | Seconds, stop: int | Seconds | None) -> np.ndarray:
    """The numbers of the frames start .. stop - 1, int64.

    Raises:
      InputError: the video does not have all of them, or there are none.
    """
    begins = np.append(index.times, index.end)
    middles = (begins[1:] + begins[:-1]) / 2
    latest = 2 * index.end - middles[-1]  # half a frame behind the end is still the end

    def number(place: int | Seconds) -> int:
        return int(np.searchsorted(middles, place)) if isinstance(place, Seconds) else place

    begins_beyond = isinstance(start, Seconds) and not 0 <= start <= middles[-1]
    if begins_beyond or (isinstance(stop, Seconds) and not stop <= latest):
        until = "the end" if stop is None else f"{stop:.2f} s"
        raise InputError(f"the part from {start:.2f} s to {until} is asked for, but {path} is {index.end:.2f} s long")
    begin, end = number(start), None if stop is None else number(stop)
    if isinstance(stop, Seconds) and begin == end:
        raise InputError(f"no frame of {path} begins between {start:.3f} and {stop:.3f} s")
    return np.arange(begin, end_of_part(path, begin, end, len(index.times)))


# Decoding


def _picked(path: str | os.PathLike, index: _Index, numbers: np.ndarray) -> Frames:
    images = [_image(frame, index.look) for frame in _frames_at(path, index, numbers)]
    return Frames(np.stack(images), index.times[numbers], numbers, len(index.times))


def _frames_at(path: str | os.PathLike, index: _Index, numbers: np.ndarray) -> Iterator[Any]:
    """The frames of the increasing `numbers`.

    Raises:
      _DisagreementError: a decoded frame does not carry the time that the index says.
    """
    with _opened(path) as source:
        if len(index.keyframes):
            yield from _seek_frames(source, index, numbers)
        else:
            decoded, wanted = itertools.islice(_all_decoded(source), int(numbers[-1]) + 1), set(numbers.tolist())
            yield from (frame for number, frame in enumerate(decoded) if number in wanted)


def _packets(source: _Source) -> Iterator[Any]:
    """The packets from where the container is, the last one empty."""
    # Behind the last one PyAV asks after streams that appeared midway, which it does not know; ours is done by then.
    with contextlib.suppress(IndexError):
        yield from source.container.demux(source.stream)


def _decoded(source: _Source) -> Iterator[Any]:
    """The frames from where the container is, in display order. All decoding goes through here."""
    for packet in _packets(source):
        yield from packet.decode()


def _all_decoded(source: _Source) -> Iterator[Any]:
    """The frames from the beginning on; InputError where one cannot be decoded, or there is none."""
    av = require("av", extra="video")
    count = 0
    try:
        for frame in _decoded(source):
            if frame.is_corrupt:
                raise InputError(f"{source.path} is damaged: frame {count} is incomplete")
            yield frame
            count += 1
    except av.FFmpegError as error:
        of = f" of {source.stream.frames}" if source.stream.frames else ""
        raise InputError(f"{source.path} is damaged: {count} frames{of} can be decoded ({_reason(error)})") from error
    if count == 0:
        raise InputError(f"{source.path} has a video stream without frames")


def _seek_frames(source: _Source, index: _Index, numbers: np.ndarray) -> Iterator[Any]:
    """The frames of the increasing `numbers`, each decoded from the keyframe before it unless that is already passed.

    Raises:
      _DisagreementError: a decoded frame does not carry the time that the index says.
    """
    av = require("av", extra="video")
    position, frames, frame = -1, iter(()), None  # the last frame decoded
    try:
        for number in numbers:
            keyframes = index.keyframes[index.keyframes <= number]
            if len(keyframes) == 0:
                raise _DisagreementError
            if position < 0 or keyframes[-1] > position + 1:
                position, frames, frame = _from_keyframe(source, index, keyframes)
            while position < number:
                position, frame = position + 1, next(frames, None)
                if frame is None or frame.is_corrupt or frame.pts != index.stamps[position]:
                    raise _DisagreementError
            yield frame
    except av.FFmpegError as error:
        raise _DisagreementError from error


def _from_keyframe(source: _Source, index: _Index, keyframes: np.ndarray) -> tuple[int, Iterator[Any], Any]:
    """Decodes to the last of `keyframes`, or to an earlier one where seeking to it lands behind it.

    Frames in front of the keyframe are passed over: B-frames that refer to what was not decoded.

    Returns:
      The keyframe's number, the frames after it, and itself.
    """
    for keyframe in reversed(keyframes[-_SEEK_ATTEMPTS:].tolist()):
        stamp = int(index.stamps[keyframe])
        source.container.seek(stamp, stream=source.stream)
        frames = _decoded(source)
        frame = next((f for f in frames if f.pts is None or f.pts >= stamp), None)
        if frame is not None and frame.pts == stamp and not frame.is_corrupt:
            return keyframe, frames, frame
    raise _DisagreementError


# Pictures


def _look(frame: Any) -> _Look:
    return _Look(frame.height, frame.width, _display_matrix(frame))


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """(a, b, c, d): the stored pixel (x, y) is displayed at (a x + c y, b x + d y), y pointing downwards."""
    try:
        stored = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know one of the frame's other kinds of side data
        cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[round(frame.rotation / 90) % 4]
        return cos, -sin, sin, cos
    if stored is None:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack("5i", bytes(stored)[:20])
    return a, b, c, d


def _image(frame: Any, look: _Look) -> np.ndarray:
    """uint8 [H, W, 3], turned and mirrored as the file asks, to the nearest quarter turn."""
    image = frame.to_ndarray(format="rgb24", width=look.width, height=look.height)
    a, b, c, d = look.matrix
    if abs(b) + abs(c) > abs(a) + abs(d):  # columns become rows
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])

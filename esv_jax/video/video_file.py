"""Frames of a video file by their number (PyAV), decoding no more of a long video than the frames asked for need.

The packets are read once without decoding them; where each carries one frame and its presentation time, their sorted
times number the frames. A wanted frame is reached from the keyframe before it, and every frame decoded on the way must
carry the time that its number says. Where anything disagrees (times missing, repeated or wrong, frames that do not
come from one packet each) the video is decoded from its beginning and counted, which needs no trust.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from esv_jax.checks import InputError, require
from esv_jax.video.frames import Frames, end_of_part
from esv_jax.video.truncation import promised_bytes

_DEFAULT_FPS = 25.0
_SEEK_ATTEMPTS = 3


class _Source(NamedTuple):
    """An open file: PyAV's container and video stream, and the size of its frames, which is that of the first one."""

    path: str
    container: Any
    stream: Any
    width: int
    height: int


class _Index(NamedTuple):
    """The displayed frames of a video.

    Attributes:
      stamps: int64 [M], presentation times in units of the stream's time base, increasing; empty if unknown.
      keyframes: int64 [K], numbers of the frames that decoding can start from, increasing.
      num_frames: M.
    """

    stamps: np.ndarray
    keyframes: np.ndarray
    num_frames: int


class _DisagreementError(Exception):
    """The decoded frames are not those that the packets' times announce."""


def pick(path: str | os.PathLike, choose: Callable[[int], np.ndarray]) -> Frames:
    """The frames whose increasing numbers `choose(number of frames in the video)` gives, at least one.

    Raises:
      InputError: not a video, or one that is truncated, damaged, or without frames.
    """
    _check_whole(path)
    with _opened(path) as source, contextlib.suppress(_DisagreementError):
        index = _index_packets(source)
        indices = choose(index.num_frames)
        images = [_image(frame, source) for frame in _seek_frames(source, index, indices)]
        return Frames(np.stack(images), _times(indices, index, source), indices, index.num_frames)
    with _opened(path) as source:
        index = _index_decoding(source)
    indices = choose(index.num_frames)
    with _opened(path) as source:
        decoded, wanted = itertools.islice(_all_decoded(source), int(indices[-1]) + 1), set(indices.tolist())
        images = [_image(frame, source) for number, frame in enumerate(decoded) if number in wanted]
        return Frames(np.stack(images), _times(indices, index, source), indices, index.num_frames)


def iter_frames(path: str | os.PathLike, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """The frames start .. stop - 1 (to the end if None), uint8 [H, W, 3] each, holding one at a time.

    Raises:
      InputError: as for `pick`; or the video ends before them.
    """
    _check_whole(path)
    following = start
    if start > 0 or stop is not None:
        with contextlib.suppress(_DisagreementError), _opened(path) as source:
            index = _index_packets(source)
            end = end_of_part(path, start, stop, index.num_frames)
            for frame in _seek_frames(source, index, np.arange(start, end)):
                yield _image(frame, source)
                following += 1
            return
    with _opened(path) as source:
        for number, frame in enumerate(_all_decoded(source)):
            if number == stop:
                return
            if number >= following:
                yield _image(frame, source)
    end_of_part(path, start, stop, number + 1)


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[_Source]:
    av = require("av", extra="video")
    try:
        container = av.open(os.fspath(path))
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path} is not a video that can be read: {_reason(error)}") from error
    with container:
        if container.format.name == "tty":  # what ffmpeg makes of any text in a file called .txt
            raise InputError(f"{path} is not a video but a text file")
        cover = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams:
            kinds = sorted({s.type for s in container.streams if s.type != "video"})
            raise InputError(f"{path} has no video stream, only: {', '.join(kinds) or 'an empty container'}")
        context = streams[0].codec_context
        if context is None:
            raise InputError(f"{path} is coded in a way that the installed PyAV cannot decode")
        yield _Source(os.fspath(path), container, streams[0], context.width, context.height)


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "it ends before its first frame"
    return getattr(error, "strerror", None) or str(error)


def _check_whole(path: str | os.PathLike) -> None:
    """Raises InputError if there is no file, or it is shorter than its headers say and frames are missing for it."""
    if not os.path.exists(path):
        raise InputError(f"there is no file {path}")
    size, promised = os.path.getsize(path), promised_bytes(path)
    if size == 0:
        raise InputError(f"{path} is an empty file")
    if promised is None or size >= promised:
        return
    num_frames = decoded = 0
    with contextlib.suppress(InputError), _opened(path) as source:
        stream, duration = source.stream, source.container.duration  # microseconds
        num_frames = stream.frames or round((duration or 0) * (stream.average_rate or 0) / 1_000_000)
        for _ in _all_decoded(source):
            decoded += 1
    if decoded < num_frames or num_frames == 0:
        of = f" of {num_frames}" if num_frames else ""
        raise InputError(
            f"{path} is truncated: {decoded} frames{of} can be decoded; "
            f"it has {size} bytes and its headers promise at least {promised}"
        )


def _index_packets(source: _Source) -> _Index:
    """The index of a stream whose every displayed frame is one packet with a time of its own.

    Raises:
      _DisagreementError: other streams.
    """
    av = require("av", extra="video")
    stamps, keyframes = [], []
    codec = source.stream.codec_context.name
    try:
        for packet in source.container.demux(source.stream):
            if packet.size == 0 or packet.is_discard:
                continue
            # A VP8 packet may hold a frame that is only referred to: the show_frame bit, RFC 6386, 9.1.
            if codec == "vp8" and not memoryview(packet)[0] & 0x10:
                continue
            # So small a MPEG-4 packet may be a "not coded" one, for which nothing is displayed (common in avi files).
            if packet.pts is None or (codec == "mpeg4" and packet.size <= 8):
                raise _DisagreementError
            stamps.append(packet.pts)
            if packet.is_keyframe:
                keyframes.append(packet.pts)
    except av.FFmpegError as error:  # decoding from the beginning says where it breaks
        raise _DisagreementError from error
    ordered = np.unique(np.asarray(stamps, np.int64))
    if not stamps or not keyframes or len(ordered) < len(stamps):
        raise _DisagreementError
    return _Index(ordered, np.searchsorted(ordered, np.unique(keyframes)), len(ordered))


def _index_decoding(source: _Source) -> _Index:
    """The index of any video, by decoding all of it and keeping nothing but the times."""
    stamps = [frame.pts for frame in _all_decoded(source)]
    increasing = None not in stamps and bool(np.all(np.diff(stamps) > 0))
    return _Index(np.asarray(stamps if increasing else [], np.int64), np.zeros(1, np.int64), len(stamps))


def _decoded(source: _Source) -> Iterator[Any]:
    """The frames from where the container is, in display order. All decoding goes through here."""
    yield from source.container.decode(source.stream)


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


def _image(frame: Any, source: _Source) -> np.ndarray:
    """uint8 [H, W, 3], turned as the file asks; every frame has the size of the first, even where it changes midway."""
    image = frame.to_ndarray(format="rgb24", width=source.width, height=source.height)
    quarter_turns = round(frame.rotation / 90) % 4  # anticlockwise, both in ffmpeg and in rot90
    return np.ascontiguousarray(np.rot90(image, quarter_turns))


def _times(indices: np.ndarray, index: _Index, source: _Source) -> np.ndarray:
    """When the frames are displayed, seconds after the first, float64 [T]."""
    if len(index.stamps) == 0:
        return indices / float(source.stream.average_rate or _DEFAULT_FPS)
    return (index.stamps[indices] - index.stamps[0]) * float(source.stream.time_base)

"""Frames of a video, which is a file (mp4, webm, avi, mkv and whatever else PyAV reads) or a folder of images.

A folder's images are its frames in natural order (frame2 before frame10), displayed at 25 frames a second. Times are
seconds after the first frame, from the file's own timestamps; where it has none that make sense, frame number / fps.
Pixels are taken as stored: non-square ones are not stretched.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from esv_jax.checks import InputError
from esv_jax.video import image_folder, video_file
from esv_jax.video.clip import Clip, VideoInfo
from esv_jax.video.frame_sampling import segment_centres


def probe(path: str | os.PathLike) -> VideoInfo:
    """What the video is, from its packets and its first frame (decoding all only where timestamps are missing).

    Raises:
      InputError: not a video, or one that is truncated, damaged, or without frames.
    """
    frames = _pick(path, lambda num_frames: np.zeros(1, np.int64))
    height, width = frames.images[0].shape[:2]
    return VideoInfo(frames.num_frames, frames.fps, width, height, frames.num_frames / frames.fps)


def read_frames(path: str | os.PathLike, indices: Sequence[int] | np.ndarray) -> Clip:
    """The frames with these numbers, in the order given; a number may come more than once.

    Of a long video only the parts from the keyframe before each wanted frame are decoded, and nothing but the wanted
    frames is kept.

    Raises:
      InputError: a number is not in the video, or as for `probe`.
    """
    wanted = np.asarray(indices)
    if wanted.ndim != 1 or not len(wanted) or not np.issubdtype(wanted.dtype, np.integer):
        raise InputError(f"indices should be integers [T], T at least 1, found {wanted.dtype} {list(wanted.shape)}")
    unique, back = np.unique(wanted.astype(np.int64), return_inverse=True)

    def choose(num_frames: int) -> np.ndarray:
        if unique[0] < 0 or unique[-1] >= num_frames:
            wrong = unique[0] if unique[0] < 0 else unique[-1]
            raise InputError(f"frame {wrong} is asked for, but {path} has the frames 0..{num_frames - 1}")
        return unique

    frames = _pick(path, choose)
    images = np.stack([frames.images[i] for i in back])
    return Clip(images, frames.times[back], wanted.astype(np.int64), frames.num_frames)


def read_clip(path: str | os.PathLike, num_frames: int) -> Clip:
    """`num_frames` frames at the centres of equal segments (`frame_sampling.segment_centres`).

    Raises:
      InputError: the video has fewer frames, or as for `probe`.
    """

    def choose(num_frames_in_video: int) -> np.ndarray:
        try:
            return segment_centres(num_frames_in_video, num_frames)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    frames = _pick(path, choose)
    return Clip(np.stack(frames.images), frames.times, frames.numbers, frames.num_frames)


def iter_frames(path: str | os.PathLike, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """All frames of the video in display order, uint8 [H, W, 3] each, holding one at a time.

    Args:
      path: the video.
      start: number of the first frame wanted.
      stop: number of the first one that is not, more than `start`; None: all to the end.

    Raises:
      InputError: as for `probe`, when the fault is reached; or the video ends before the frames asked for.
    """
    if os.path.isdir(path):
        files = image_folder.image_files(path)
        last = len(files) if stop is None else stop
        if not start < last <= len(files):
            raise InputError(f"the frames {start}..{last - 1} are asked for, but {path} has 0..{len(files) - 1}")
        for file in files[start:last]:
            yield image_folder.read_images([files[0], file])[1]
    elif stop is None and start == 0:
        yield from video_file.every_frame(path)
    else:
        yield from video_file.frames_between(path, start, stop)


def _pick(path: str | os.PathLike, choose: Callable[[int], np.ndarray]) -> Any:
    if not os.path.isdir(path):
        return video_file.pick(path, choose)
    files = image_folder.image_files(path)
    numbers = choose(len(files))
    images = image_folder.read_images([files[i] for i in numbers])
    return video_file.Frames(list(images), numbers, numbers / image_folder.FPS, len(files), image_folder.FPS)

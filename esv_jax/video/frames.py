"""What reading a video gives."""

import os
from typing import NamedTuple

import numpy as np

from esv_jax.checks import InputError


class Seconds(float):
    """A time after a video's first frame, in seconds."""


class NumberInName(int):
    """The number that a frame of a folder has in its file's name, such as 8 of frame_0000000008.jpg."""


class Frames(NamedTuple):
    """Some frames of a video.

    Attributes:
      images: uint8 [T, H, W, 3], RGB.
      times: float64 [T], when each frame is displayed, seconds after the video's first frame.
      indices: int64 [T], the frames' numbers in the video, 0..num_frames_in_video-1.
      num_frames_in_video: how many frames the video has.
    """

    images: np.ndarray
    times: np.ndarray
    indices: np.ndarray
    num_frames_in_video: int


def end_of_part(path: str | os.PathLike, start: int, stop: int | None, num_frames: int) -> int:
    """Where the frames start .. stop - 1 of a video end: `stop`, or `num_frames` if it is None.

    Raises:
      InputError: the video, of `num_frames` frames, does not have all of them, or there are none.
    """
    end = num_frames if stop is None else stop
    if not 0 <= start < end <= num_frames:
        raise InputError(f"the frames {start}..{end - 1} are asked for, but {path} has 0..{num_frames - 1}")
    return end

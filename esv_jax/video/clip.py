"""What decoding a video gives."""

from typing import NamedTuple

import numpy as np


class VideoInfo(NamedTuple):
    """A video as it is displayed.

    Attributes:
      num_frames: frames displayed.
      fps: mean frames per second, (num_frames - 1) / (time from the first frame to the last).
      width, height: pixels, after the rotation that the file asks for.
      duration: seconds, num_frames / fps.
    """

    num_frames: int
    fps: float
    width: int
    height: int
    duration: float


class Clip(NamedTuple):
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

"""Clips in which one frame is shown several times over."""

import numpy as np


def repeat_frame(videos: np.ndarray, frame: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """The videos with a frame shown `times` times in a row.

    Args:
      videos: [B, T, ...].
      frame: int [B], which frame of every video.
      times: at least 1.

    Returns:
      (videos [B, T + times - 1, ...], copies bool [B, T + times - 1]: which frames are the repeated one).
    """
    num_videos, num_frames = videos.shape[:2]
    place = np.arange(num_frames + times - 1)[None]
    source = np.where(place < frame[:, None], place, np.maximum(place - times + 1, frame[:, None]))
    return videos[np.arange(num_videos)[:, None], source], source == frame[:, None]

"""Which frames of a video a model is shown."""

import numpy as np

from esv_jax.checks import InputError, check_positive


def segment_centres(num_frames_in_video: int, num_frames: int) -> np.ndarray:
    """The frames at the centres of equal segments, as TSN (Wang et al., 2016) and the paper sample at test time.

    The video is cut into `num_frames` segments of equal length L / n, and segment i gives frame floor((i + 1/2) L / n),
    in integers, so that no rounding of floats can move a frame.

    Args:
      num_frames_in_video: L, how many frames the video has.
      num_frames: n, how many to pick, 1 <= n <= L.

    Returns:
      int64 [num_frames], strictly increasing indices in 0..L-1.

    Raises:
      InputError: the video has fewer frames than are asked for, or a number is not a positive integer.
    """
    check_positive("num_frames_in_video", num_frames_in_video)
    check_positive("num_frames", num_frames)
    if num_frames > num_frames_in_video:
        raise InputError(f"num_frames is {num_frames}, but the video has only {num_frames_in_video} frames")
    return (2 * np.arange(num_frames, dtype=np.int64) + 1) * num_frames_in_video // (2 * num_frames)

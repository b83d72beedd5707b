"""Which frames of a video a model is shown."""

import numpy as np

from esv_jax.checks import InputError, check_positive


def segment_centres(num_frames_in_video: int, num_frames: int) -> np.ndarray:
    """The frames at the centres of equal segments, as TSN (Wang et al., 2016) and the paper sample at test time.

    The video is cut into n segments of L / n frames, and segment i gives the frame floor(i * (L / n) + (L / n) / 2),
    every operation rounded to float64. That rounding is part of the definition, as it is in the code of the paper's
    authors: where the exact centre is a whole number, the rounded one may lie just below it. At 28 frames and n = 10
    segment 7 gives frame 20, and not 21. In exact arithmetic 5.6 % of Something-Something's validation videos would
    get another frame at n = 7 and 12.5 % at n = 15, none at 8 or 16.

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
    segment = num_frames_in_video / num_frames
    return np.floor(np.arange(num_frames) * segment + segment / 2).astype(np.int64)

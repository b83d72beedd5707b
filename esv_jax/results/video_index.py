"""Who the videos of a results store are, and which of their frames were shown."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from esv_jax.checks import InputError
from esv_jax.data.labelled_features import LabelledFeatures
from esv_jax.video.frame_sampling import segment_centres


class VideoIndex(NamedTuple):
    """The videos of one number of frames T, in the order of their features.

    Attributes:
      uid: of the V videos.
      label: int64 [V], class numbers.
      num_frames_in_video: int64 [V].
      frame_index: int64 [V, T], which frames of the video.
      left_out: uid -> why there are no values of this video.
      numbers: of the V videos' clips in their features, where they are read from these.
    """

    uid: tuple[str, ...]
    label: np.ndarray
    num_frames_in_video: np.ndarray
    frame_index: np.ndarray
    left_out: dict[str, str]
    numbers: Sequence[int] = ()


def video_index(
    features: LabelledFeatures, chosen: Sequence[int], not_finite: Mapping[int, int], num_frames: int
) -> VideoIndex:
    """The index of the videos that can be explained.

    Args:
      features: of all clips.
      chosen: increasing numbers of the clips asked for.
      not_finite: of `labelled_features.count_not_finite`; these clips are left out.
      num_frames: T; shorter clips are left out. Frames are at the centres of T equal segments.

    Raises:
      InputError: no video is left.
    """
    left_out, numbers = {}, []
    for i in chosen:
        clip = features.clips[i]
        if clip.num_frames < num_frames:
            left_out[clip.uid] = f"has {clip.num_frames} frames"
        elif i in not_finite:
            left_out[clip.uid] = f"holds {not_finite[i]} NaN or infinite features"
        else:
            numbers.append(i)
    if not numbers:
        raise InputError(f"none of the {len(chosen)} videos has {num_frames} frames and finite features")
    clips = [features.clips[i] for i in numbers]
    lengths = np.array([clip.num_frames for clip in clips], np.int64)
    # Videos of one length are shown by the same frames.
    frames = {length: segment_centres(length, num_frames) for length in set(lengths.tolist())}
    return VideoIndex(
        uid=tuple(clip.uid for clip in clips),
        label=features.labels[numbers],
        num_frames_in_video=lengths,
        frame_index=np.stack([frames[length] for length in lengths.tolist()]),
        left_out=left_out,
        numbers=numbers,
    )

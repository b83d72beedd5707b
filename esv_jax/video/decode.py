"""Frames of a video, which is a file (mp4, webm, avi, mkv and whatever else PyAV reads) or a folder of images.

A folder's images are its frames in the order of the numbers in their names (frame2 before frame10), displayed at 25
frames a second. Times are seconds after the first frame, from the file's own timestamps; where it has none that make
sense, frame number / fps. Pixels are taken as stored: non-square ones are not stretched.
"""

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from esv_jax.checks import InputError
from esv_jax.video import image_folder, video_file
from esv_jax.video.frame_sampling import segment_centres
from esv_jax.video.frames import Frames, NumberInName, Seconds


def read_frames(path: str | os.PathLike, indices: Sequence[int] | np.ndarray) -> Frames:
    """The frames with these numbers, in the order given; a number may come more than once.

    Of a long video only the parts from the keyframe before each wanted frame are decoded, and nothing but the wanted
    frames is kept.

    Raises:
      InputError: a number is not in the video; or it is not a video, or truncated, damaged or without frames.
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
    return Frames(frames.images[back], frames.times[back], unique[back], frames.num_frames_in_video)


def sample_frames(path: str | os.PathLike, num_frames: int) -> Frames:
    """`num_frames` frames at the centres of equal segments (`frame_sampling.segment_centres`).

    Raises:
      InputError: the video has fewer frames; or as for `read_frames`.
    """

    def choose(num_frames_in_video: int) -> np.ndarray:
        try:
            return segment_centres(num_frames_in_video, num_frames)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    return _pick(path, choose)


def iter_frames(
    path: str | os.PathLike, start: int | Seconds = 0, stop: int | Seconds | None = None
) -> Iterator[np.ndarray]:
    """The frames start .. stop - 1 in display order, uint8 [H, W, 3] each, holding one at a time.

    Args:
      path: the video.
      start: number of the first frame wanted, counted from 0. Or, of a file, `Seconds`, which stand for the frame that
        begins nearest to them; of a folder, a `NumberInName`.
      stop: of the same kind, of the first one that is not, more than `start`; None: all to the end.

    Raises:
      InputError: the video ends before the frames asked for; or as for `read_frames`, when the fault is reached.
    """
    if not os.path.isdir(path) and (isinstance(start, NumberInName) or isinstance(stop, NumberInName)):
        raise InputError(f"frames are asked for by the numbers in their names, but {path} is no folder of them")
    return (image_folder if os.path.isdir(path) else video_file).iter_frames(path, start, stop)


def times_of(path: str | os.PathLike) -> np.ndarray:
    """When each frame of a video file is displayed, seconds after the first, float64 [M]; raises what `read_frames`
    does."""
    return video_file.times_of(path)


def start_of(path: str | os.PathLike) -> float:
    """The time of a video's first frame in seconds, as the file counts it; raises what `read_frames` does."""
    return 0.0 if os.path.isdir(path) else video_file.start_of(path)


def stream_read(path: str | os.PathLike) -> str | None:
    """Which stream is read of a file with several video streams, in words; None where there is one."""
    return None if os.path.isdir(path) else video_file.stream_read(path)


def _pick(path: str | os.PathLike, choose: Callable[[int], np.ndarray]) -> Frames:
    return (image_folder if os.path.isdir(path) else video_file).pick(path, choose)

"""What an annotation file says of a clip."""

from pathlib import Path
from typing import NamedTuple

from esv_jax.video.frames import Seconds


class LabelledClip(NamedTuple):
    """A video, or a part of one, and its class.

    Attributes:
      uid: what the clip is called, unique in its file: the path as written in a csv, the id in a file of a dataset.
      path: where the video is.
      label: the name of its class.
      split: "train", "validation", "test" or what the file says.
      start, stop: the part of the video, as `video.decode.iter_frames` takes it: positions of frames, numbers in the
        names of a folder's (`NumberInName`) or times (`Seconds`); all from `start` on if `stop` is None.
    """

    uid: str
    path: Path
    label: str
    split: str
    start: int | Seconds = 0
    stop: int | Seconds | None = None

"""Features of clips with a model's class numbers, from a feature store or a file of Play Fair, a block at a time."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, shown
from esv_jax.data import feature_store, play_fair_features, remote_features
from esv_jax.data.feature_store import StoredClip, StoreHeader

_BLOCK = 256  # clips that are looked at together


class LabelledFeatures(NamedTuple):
    """Features open for reading; nothing of them is kept in memory.

    Attributes:
      header: what they are.
      clips: in the order of the file.
      labels: int64 [N], class numbers, 0..C-1.
      read: increasing numbers of clips -> their features [num_frames, D], one by one.
    """

    header: StoreHeader
    clips: tuple[StoredClip, ...]
    labels: np.ndarray
    read: Callable[[Sequence[int]], list[np.ndarray]]


def open_labelled(path: str | os.PathLike, classes: Sequence[str], split: str | None = None) -> LabelledFeatures:
    """Opens a feature store (a folder, here or on an object store) or an HDF5 file of Play Fair.

    Args:
      path: the folder, file or address (`remote_features`).
      classes: names of the model's C classes; a store's labels are looked up in them, a file's are their numbers.
      split: the file's group; may be None where there is one only. Of a store, all clips are given.

    Raises:
      InputError: as `feature_store.open_store` and `play_fair_features.open_features`, or a label outside the classes.
    """
    address = str(path)
    is_remote = remote_features.is_remote(address)
    if is_remote or Path(path).is_dir():
        store = remote_features.open_store(address) if is_remote else feature_store.open_store(path)
        read = functools.partial(remote_features.read, address, store) if is_remote else store.read
        number = {name: i for i, name in enumerate(classes)}
        labels = np.array([number.get(clip.label, -1) for clip in store.clips], np.int64)
        opened = LabelledFeatures(store.header, store.clips, labels, read)
    else:
        file = play_fair_features.open_features(path, split)
        opened = LabelledFeatures(file.header, file.clips, file.labels, file.read)
    outside = np.flatnonzero((opened.labels < 0) | (opened.labels >= len(classes)))
    if len(outside):
        clip = opened.clips[outside[0]]
        raise InputError(
            f"the label {clip.label!r:.80} of {shown(clip.uid)} in {path} is not one of the model's {len(classes)} "
            f"classes, {classes[0]!r:.80} to {classes[-1]!r:.80}"
        )
    return opened


def digest(path: str) -> str:
    """What tells features from others; of a folder, what desktops leave in it, and the backbone, are no part of it."""
    return remote_features.digest(path) if remote_features.is_remote(path) else files.digest(path)


class FramesOfClips(NamedTuple):
    """Reads frames of clips in any process that finds the features at `path`, which it opens once.

    Attributes:
      path, classes, split: as `open_labelled` takes them.
    """

    path: str
    classes: tuple[str, ...]
    split: str | None

    def read(self, wanted: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        """`frames` of what is opened here."""
        return frames(_opened_once(self.path, self.classes, self.split), wanted)


_opened_once = functools.lru_cache(maxsize=1)(open_labelled)


def frames(features: LabelledFeatures, wanted: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """Frames float32 [n, T, D] of n clips: of each its number and which of its frames, int [T].

    Raises:
      InputError: they cannot be read, or are not what was stored.
    """
    numbers = [number for number, _ in wanted]
    clips = zip(features.read(numbers), wanted, strict=True)
    return np.stack([clip[of_clip] for clip, (_, of_clip) in clips]).astype(np.float32)


def count_not_finite(features: LabelledFeatures, numbers: Sequence[int]) -> dict[int, int]:
    """Of clips given by increasing numbers, those with NaN or infinite features, and how many of these each has.

    Clips with a checksum were finite when they were stored, and are not read; nor does it tell of those that cannot be.
    """
    bad = {}
    unsure = [i for i in numbers if not features.clips[i].checksum]
    for start in range(0, len(unsure), _BLOCK):
        block = unsure[start : start + _BLOCK]
        for i, values in zip(block, _read(features, block), strict=True):
            if num_bad := int((~np.isfinite(values)).sum()):
                bad[i] = num_bad
    return bad


def _read(features: LabelledFeatures, block: Sequence[int]) -> list[np.ndarray]:
    """The features of clips; of those that cannot be read nothing."""
    try:
        return features.read(block)
    except InputError:
        return [np.zeros(0)] if len(block) == 1 else [values for i in block for values in _read(features, [i])]

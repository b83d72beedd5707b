"""Feature files of Play Fair (Price & Damen, 2020): one HDF5 file with the features of every frame of many clips.

{split}/features        variable-length float32, the features [T, D] of a clip, flattened; attribute feature_dim, D
{split}/uids            what the clips are called
{split}/labels/{uid, label, action}   the class numbers, by uid
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, check_floating, check_shape, require
from esv_jax.data.feature_store import StoredClip, StoreHeader

_BLOCK = 256  # clips that are looked at together when lengths are counted


class PlayFairFeatures(NamedTuple):
    """A feature file open for reading; the same protocol as `feature_store.FeatureStore`.

    Attributes:
      header: float32 of dimension D; no class names, backbone or preprocessing, which the file does not know.
      clips: in the order of the file; `label` is the class number in digits, `path` empty.
      labels: int64 [N], the class numbers.
      rows: the open dataset of the clips' flattened features.
    """

    header: StoreHeader
    clips: tuple[StoredClip, ...]
    labels: np.ndarray
    rows: Any

    def features(self, i: int) -> np.ndarray:
        """Features float32 [num_frames, D] of clip i, read from the file."""
        return self.read([i])[0]

    def read(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """As `features`, of several clips by increasing numbers; faster than one by one."""
        return [np.asarray(flat, np.float32).reshape(-1, self.header.feature_dim) for flat in self.rows[list(numbers)]]


def open_features(path: str | os.PathLike, split: str | None = None) -> PlayFairFeatures:
    """Opens a feature file; it is passed through once for the clips' lengths, a block at a time.

    Args:
      path: the HDF5 file.
      split: the group of the clips; may be None where the file has one only.

    Raises:
      InputError: no such file, truncated or not HDF5, not such a file, several splits and none chosen, a uid that comes
        twice or has no label, features that are no whole number of frames.
      MissingExtraError: h5py is not installed.
    """
    h5py = require("h5py", extra="io")
    if not os.path.isfile(path):
        raise InputError(f"there is no feature file {path}")
    try:
        file = h5py.File(path, "r")
        group = _group(file, path, split)
        uids, labels = _labels(group, path)
        dim, rows = _dimension(group, path), group["features"]
        if rows.shape != (len(uids),):
            raise InputError(f"{path} has {len(uids)} uids, but features of the shape {list(rows.shape)}")
        clips = tuple(_clips(rows, uids, labels, dim, group.name.strip("/"), path))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as a feature file of HDF5: {files.reason(error)}") from error
    return PlayFairFeatures(StoreHeader(dim, "float32", ()), clips, labels, rows)


def write_features(
    path: str | os.PathLike,
    clips: Iterable[tuple[str, int, np.ndarray]],
    *,
    feature_dim: int,
    split: str = "validation",
) -> None:
    """Writes a feature file, in place of the one that may be there; one cut short leaves what was there before.

    Args:
      path: the HDF5 file.
      clips: uid, class number and features [T, D] of every clip, taken one at a time.
      feature_dim: D.
      split: the group to put them in.

    Raises:
      InputError: features of another shape, a uid that comes twice, or the file cannot be written.
      MissingExtraError: h5py is not installed.
    """
    h5py = require("h5py", extra="io")
    uids: dict[str, int] = {}
    try:
        with files.atomic(path) as partial, h5py.File(partial, "w") as file:
            group = file.create_group(split)
            vector = h5py.vlen_dtype(np.float32)
            rows = group.create_dataset("features", (0,), vector, maxshape=(None,), chunks=(_BLOCK,))
            rows.attrs["feature_dim"] = feature_dim
            for uid, label, features in clips:
                check_shape(f"the features of {uid}", features, ("T", feature_dim))
                check_floating(f"the features of {uid}", features)
                if uid in uids:
                    raise InputError(f"the clip {uid} comes twice")
                rows.resize(len(uids) + 1, axis=0)
                rows[len(uids)] = np.asarray(features, np.float32).reshape(-1)
                uids[uid] = int(label)
            numbers, text = np.array(list(uids.values()), np.int64), h5py.string_dtype()
            for name, values in {"label": numbers, "action": numbers}.items():
                group[f"labels/{name}"] = values
            for name in ("labels/uid", "uids"):
                group.create_dataset(name, data=list(uids), dtype=text)
    except (OSError, RuntimeError) as error:
        raise InputError(f"the feature file {path} cannot be written: {files.reason(error)}") from error


def _group(file: Any, path: str | os.PathLike, split: str | None) -> Any:
    splits = [name for name, group in file.items() if hasattr(group, "keys") and "features" in group]
    if not splits:
        raise InputError(
            f"{path} is not a feature file of Play Fair: it should hold SPLIT/features, found {sorted(file)}"
        )
    if split is None and len(splits) > 1:
        raise InputError(f"{path} holds the splits {splits}: choose one")
    if split is not None and split not in splits:
        raise InputError(f"{path} holds the splits {splits}, not {split!r}")
    return file[split or splits[0]]


def _labels(group: Any, path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """The uids in the order of the features, and their class numbers [N]."""
    if "uids" not in group or "labels" not in group:
        raise InputError(f"{path} is not a feature file of Play Fair: {group.name} lacks uids or labels")
    uids = [_text(uid) for uid in group["uids"][()]]
    repeated = next((uid for uid, count in Counter(uids).items() if count > 1), None)
    if repeated is not None:
        raise InputError(f"{path} holds the uid {repeated} twice")
    table = group["labels"]
    names = [name for name in ("label", "action") if name in table]
    if not names or "uid" not in table:
        raise InputError(f"{path} should have labels/uid and labels/label, found {sorted(table)}")
    columns = [np.asarray(table[name][()]) for name in names]
    if any(not np.issubdtype(column.dtype, np.integer) for column in columns):
        raise InputError(f"labels/{names[0]} of {path} should be class numbers, found {columns[0].dtype}")
    if any(not np.array_equal(columns[0], column) for column in columns):
        raise InputError(f"labels/label and labels/action of {path} disagree")
    of = dict(zip((_text(uid) for uid in table["uid"][()]), columns[0].tolist(), strict=True))
    missing = [uid for uid in uids if uid not in of]
    if missing:
        raise InputError(
            f"{path} has no label for {len(missing)} of its {len(uids)} clips, the first of them {missing[0]}"
        )
    return uids, np.array([of[uid] for uid in uids], np.int64)


def _dimension(group: Any, path: str | os.PathLike) -> int:
    dim = group["features"].attrs.get("feature_dim")
    if not isinstance(dim, int | np.integer) or dim < 1:
        raise InputError(f"the features of {path} should have the attribute feature_dim, at least 1, found {dim!r}")
    return int(dim)


def _clips(
    rows: Any, uids: list[str], labels: np.ndarray, dim: int, split: str, path: str | os.PathLike
) -> Iterator[StoredClip]:
    offset = 0
    for start in range(0, len(uids), _BLOCK):
        for i, flat in enumerate(rows[start : start + _BLOCK], start):
            num_frames, rest = divmod(len(flat), dim)
            if rest or num_frames == 0:
                raise InputError(
                    f"the clip {uids[i]} in {path} should have a whole number of frames of {dim} features, "
                    f"found {len(flat)} numbers"
                )
            yield StoredClip(uids[i], "", str(labels[i]), split, num_frames, offset)
            offset += num_frames


def _text(uid: Any) -> str:
    return uid.decode() if isinstance(uid, bytes) else str(uid)

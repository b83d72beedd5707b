"""Feature files of Play Fair (Price & Damen, 2020): one HDF5 file with the features of every frame of many clips.

{split}/features        variable-length float32, the features [T, D] of a clip, flattened; attribute feature_dim, D
{split}/uids            what the clips are called
{split}/labels/{uid, label, action}   the class numbers, by uid
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, check_floating, check_shape, listed, repeated, require, shown
from esv_jax.data.feature_store import LARGEST_DIM, StoredClip, StoreHeader

_BLOCK = 256  # clips that are looked at together when lengths are counted
_LARGEST = 256 << 20  # bytes of a column of the file, and of a chunk, which HDF5 reads whole


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
        flat, dim = _flat(self.rows, list(numbers)), self.header.feature_dim
        with np.errstate(over="ignore"):  # float64 too large for float32 is infinite, which is told of where it matters
            return [np.asarray(values, np.float32).reshape(-1, dim) for values in flat]


def open_features(path: str | os.PathLike, split: str | None = None) -> PlayFairFeatures:
    """Opens a feature file; it is passed through once for the clips' lengths, a block at a time.

    Args:
      path: the HDF5 file.
      split: the group of the clips; may be None where the file has one only.

    Raises:
      InputError: no such file, truncated or not HDF5, not such a file, several splits and none chosen, a uid that comes
        twice or has no label, features that are no whole number of frames, links (other than hard ones) and data that
        lie in other files, more clips than the file has bytes.
      MissingExtraError: h5py is not installed.
    """
    h5py = require("h5py", extra="io")
    if not os.path.isfile(path):
        raise InputError(f"there is no feature file {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        found = files.looks_like(path)
        found = None if found == "an HDF5 file" else found
        why = f"it is {found}" if found else files.reason(error)
        raise InputError(f"{path} cannot be read as a feature file of HDF5: {why}") from error
    try:
        group = _group(file, path, split)
        dim, rows = _rows(group, path)
        uids, labels = _labels(group, path)
        if rows.shape != (len(uids),):
            raise InputError(f"{path} has {len(uids)} uids, but features of the shape {list(rows.shape)}")
        clips = tuple(_clips(rows, uids, labels, dim, group.name.strip("/"), path))
    except InputError:
        file.close()
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, OverflowError, MemoryError) as error:
        file.close()
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
      InputError: features of another shape, a uid that comes twice, a split that is no name of a group, or the file
        cannot be written.
      MissingExtraError: h5py is not installed.
    """
    h5py = require("h5py", extra="io")
    if split.strip(".") == "" or "/" in split or not files.is_one_line(split):
        raise InputError(f"the split should be a name that a group of {path} can have, found {split!r:.80}")
    uids: dict[str, int] = {}
    try:
        with files.atomic(path) as partial, h5py.File(partial, "w") as file:
            group = file.create_group(split)
            vector = h5py.vlen_dtype(np.float32)
            rows = group.create_dataset("features", (0,), vector, maxshape=(None,), chunks=(_BLOCK,))
            rows.attrs["feature_dim"] = feature_dim
            for uid, label, features in clips:
                check_shape(f"the features of {shown(uid)}", features, ("T", feature_dim))
                check_floating(f"the features of {shown(uid)}", features)
                if uid in uids:
                    raise InputError(f"the clip {shown(uid)} comes twice")
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
    groups = {name: _item(file, name, path) for name in file}
    splits = [name for name, group in groups.items() if hasattr(group, "keys") and _holds(group, "features")]
    if not splits:
        raise InputError(
            f"{path} is not a feature file of Play Fair: it should hold SPLIT/features, found {listed(groups)}"
        )
    if split is None and len(splits) > 1:
        raise InputError(f"{path} holds the splits {listed(splits)}: choose one")
    if split is not None and split not in splits:
        raise InputError(f"{path} holds the splits {listed(splits)}, not {split!r:.80}")
    return groups[split or splits[0]]


def _holds(group: Any, name: str) -> bool:
    """Whether a group has something of a name; `name in group` would follow links, into other files too."""
    return group.id.links.exists(name.encode())


def _item(group: Any, name: str, path: str | os.PathLike) -> Any:
    """What a group holds under a name, if the file itself holds it: reading must not open other files."""
    h5py = require("h5py", extra="io")
    where = f"{group.name.rstrip('/')}/{name}"
    if group.id.links.get_info(name.encode(errors="surrogateescape")).type != h5py.h5l.TYPE_HARD:
        raise InputError(
            f"{where!r:.80} in {path} is a link, which is not followed: a feature file should hold its data"
        )
    item = group[name]
    if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
        raise InputError(f"{where!r:.80} in {path} lies in other files: a feature file should hold its data")
    return item


def _column(group: Any, name: str, path: str | os.PathLike) -> Any:
    """A dataset of one value a clip that is small enough to be read."""
    h5py = require("h5py", extra="io")
    column = _item(group, name, path)
    where = f"{shown(column.name)} of {path}"
    if not isinstance(column, h5py.Dataset) or column.ndim != 1:
        found = f"the shape {list(column.shape or ())}" if isinstance(column, h5py.Dataset) else "no dataset"
        raise InputError(f"{where} should be one value a clip, found {found}")
    size = os.path.getsize(path)
    if len(column) > size:
        raise InputError(f"{where} should be of the clips in the file, found {len(column):,} of them in {size:,} bytes")
    at_once = math.prod(column.chunks or (0,)) * column.dtype.itemsize
    if max(column.nbytes, at_once) > _LARGEST:
        raise InputError(f"{where} should have at most {_LARGEST:,} bytes, found {max(column.nbytes, at_once):,}")
    return column


def _labels(group: Any, path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """The uids in the order of the features, and their class numbers [N]."""
    if not _holds(group, "uids") or not _holds(group, "labels"):
        raise InputError(f"{path} is not a feature file of Play Fair: {shown(group.name)} lacks uids or labels")
    uids = _texts(group, "uids", path)
    twice = repeated(uids)
    if twice:
        raise InputError(f"{path} holds the uid {twice[0]!r:.80} twice")
    table = _item(group, "labels", path)
    if not hasattr(table, "keys"):
        raise InputError(f"{shown(table.name)} of {path} should be a group of uid and label, found a dataset")
    names = [name for name in ("label", "action") if _holds(table, name)]
    if not names or not _holds(table, "uid"):
        raise InputError(f"{path} should have labels/uid and labels/label, found {listed(table)}")
    columns = [_class_numbers(table, name, path) for name in names]
    if any(not np.array_equal(columns[0], column) for column in columns):
        raise InputError(f"labels/label and labels/action of {path} disagree")
    known = _texts(table, "uid", path)
    if len(known) != len(columns[0]):
        raise InputError(f"{path} should have a label for every uid, found {len(columns[0])} for {len(known)}")
    of = dict(zip(known, columns[0].tolist(), strict=True))
    if len(of) < len(known):
        raise InputError(f"labels/uid of {path} holds a uid twice")
    missing = [uid for uid in uids if uid not in of]
    if missing:
        raise InputError(f"{path} has no label for {len(missing)} of its {len(uids)} clips: {listed(missing)}")
    return uids, np.array([of[uid] for uid in uids], np.int64)


def _class_numbers(table: Any, name: str, path: str | os.PathLike) -> np.ndarray:
    h5py = require("h5py", extra="io")
    column = _column(table, name, path)
    if not np.issubdtype(column.dtype, np.integer) or h5py.check_enum_dtype(column.dtype):
        raise InputError(f"labels/{name} of {path} should be class numbers, found {_kind(column.dtype)}")
    return column[()]


def _texts(group: Any, name: str, path: str | os.PathLike) -> list[str]:
    """A column of uids: texts, of variable or fixed length, or whole numbers."""
    h5py = require("h5py", extra="io")
    column = _column(group, name, path)
    is_text = h5py.check_string_dtype(column.dtype) is not None
    if not is_text and (not np.issubdtype(column.dtype, np.integer) or h5py.check_enum_dtype(column.dtype)):
        raise InputError(
            f"{shown(column.name)} of {path} should be texts or whole numbers, found {_kind(column.dtype)}"
        )
    try:
        texts = [uid.decode() if isinstance(uid, bytes) else str(uid) for uid in column[()]]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{shown(column.name)} of {path} should be text in UTF-8, found {error.object!r:.80}"
        ) from error
    bad = next((text for text in texts if not text or not files.is_one_line(text)), None)
    if bad is not None:
        raise InputError(f"{shown(column.name)} of {path} should be names of one line each, found {bad!r:.80}")
    return texts


def _rows(group: Any, path: str | os.PathLike) -> tuple[int, Any]:
    """The dimension of the features, and the dataset of them."""
    h5py = require("h5py", extra="io")
    rows = _column(group, "features", path)
    kind = h5py.check_vlen_dtype(rows.dtype)
    if kind is None or not isinstance(kind, np.dtype) or kind.kind not in "fiu" or h5py.check_enum_dtype(kind):
        raise InputError(
            f"{shown(rows.name)} of {path} should be numbers of variable length, one row a clip, found "
            f"{_kind(rows.dtype)}"
        )
    dim = rows.attrs.get("feature_dim")
    if not isinstance(dim, int | np.integer) or isinstance(dim, bool) or not 1 <= dim <= LARGEST_DIM:
        raise InputError(
            f"the features of {path} should have the attribute feature_dim, 1 to {LARGEST_DIM:,}, found {dim!r:.80}"
        )
    return int(dim), rows


def _flat(rows: Any, which: slice | list[int]) -> list[np.ndarray]:
    """Some rows of a dataset of variable length.

    h5py gives those of the other byte order as if they were of this machine's: the bytes are those of the file's type.
    """
    h5py = require("h5py", extra="io")
    kind = h5py.check_vlen_dtype(rows.dtype)
    try:
        found = rows[which]
    except OSError as error:
        raise InputError(f"{shown(rows.name)} of {rows.file.filename} cannot be read: {files.reason(error)}") from error
    return [values if values.dtype == kind else values.view(kind) for values in found]


def _kind(dtype: np.dtype) -> str:
    """What the values of a dataset are, in words."""
    h5py = require("h5py", extra="io")
    if h5py.check_enum_dtype(dtype):
        return "an enumeration"
    if h5py.check_ref_dtype(dtype):
        return "references"
    if h5py.check_string_dtype(dtype):
        return "texts"
    if h5py.check_vlen_dtype(dtype) is not None:
        return f"rows of {h5py.check_vlen_dtype(dtype)}"
    return f"compounds of {listed(dtype.names)}" if dtype.names else str(dtype)


def _clips(
    rows: Any, uids: list[str], labels: np.ndarray, dim: int, split: str, path: str | os.PathLike
) -> Iterator[StoredClip]:
    offset = 0
    for start in range(0, len(uids), _BLOCK):
        for i, flat in enumerate(_flat(rows, slice(start, start + _BLOCK)), start):
            num_frames, rest = divmod(len(flat), dim)
            if rest or num_frames == 0:
                raise InputError(
                    f"the clip {shown(uids[i])} in {path} should have a whole number of frames of {dim} features, "
                    f"found {len(flat)} numbers"
                )
            yield StoredClip(uids[i], "", str(labels[i]), split, num_frames, offset)
            offset += num_frames

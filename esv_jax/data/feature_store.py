"""Features of every frame of many clips, in a folder of plain files.

store.json     what the features are: backbone, preprocessing, classes, dtype; written first
features.bin   little-endian float16 or float32 rows [D] of all frames, clips one after another
clips.csv      uid,path,label,split,num_frames,offset: a line is added when the clip's rows are safely on disk
backbone/      the backbone's own model folder (put there by whoever extracts), so that the store needs nothing else

A run that is killed leaves at most rows, or half a line, that no clip owns; the next run cuts them off and goes on.
"""

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, check_finite, check_floating, check_shape, version
from esv_jax.video.preprocess import Preprocess, preprocess_from_json

FORMAT_VERSION = 1
DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
_HEADER_FILE, _FEATURES_FILE, _CLIPS_FILE = "store.json", "features.bin", "clips.csv"


class StoreHeader(NamedTuple):
    """What the features of a store are.

    Attributes:
      feature_dim: D.
      dtype: "float16" or "float32".
      classes: names of the C classes, in the order of a model's scores.
      backbone: name and digest of the network that made the features, or None where it is unknown.
      preprocess: what was done to its images, or None where it is unknown.
    """

    feature_dim: int
    dtype: str
    classes: tuple[str, ...]
    backbone: dict[str, str] | None = None
    preprocess: Preprocess | None = None


class StoredClip(NamedTuple):
    """A line of clips.csv: rows offset .. offset + num_frames of the features are this clip's."""

    uid: str
    path: str
    label: str
    split: str
    num_frames: int
    offset: int


class FeatureStore(NamedTuple):
    """A store open for reading.

    Attributes:
      header: what the features are.
      clips: in the order in which they were stored.
      rows: [sum of num_frames, D], memory-mapped.
    """

    header: StoreHeader
    clips: tuple[StoredClip, ...]
    rows: np.ndarray

    def features(self, i: int) -> np.ndarray:
        """Features [num_frames, D] of clip i, in the store's dtype; a view of the file."""
        clip = self.clips[i]
        return self.rows[clip.offset : clip.offset + clip.num_frames]

    def read(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """As `features`, of several clips, but copies: what was read of a memory map counts as this process's."""
        dim, dtype = self.header.feature_dim, self.rows.dtype
        features = []
        with open(self.rows.filename, "rb") as file:  # type: ignore[attr-defined]
            for clip in (self.clips[i] for i in numbers):
                file.seek(clip.offset * dim * dtype.itemsize)
                features.append(np.fromfile(file, dtype, clip.num_frames * dim).reshape(-1, dim))
        return features


class FeatureWriter(contextlib.AbstractContextManager["FeatureWriter"]):
    """Adds clips to a store. Made by `create_or_append`; a context manager that closes its files.

    Attributes:
      done: the clips that the store holds, by uid.
      num_new_frames: how many frames this writer has added.
    """

    def __init__(self, folder: Path, header: StoreHeader):
        self._folder, self._header = folder, header
        with contextlib.ExitStack() as opened:
            self._rows = opened.enter_context(open(folder / _FEATURES_FILE, "ab", buffering=0))
            self._clips = opened.enter_context(open(folder / _CLIPS_FILE, "ab", buffering=0))
            opened.enter_context(files.exclusive_lock(folder / _CLIPS_FILE, f"the feature store {folder}"))
            clips, num_bytes = _read_clips(folder, header)
            self._num_rows = sum(clip.num_frames for clip in clips)
            self._clips.truncate(num_bytes)
            self._rows.truncate(self._num_rows * _row_bytes(header))
            if num_bytes == 0:
                _write(self._clips, _csv_line(StoredClip._fields))
            self._opened = opened.pop_all()
        self.done = {clip.uid: clip for clip in clips}
        self.num_new_frames = 0

    def append(self, uid: str, path: str, label: str, split: str, features: np.ndarray) -> None:
        """Stores a clip; when this returns, it survives the death of the process.

        Args:
          uid: what the clip is called; unique in the store.
          path: where the clip came from.
          label: one of the store's classes.
          split: "train", "validation", "test" or what you like.
          features: floating point [num_frames, D], num_frames >= 1; rounded to the store's dtype.

        Raises:
          InputError: wrong shape or dtype, NaN or infinite (also by rounding to float16), a uid that is there, a label
            that is not a class, or a disk that cannot be written (the writer is closed then).
        """
        header = self._header
        check_shape(f"the features of {uid}", features, ("T", header.feature_dim))
        check_floating(f"the features of {uid}", features)
        check_finite(f"the features of {uid}", features)
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(features, DTYPES[header.dtype])
        check_finite(f"the features of {uid} as {header.dtype}", rows)
        if len(rows) == 0:
            raise InputError(f"the features of {uid} should be of at least 1 frame, found none")
        if uid in self.done:
            raise InputError(f"the clip {uid} is in the store {self._folder} already")
        if label not in header.classes:
            raise InputError(f"the label {label!r} of {uid} is not one of the store's {len(header.classes)} classes")
        if any(mark in text for text in (uid, path, label, split) for mark in "\r\n"):
            raise InputError(f"a uid, path, label or split of a clip should be of one line, found {uid!r}")
        clip = StoredClip(uid, path, label, split, len(rows), self._num_rows)
        try:
            with files.disk_errors(f"the store {self._folder} cannot be written"):
                _write(self._rows, rows.tobytes())
                _write(self._clips, _csv_line(clip))
        except InputError:
            self.close()
            raise
        self.done[uid] = clip
        self._num_rows += len(rows)
        self.num_new_frames += len(rows)

    @property
    def closed(self) -> bool:
        """Whether nothing can be added any more."""
        return self._rows.closed

    def close(self) -> None:
        """Closes the files; the store stays as it is."""
        self._opened.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def create_or_append(
    path: str | os.PathLike, header: StoreHeader, versions: Mapping[str, str] | None = None
) -> FeatureWriter:
    """Opens the store at `path` to add clips, making it if it is not there.

    A store that is made keeps `versions`, those of the packages that decide its features, in store.json.

    Raises:
      InputError: the header contradicts itself or is not that of the store that is there, the folder holds something
        else, is damaged, cannot be written, or another process is adding to it.
    """
    folder = Path(path)
    _check_header(header, "the header of the store")
    with files.disk_errors(f"the store {folder} cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _HEADER_FILE).exists():
            if (folder / _FEATURES_FILE).exists() or (folder / _CLIPS_FILE).exists():
                raise InputError(f"{folder} holds a feature store that has lost its {_HEADER_FILE}")
            _write_header(folder, header, versions or {})
        _check_same(read_header(folder), header, folder)
        return FeatureWriter(folder, header)


def open_store(path: str | os.PathLike) -> FeatureStore:
    """Opens a store for reading; what an interrupted run left behind is not seen.

    Raises:
      InputError: there is no store at `path`, it is damaged, or of a newer format.
    """
    folder = Path(path)
    header = read_header(folder)
    clips, _ = _read_clips(folder, header)
    shape = (sum(clip.num_frames for clip in clips), header.feature_dim)
    if not clips:  # an empty file cannot be mapped
        return FeatureStore(header, clips, np.empty(shape, DTYPES[header.dtype]))
    rows = np.memmap(folder / _FEATURES_FILE, DTYPES[header.dtype], "r", shape=shape)
    return FeatureStore(header, clips, rows)


def read_header(path: str | os.PathLike) -> StoreHeader:
    """The header of the store at `path`.

    Raises:
      InputError: as `open_store`.
    """
    folder = Path(path)
    fields = files.read_card(
        folder,
        _HEADER_FILE,
        "feature store",
        format_version=FORMAT_VERSION,
        fields=StoreHeader._fields,
        optional=("esv_jax_version", "versions"),
    )
    fields["classes"] = tuple(fields["classes"])
    fields["preprocess"] = fields["preprocess"] and preprocess_from_json(fields["preprocess"])
    header = StoreHeader(**fields)
    _check_header(header, str(folder / _HEADER_FILE))
    return header


def _write_header(folder: Path, header: StoreHeader, versions: Mapping[str, str]) -> None:
    made_by = {"format_version": FORMAT_VERSION, "esv_jax_version": version("esv-jax"), "versions": dict(versions)}
    preprocess = header.preprocess and header.preprocess._asdict()
    files.write_json(folder / _HEADER_FILE, {**made_by, **header._asdict(), "preprocess": preprocess})


def _check_header(header: StoreHeader, where: str) -> None:
    if header.dtype not in DTYPES:
        raise InputError(f"dtype in {where} should be one of {list(DTYPES)}, found {header.dtype!r}")
    if not isinstance(header.feature_dim, int) or header.feature_dim < 1:
        raise InputError(f"feature_dim in {where} should be an integer of at least 1, found {header.feature_dim!r}")
    if not header.classes or len(set(header.classes)) != len(header.classes):
        raise InputError(f"classes in {where} should be different names, found {list(header.classes)}")


def _check_same(found: StoreHeader, wanted: StoreHeader, folder: Path) -> None:
    for name, old, new in zip(StoreHeader._fields, found, wanted, strict=True):
        if old != new:
            raise InputError(f"the store {folder} has {name} {old}, but {new} is to be added: use another folder")


def _read_clips(folder: Path, header: StoreHeader) -> tuple[tuple[StoredClip, ...], int]:
    """The clips of a store, and how many bytes of clips.csv are theirs: a last line without an end is not one."""
    file = folder / _CLIPS_FILE
    try:
        content = file.read_bytes() if file.exists() else b""
        num_bytes = content.rfind(b"\n") + 1
        lines = list(csv.reader(io.StringIO(content[:num_bytes].decode(), newline="")))
        clips = tuple(StoredClip(*line[:4], *map(int, line[4:])) for line in lines[1:])  # type: ignore[arg-type]
        size = os.path.getsize(folder / _FEATURES_FILE) if clips else 0
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"the feature store {folder} is damaged: {error}") from error
    if lines and lines[0] != list(StoredClip._fields):
        raise InputError(
            f"{file} should begin with the line {','.join(StoredClip._fields)}, found {','.join(lines[0])}"
        )
    offset = 0
    for clip in clips:
        if clip.offset != offset or clip.num_frames < 1 or clip.label not in header.classes:
            raise InputError(f"{file} is damaged at the clip {clip.uid}")
        offset += clip.num_frames
    if len({clip.uid for clip in clips}) != len(clips):
        raise InputError(f"{file} is damaged: it holds a uid twice")
    promised = offset * _row_bytes(header)
    if size < promised:
        raise InputError(f"{folder / _FEATURES_FILE} is damaged: it has {size} bytes of the {promised} of its clips")
    return clips, num_bytes


def _row_bytes(header: StoreHeader) -> int:
    return header.feature_dim * DTYPES[header.dtype].itemsize


def _csv_line(values: Iterable[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode()


def _write(file: Any, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
    os.fsync(file.fileno())

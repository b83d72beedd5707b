"""Features of every frame of many clips, in a folder of plain files.

store.json     what the features are: backbone, preprocessing, classes, dtype; written first
features.bin   little-endian float16 or float32 rows [D] of all frames, clips one after another
clips.csv      uid,path,label,split,num_frames,offset,checksum: a line is added when the clip's rows are safely on disk
backbone/      the backbone's own model folder (put there by whoever extracts), so that the store needs nothing else

A run that is killed leaves at most rows, or half a line, that no clip owns; the next run cuts them off and goes on.
The checksum, CRC-32 of the rest of the line and of the clip's rows, is looked at whenever these are read. Stores of
format 1 have none, and get none when clips are added.
"""

import contextlib
import csv
import io
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, check_finite, check_floating, check_shape, listed, shown, version
from esv_jax.video.preprocess import Preprocess, preprocess_from_json

FORMAT_VERSION = 2
LARGEST_DIM = 1 << 24
DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
_LARGEST_TABLE = 512 << 20  # bytes of clips.csv, of some million clips
_REPAIR = "and run again what made the store"
HEADER_FILE, FEATURES_FILE, CLIPS_FILE = "store.json", "features.bin", "clips.csv"


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
    """A line of clips.csv: rows offset .. offset + num_frames of the features are this clip's.

    The path is relative to the folder of the clips, which the store does not know. The checksum is 8 hex digits, or ""
    where there is none.
    """

    uid: str
    path: str
    label: str
    split: str
    num_frames: int
    offset: int
    checksum: str = ""


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
        """Features [num_frames, D] of clip i, in the store's dtype; a view of the file.

        Raises:
          InputError: they are not what was stored.
        """
        clip = self.clips[i]
        rows = self.rows[clip.offset : clip.offset + clip.num_frames]
        check_rows(clip, rows, self.rows.filename)  # type: ignore[attr-defined]
        return rows

    def read(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """As `features`, of several clips, but copies: what was read of a memory map counts as this process's."""
        if not len(numbers):  # as of a store without clips, whose rows are no file
            return []
        dim, dtype, path = self.header.feature_dim, self.rows.dtype, self.rows.filename  # type: ignore[attr-defined]
        features = []
        with files.disk_errors(f"{path} cannot be read"), open(path, "rb") as file:
            for clip in (self.clips[i] for i in numbers):
                file.seek(clip.offset * dim * dtype.itemsize)
                rows = np.fromfile(file, dtype, clip.num_frames * dim)
                if len(rows) < clip.num_frames * dim:
                    raise InputError(f"{path} has become shorter since it was opened: {_REPAIR[4:]}")
                check_rows(clip, rows, path)
                features.append(rows.reshape(-1, dim))
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
            self._rows = opened.enter_context(open(folder / FEATURES_FILE, "ab", buffering=0))
            self._clips = opened.enter_context(open(folder / CLIPS_FILE, "ab", buffering=0))
            opened.enter_context(files.exclusive_lock(folder / CLIPS_FILE, f"the feature store {folder}"))
            clips, num_bytes, self._columns = _read_clips(folder, header)
            self._num_rows = sum(clip.num_frames for clip in clips)
            self._clips.truncate(num_bytes)
            self._rows.truncate(self._num_rows * _row_bytes(header))
            if num_bytes == 0:
                _write(self._clips, _csv_line(self._columns))
            self._opened = opened.pop_all()
        self.done = {clip.uid: clip for clip in clips}
        self.num_new_frames = 0

    def holds(self, uid: str, label: str, split: str, said: str) -> bool:
        """Whether the clip is in the store, under this label and split, as it is `said` to be.

        Raises:
          InputError: it is there under others.
        """
        stored = self.done.get(uid)
        if stored and (stored.label, stored.split) != (label, split):
            raise InputError(
                f"the store {self._folder} has {shown(uid)} as {stored.label!r:.80} ({shown(stored.split)}), but "
                f"{said} {label!r:.80} ({shown(split)}): use another folder"
            )
        return stored is not None

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
            that is not a class, texts of more than a line, or a disk that cannot be written or a store that is no
            longer where it was (the writer is closed then).
        """
        header = self._header
        name = shown(uid)
        check_shape(f"the features of {name}", features, ("T", header.feature_dim))
        check_floating(f"the features of {name}", features)
        check_finite(f"the features of {name}", features)
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(features, DTYPES[header.dtype])
        check_finite(f"the features of {name} as {header.dtype}", rows)
        if len(rows) == 0:
            raise InputError(f"the features of {name} should be of at least 1 frame, found none")
        if uid in self.done:
            raise InputError(f"the clip {name} is in the store {self._folder} already")
        if label not in header.classes:
            raise InputError(
                f"the label {label!r:.80} of {name} is not one of the store's {len(header.classes)} classes"
            )
        if not all(map(files.is_one_line, (uid, path, label, split))):
            raise InputError(f"a uid, path, label or split of a clip should be of one line of text, found {uid!r:.80}")
        clip = StoredClip(uid, path, label, split, len(rows), self._num_rows)
        if "checksum" in self._columns:
            clip = clip._replace(checksum=_checksum(clip, rows))
        try:
            with files.disk_errors(f"the store {self._folder} cannot be written"):
                self._check_place()
                _write(self._rows, rows.tobytes())
                _write(self._clips, _csv_line(clip[: len(self._columns)]))
        except InputError:
            self.close()
            raise
        self.done[uid] = clip
        self._num_rows += len(rows)
        self.num_new_frames += len(rows)

    def _check_place(self) -> None:
        """Raises InputError if the store was removed or moved: what is written to files without a name is lost."""
        for file, name in ((self._rows, FEATURES_FILE), (self._clips, CLIPS_FILE)):
            path = self._folder / name
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                raise InputError(
                    f"the store {self._folder} was removed or moved while clips were added: {path} is not there now"
                )

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
    folder = _folder(path)
    _check_header(header, "the header of the store")
    with files.disk_errors(f"the store {folder} cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / HEADER_FILE).exists():
            if (folder / FEATURES_FILE).exists() or (folder / CLIPS_FILE).exists():
                raise InputError(f"{folder} holds a feature store that has lost its {HEADER_FILE}")
            _write_header(folder, header, versions or {})
        _check_same(read_header(folder), header, folder)
        return FeatureWriter(folder, header)


def open_store(path: str | os.PathLike) -> FeatureStore:
    """Opens a store for reading; what an interrupted run left behind is not seen.

    Raises:
      InputError: there is no store at `path`, it is damaged, or of a newer format.
    """
    folder = _folder(path)
    header = read_header(folder)
    clips, _, _ = _read_clips(folder, header)
    shape = (sum(clip.num_frames for clip in clips), header.feature_dim)
    if not clips:  # an empty file cannot be mapped
        return FeatureStore(header, clips, np.empty(shape, DTYPES[header.dtype]))
    rows = np.memmap(folder / FEATURES_FILE, DTYPES[header.dtype], "r", shape=shape)
    return FeatureStore(header, clips, rows)


def read_header(path: str | os.PathLike) -> StoreHeader:
    """The header of the store at `path`.

    Raises:
      InputError: as `open_store`.
    """
    folder = _folder(path)
    fields = files.read_card(
        folder,
        HEADER_FILE,
        "feature store",
        format_version=FORMAT_VERSION,
        fields=StoreHeader._fields,
        optional=("esv_jax_version", "versions"),
    )
    where = str(folder / HEADER_FILE)
    if not isinstance(fields["classes"], list):
        raise InputError(f"classes in {where} should be a list of names, found {fields['classes']!r:.80}")
    fields["classes"] = tuple(fields["classes"])
    if fields["preprocess"] is not None:
        try:
            fields["preprocess"] = preprocess_from_json(dict(fields["preprocess"]))
        except (TypeError, ValueError) as error:
            raise InputError(f"{where} should say what was done to the images: {files.reason(error)}") from error
    header = StoreHeader(**fields)
    _check_header(header, where)
    return header


def _folder(path: str | os.PathLike) -> Path:
    if "\0" in str(path):
        raise InputError(f"the path of a feature store should have no NUL in it, found {str(path)!r:.80}")
    return Path(path)


def _write_header(folder: Path, header: StoreHeader, versions: Mapping[str, str]) -> None:
    made_by = {"format_version": FORMAT_VERSION, "esv_jax_version": version("esv-jax"), "versions": dict(versions)}
    preprocess = header.preprocess and header.preprocess._asdict()
    files.write_json(folder / HEADER_FILE, {**made_by, **header._asdict(), "preprocess": preprocess})


def _check_header(header: StoreHeader, where: str) -> None:
    if not isinstance(header.dtype, str) or header.dtype not in DTYPES:
        raise InputError(f"dtype in {where} should be one of {list(DTYPES)}, found {header.dtype!r:.80}")
    dim = header.feature_dim
    if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= LARGEST_DIM:
        raise InputError(
            f"feature_dim in {where} should be an integer of at least 1 and at most {LARGEST_DIM}, found {dim!r:.80}"
        )
    classes = header.classes
    strange = [name for name in classes if not isinstance(name, str) or not files.is_one_line(name)]
    if strange:
        raise InputError(f"classes in {where} should be names of one line each, found {strange[0]!r:.80}")
    if not classes or len(set(classes)) != len(classes):
        raise InputError(f"classes in {where} should be different names, found {listed(classes) or 'none'}")
    backbone = header.backbone
    if backbone is not None and not (
        isinstance(backbone, dict) and all(isinstance(text, str) for text in backbone.values())
    ):
        raise InputError(f"backbone in {where} should be a name and a digest, found {backbone!r:.80}")


def _check_same(found: StoreHeader, wanted: StoreHeader, folder: Path) -> None:
    for name, old, new in zip(StoreHeader._fields, found, wanted, strict=True):
        if old != new:
            raise InputError(
                f"the store {folder} has {name} {_told(old)}, but {_told(new)} is to be added: use another folder"
            )


def _told(value: Any) -> str:
    """A field of a header in a sentence; of the names of classes, the first and how many."""
    return f"{listed(value)} ({len(value)})" if type(value) is tuple else f"{value!s:.120}"


def _read_clips(folder: Path, header: StoreHeader) -> tuple[tuple[StoredClip, ...], int, tuple[str, ...]]:
    """The clips of a store, how many bytes of clips.csv are theirs (a last line without an end is not one), and its
    columns."""
    file, rows = folder / CLIPS_FILE, folder / FEATURES_FILE
    with files.disk_errors(f"the feature store {folder} cannot be read"):
        size = os.path.getsize(rows) if rows.exists() else 0
        if file.exists() and os.path.getsize(file) > _LARGEST_TABLE:
            raise InputError(f"{file} should have at most {_LARGEST_TABLE:,} bytes, found {os.path.getsize(file):,}")
        content = file.read_bytes() if file.exists() else b""
    num_bytes = content.rfind(b"\n") + 1
    if not num_bytes:  # a killed run has written no rows yet
        if size or not _csv_line(StoredClip._fields).startswith(content):
            raise InputError(
                f"{folder} has lost its {CLIPS_FILE}, which says whose features it holds: remove it, {_REPAIR}"
            )
        return (), 0, StoredClip._fields
    lines = csv.reader(io.TextIOWrapper(io.BytesIO(content[:num_bytes]), "utf-8", newline=""), strict=True)
    clips: list[StoredClip] = []
    known: set[str] = set()
    offset = 0
    try:
        columns = tuple(next(lines))
        if columns not in (StoredClip._fields, StoredClip._fields[:-1]):
            raise InputError(
                f"{file} should begin with the line {','.join(StoredClip._fields)}, found {listed(columns, 8)}"
            )
        classes = set(header.classes)
        for line in lines:
            clip = _clip_of_line(line, len(columns))
            if clip is None or clip.offset != offset or clip.label not in classes:
                raise InputError(
                    f"{file} is damaged at line {lines.line_num}: take away this line and those below it, {_REPAIR}"
                )
            if clip.uid in known:
                raise InputError(f"{file} is damaged: it holds a uid twice, {shown(clip.uid)}")
            known.add(clip.uid)
            clips.append(clip)
            offset += clip.num_frames
            if offset * _row_bytes(header) > size:
                raise InputError(
                    f"{rows} is damaged: it has {size} bytes, which end before those of the clip {shown(clip.uid)}: "
                    f"take away line {lines.line_num} of {CLIPS_FILE} and those below it, {_REPAIR}"
                )
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} is damaged: {files.reason(error)}") from error
    return tuple(clips), num_bytes, columns


def _clip_of_line(line: list[str], num_columns: int) -> StoredClip | None:
    """The clip of a line of clips.csv, None if it is none."""
    if len(line) != num_columns or not all(map(files.is_one_line, line)):
        return None
    num_frames, offset = (files.whole_number(text) for text in line[4:6])
    if not num_frames or offset is None:
        return None
    return StoredClip(*line[:4], num_frames, offset, *line[6:])  # type: ignore[arg-type, call-arg]


def _checksum(clip: StoredClip, rows: np.ndarray) -> str:
    start = zlib.crc32(_csv_line(clip._replace(checksum="")))
    return f"{zlib.crc32(np.ascontiguousarray(rows).data.cast('B'), start):08x}"


def check_rows(clip: StoredClip, rows: np.ndarray, path: str | os.PathLike) -> None:
    """Raises InputError unless these are the rows [num_frames * D] of a clip of the file at `path`."""
    if clip.checksum and _checksum(clip, rows) != clip.checksum:
        folder = os.path.dirname(path)
        raise InputError(
            f"the clip {shown(clip.uid)} in {folder} is damaged: its features, or its line, are not those that were "
            f"stored; take away this line of {CLIPS_FILE} and those below it, {_REPAIR}"
        )


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

"""What is in the folder of a results store: a zarr (v3) folder that nothing is read of which is not as it was written.

zarr.json                  the root group; its attributes: format, version, and the configuration of all groups
num_frames=8/zarr.json     a group for every number of frames; its attributes: the provenance
num_frames=8/esv/c/k/0/0   chunk k: a batch of videos, uncompressed (values hardly compress), and its crc32c
num_frames=8/failed/k.json which videos of chunk k have no values, NaN, and why; written before the chunk

Every chunk ends with a checksum; the attributes of a group hold a digest of its metadata. Stores of format 1 have
neither and are read without. Sampled values have 95 % intervals, where the group's attributes tell of their level;
older stores have none, and exact values need none. `store` reads the values, through `checked_store`; `store_writer`
writes them.
"""

import contextlib
import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, require

if TYPE_CHECKING:
    import os


FORMAT = "esv_jax results"
FORMAT_VERSION = 2
OTHER_MACHINES = "other_machines.json"  # that wrote to a store, besides the one that began it
METADATA_FILE = "zarr.json"
_FAILED = "failed"
FLOAT = np.dtype("<f4")
DIGEST = "metadata_digest"
CHECKSUM_BYTES = 4
# What belongs to a group: the values, in chunks of videos, and the index, a chunk each.
VALUES = {
    **dict.fromkeys(("esv", "std_error", "low", "high"), ("video", "frame", "class")),
    "score": ("video", "class"),
}
# Of sampled values alone, and the attribute that tells of them.
INTERVAL, INTERVAL_LEVEL = ("low", "high"), "interval_level"
INDEX = {
    "uid": ("video",),
    "label": ("video",),
    "num_frames_in_video": ("video",),
    "frame_index": ("video", "frame"),
    "prior": ("class",),
    "class_name": ("class",),
}
# Letters of all names together, were each as long as the longest: what NumPy keeps of them.
LARGEST_NAMES = 2**26
_TYPES = {"uid": "string", "class_name": "string", "label": "int64", "num_frames_in_video": "int64"}
_TYPES |= {"frame_index": "int64", "prior": "float32", **dict.fromkeys(VALUES, "float32")}
# Bytes of the metadata of a group, with the names of the videos left out, and of those of an array.
LARGEST_METADATA = 16 << 20
_LARGEST_OF_AN_ARRAY = 1 << 16
_LARGEST_TOLD = 200  # letters of what an error quotes


def read_root(path: "str | os.PathLike") -> tuple[int, dict[str, Any]]:
    """The format version and the configuration of a store; raises what `read_configuration` does."""
    file = Path(path) / METADATA_FILE
    if "\0" in str(path):
        raise InputError(f"a results store should be a folder, found a path with a NUL in it: {str(path)!r}")
    if Path(path).is_file():
        raise InputError(f"{path} is a file, and a results store is a folder: unpack it if it is an archive of one")
    if not Path(path).is_dir():
        raise InputError(f"there is no results store {path}")
    try:
        content = files.read_json(file, LARGEST_METADATA)
        attributes = content["attributes"]
        found, version, configuration = (attributes[name] for name in ("format", "format_version", "configuration"))
    except (ValueError, KeyError, TypeError) as error:
        reason = f" ({files.reason(error)})" if isinstance(error, InputError) and file.exists() else ""
        raise InputError(f"{path} is not a results store: it has no {METADATA_FILE} of one{reason}") from error
    if found != FORMAT:
        raise InputError(f"{path} is not a results store: its {METADATA_FILE} is of {_told(found)}")
    if version not in (1, FORMAT_VERSION) or isinstance(version, bool):
        raise InputError(
            f"the results store {path} is of format {_told(version)}, and this esv_jax reads formats 1 and "
            f"{FORMAT_VERSION}: use the esv_jax that made it, or compute the values anew into another folder"
        )
    if not isinstance(configuration, dict):
        raise InputError(f"{file} should hold a configuration by names, found {_told(configuration)}")
    if version > 1 and attributes.get(DIGEST) != metadata_digest(content, []):
        raise InputError(f"{file} has changed since it was written: compute the values anew into another folder")
    return version, configuration


class Group(NamedTuple):
    """What is stored of a number of frames. Made by `read_group`.

    Attributes:
      chunks: where its values are.
      attributes: of its metadata.
      version: of the store's format.
    """

    chunks: "Chunks"
    attributes: dict[str, Any]
    version: int

    def again(self) -> str:
        """How what is missing comes back, in words."""
        command = self.attributes.get("command")
        known = isinstance(command, str) and command.isprintable() and len(command) <= _LARGEST_TOLD
        how = command if known else f"the `command` in its {METADATA_FILE}"
        out = "its" if self.version == FORMAT_VERSION else "another"  # an older format is not added to
        return f"run the command that made it again, with {out} --out: {how}"


def read_group(folder: Path, num_frames: int) -> Group:
    """Reads the metadata of a group, and shows that it is as we write it and that its index is there.

    In stores of format 2 nothing is as large as the metadata say before it is known that the files are: what is read is
    bounded by what is on the disk. Format 1 compressed its index, which may be larger than its files.

    Raises:
      InputError: metadata that are damaged or not ours, or a file of the index is missing or cut short.
    """
    version, _ = read_root(folder)
    group = folder / group_name(num_frames)
    content = _read_metadata(group, group)
    attributes = content.get("attributes")
    is_group = (content.get("zarr_format"), content.get("node_type")) == (3, "group")
    if not is_group or not isinstance(attributes, dict):
        raise damaged_metadata(group, group, "no attributes of a group")
    intervals = INTERVAL_LEVEL in attributes
    arrays = {name: _read_metadata(group, group / name) for name in arrays_of(intervals=intervals)}
    if version > 1 and attributes.get(DIGEST) != metadata_digest(content, arrays.values()):
        raise damaged_metadata(group, group, "it or one of its arrays' has changed since it was written")
    batch_size: Any = attributes.get("batch_size")
    sampled = attributes.get("sampled")
    if not _is_count(batch_size) or not isinstance(sampled, bool) or attributes.get("num_frames") != num_frames:
        found = {name: attributes.get(name) for name in ("num_frames", "batch_size", "sampled")}
        raise damaged_metadata(group, group, f"no metadata of {num_frames} frames: {_told(found)}")
    sizes = {"frame": num_frames}
    for dim, name in (("video", "uid"), ("class", "class_name")):
        shape = arrays[name].get("shape")
        if not isinstance(shape, list) or len(shape) != 1 or not _is_count(shape[0]):
            raise damaged_metadata(group, group / name, f"shape {_told(shape)}")
        sizes[dim] = shape[0]
    for name, found in arrays.items():
        wanted = _expected(name, sizes, batch_size=batch_size, sampled=sampled, version=version)
        for field, value in wanted.items():
            if json.dumps(_core(field, found.get(field))) != json.dumps(value):
                raise damaged_metadata(
                    group, group / name, f"{field} {_told(found.get(field))} in place of {_told(value)}"
                )
    for name, dims in INDEX.items():
        if not _is_there(group, name, [sizes[dim] for dim in dims], version):
            raise InputError(
                f"{chunk_file(group, name)} is missing or cut short, and who the videos are is not known without it: "
                f"remove {group} and compute its values anew"
            )
    options = {"sampled": sampled, "intervals": intervals, "checksums": version > 1}
    chunks = chunks_of(group, sizes, batch_size=batch_size, **options)
    return Group(chunks, attributes, version)


def arrays_of(*, intervals: bool) -> tuple[str, ...]:
    """The names of the arrays of a group, of its values and of its index."""
    return tuple(name for name in (*VALUES, *INDEX) if intervals or name not in INTERVAL)


def metadata_digest(group: Mapping[str, Any], arrays: Iterable[Mapping[str, Any]]) -> str:
    """The digest of a group's metadata, but for itself, and of those of its arrays."""
    attributes = {name: value for name, value in group["attributes"].items() if name != DIGEST}
    return files.short_digest(
        json.dumps(part, sort_keys=True) for part in ({**group, "attributes": attributes}, *arrays)
    )


def check_names(what: str, names: Sequence[str]) -> None:
    """Raises InputError for names that are together too long to be kept."""
    longest = max(names, key=len)
    if len(longest) * len(names) > LARGEST_NAMES:
        raise InputError(
            f"{what} should be {len(names)} names of at most {LARGEST_NAMES // len(names)} letters, found one of "
            f"{len(longest)}: {longest[:40]}..."
        )


def chunk_file(group: Path, name: str, k: int = 0) -> Path:
    """The file of chunk k of an array, where zarr looks for it."""
    more = len((VALUES | INDEX)[name]) - 1
    return group.joinpath(name, "c", str(k), *["0"] * more)


def _read_metadata(group: Path, of: Path) -> dict[str, Any]:
    file = of / METADATA_FILE
    if not file.exists():
        raise damaged_metadata(group, of, "it is missing")
    try:
        content = files.read_json(file, LARGEST_METADATA if of == group else _LARGEST_OF_AN_ARRAY)
    except InputError as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise damaged_metadata(group, of, files.reason(cause)) from error
    if not isinstance(content, dict):
        raise damaged_metadata(group, of, f"no object: {_told(content)}")
    return content


def damaged_metadata(group: Path, of: Path, found: str) -> InputError:
    return InputError(
        f"{of / METADATA_FILE} is not what was written ({found}): remove {group} and compute its values anew"
    )


def _expected(name: str, sizes: Mapping[str, int], *, batch_size: int, sampled: bool, version: int) -> dict[str, Any]:
    """The fields of an array's metadata that decide what is read of it, as `_core` gives them."""
    dims = (VALUES | INDEX)[name]
    shape = [sizes[dim] for dim in dims]
    chunk = [batch_size, *shape[1:]] if name in VALUES else shape
    first = "vlen-utf8" if _TYPES[name] == "string" else "bytes little"
    after = ["crc32c"] if version > 1 else [] if name in VALUES else ["zstd"]
    expected = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": _TYPES[name],
        "chunk_grid": chunk,
        "chunk_key_encoding": "default /",
        "codecs": [first, *after],
        "dimension_names": list(dims),
        "storage_transformers": [],
        "attributes": {},
    }
    fill = {"string": "text", "int64": 0, "float32": 0.0}[_TYPES[name]]
    return {**expected, "fill_value": "NaN" if name in VALUES and (name != "std_error" or sampled) else fill}


def _core(field: str, found: Any) -> Any:
    """A field of an array's metadata without what versions of zarr write differently."""

    def option(of: Any, name: str) -> Any:
        return of["configuration"][name] if isinstance(of.get("configuration"), dict) else ""

    try:
        if field == "chunk_grid":
            return option(found, "chunk_shape") if found["name"] == "regular" else found
        if field == "chunk_key_encoding":
            return f"{found['name']} {option(found, 'separator') or '/'}"
        if field == "codecs":
            options = [{} if c["name"] == "zstd" else c.get("configuration") or {} for c in found]
            return [" ".join([c["name"], *map(str, of.values())]) for c, of in zip(found, options, strict=True)]
        if field == "fill_value":
            return "text" if isinstance(found, str) and found != "NaN" else found
        return {"storage_transformers": [], "attributes": {}}.get(field) if found is None else found
    except (KeyError, TypeError, AttributeError):
        return None


def _is_there(group: Path, name: str, shape: Sequence[int], version: int) -> bool:
    """Whether the only chunk of an array of the index is of the size that its shape asks for."""
    file = chunk_file(group, name)
    try:
        size = file.stat().st_size
        if version == 1:  # compressed
            return size > 0
        if _TYPES[name] != "string":
            return size == math.prod(shape) * np.dtype(_TYPES[name]).itemsize + CHECKSUM_BYTES
        with file.open("rb") as content:  # their number, and of each its length
            return size >= 4 * (1 + shape[0]) + CHECKSUM_BYTES and int.from_bytes(content.read(4), "little") == shape[0]
    except OSError:
        return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _told(found: Any) -> str:
    text = json.dumps(found)
    return text if len(text) <= _LARGEST_TOLD // 2 else f"{text[: _LARGEST_TOLD // 2]}..."


@contextlib.contextmanager
def strings_are_fine() -> Iterator[None]:
    """Keeps older versions of zarr from warning of the way in which all of them store strings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The (codec|dtype) .* is currently not part in the Zarr format 3")
        yield


def group_name(num_frames: int | str) -> str:
    """The name of the group of a number of frames."""
    return f"num_frames={num_frames}"


class Chunks(NamedTuple):
    """Where the results of one number of frames are, batch by batch.

    A chunk is raw little-endian float32, always of its full size, and its checksum.

    Attributes:
      group: the folder of the zarr group.
      num_videos: V.
      batch_size: videos in a chunk; the last one is filled up.
      shapes: of a video's part of the arrays that have chunks. The std_error of exact values is the arrays' fill value,
        0, and has none.
      checksums: whether chunks end with their crc32c, as those of stores of format 1 do not.
      identity: of the group's folder, while it is written to.
    """

    group: Path
    num_videos: int
    batch_size: int
    shapes: dict[str, tuple[int, ...]]
    checksums: bool = True
    identity: tuple[int, int] | None = None

    def num_chunks(self) -> int:
        return -(-self.num_videos // self.batch_size)

    def finished(self) -> set[int]:
        """The chunks of which all files are there, of their full sizes. Their contents are not looked at."""
        whole = [{k for k in self._listed(name) if self._is_whole(name, k)} for name in self.shapes]
        return set.intersection(*whole)

    def unfinished(self) -> list[int]:
        """The chunks of which a file is missing, cut short or no more what was written."""
        done = {k for k in self.finished() if all(is_sound(chunk_file(self.group, name, k)) for name in self.shapes)}
        return [k for k in range(self.num_chunks()) if k not in done]

    def failed(self) -> dict[int, dict[str, str]]:
        """Of each chunk with videos that have no values, because they failed: {uid: a sentence that says why}."""
        folder = self.group / _FAILED
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        numbers = [int(name[:-5]) for name in names if re.fullmatch(r"(0|[1-9][0-9]{0,17})\.json", name)]
        found = {k: files.read_json(self.failed_file(k), LARGEST_METADATA) for k in sorted(numbers)}
        for k, of_chunk in found.items():
            if not isinstance(of_chunk, dict) or not all(isinstance(said, str) for said in of_chunk.values()):
                raise InputError(f"{self.failed_file(k)} should be a sentence for each uid, found {_told(of_chunk)}")
        return found

    def failed_file(self, k: int) -> Path:
        return self.group / _FAILED / f"{k}.json"

    def _listed(self, name: str) -> Iterator[int]:
        folder = self.group / name / "c"
        names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
        numbers = (int(name) for name in names if re.fullmatch("0|[1-9][0-9]{0,17}", name))
        return (k for k in numbers if k < self.num_chunks())

    def _is_whole(self, name: str, k: int) -> bool:
        try:
            size = chunk_file(self.group, name, k).stat().st_size
        except OSError:
            return False
        floats = self.batch_size * math.prod(self.shapes[name])
        return size == floats * FLOAT.itemsize + CHECKSUM_BYTES * self.checksums


def checksum(content: Any) -> bytes:
    """The crc32c of bytes, uint8 [n], as zarr writes it behind them."""
    return require("google_crc32c", extra="io").value(content).to_bytes(CHECKSUM_BYTES, "little")


def is_sound(file: Path) -> bool:
    """Whether the chunk in a file `has_checksum`."""
    return has_checksum(np.fromfile(file, np.uint8))


def has_checksum(content: np.ndarray) -> bool:
    """Whether a chunk, uint8 [n], ends with the checksum of what is before it."""
    return checksum(content[:-CHECKSUM_BYTES]) == content[-CHECKSUM_BYTES:].tobytes()


def chunks_of(
    group: Path,
    sizes: Mapping[str, int],
    *,
    batch_size: int,
    sampled: bool,
    intervals: bool,
    checksums: bool = True,
) -> Chunks:
    """The chunks of a group whose dimensions have these sizes."""
    names = arrays_of(intervals=intervals)
    shapes = {name: tuple(sizes[dim] for dim in dims[1:]) for name, dims in VALUES.items() if name in names}
    if not sampled:
        del shapes["std_error"]
    return Chunks(group, sizes["video"], batch_size, shapes, checksums)

"""Writes the store of `results.store_files`, so that it can be killed at any moment and goes on from there.

Every file appears whole, by renaming: first the root group's metadata, then a group with its index (who the videos
are), then chunk after chunk. Nothing is ever changed: what an interrupted run leaves is a beginning of the same store.
A batch that is no more what was written, by its checksum, is one that is missing.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, check_shape, listed, require
from esv_jax.results.export import is_formula
from esv_jax.results.store_files import (
    DIGEST,
    FLOAT,
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    INTERVAL_LEVEL,
    LARGEST_METADATA,
    METADATA_FILE,
    OTHER_MACHINES,
    VALUES,
    Chunks,
    arrays_of,
    check_names,
    checksum,
    chunk_file,
    chunks_of,
    group_name,
    is_sound,
    metadata_digest,
    read_group,
    read_root,
    strings_are_fine,
)
from esv_jax.results.video_index import VideoIndex

# What the last bits of values depend on, besides what they are values of.
_OF_MACHINES = ("machine", "versions")


@contextlib.contextmanager
def writing(
    path: str | os.PathLike, configuration: Mapping[str, Any], *, other_machine: bool = False
) -> Iterator[Path]:
    """Opens the store at `path` for writing, making it if it is not there; gives its folder.

    Args:
      path: the folder.
      configuration: json-able; whatever decides the values, of all numbers of frames.
      other_machine: whether what is under "machine" and "versions" may differ from what began the store. The store then
        says so: `store_files.OTHER_MACHINES` holds the others that wrote to it.

    Raises:
      InputError: the folder holds something else or a store of another configuration or format version, another process
        is writing it, or it cannot be written.
    """
    require("zarr", extra="io")
    folder = Path(path)
    with _told_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with files.exclusive_lock(folder, f"the results store {folder}"):
        if (folder / METADATA_FILE).exists():
            different = _check_same(*read_root(folder), dict(configuration), folder, other_machine)
            if different:
                _tell_of_machine(folder, configuration)
        else:
            with _told_of(folder):
                _start(folder, configuration)
        files.remove_leftovers(folder)
        yield folder


def open_group(
    folder: Path,
    index: VideoIndex,
    *,
    prior: np.ndarray,
    class_names: Sequence[str],
    batch_size: int,
    sampled: bool,
    provenance: Mapping[str, Any],
) -> Chunks:
    """The group of index.frame_index.shape[1] frames, made if it is not there.

    Args:
      folder: of `writing`.
      index: its videos.
      prior: float [C].
      class_names: C names.
      batch_size: videos in a chunk.
      sampled: whether there are standard errors and 95 % intervals.
      provenance: json-able; the attributes of the Dataset.

    Raises:
      InputError: the group is there with another batch size or damaged, or cannot be written; names that cannot be kept
        or that a spreadsheet would run.
    """
    _check_table_cells(index.uid, class_names)
    sizes = {"video": len(index.uid), "frame": index.frame_index.shape[1], "class": len(class_names)}
    group = folder / group_name(sizes["frame"])
    chunks = chunks_of(group, sizes, batch_size=batch_size, sampled=sampled, intervals=sampled)
    if group.exists():
        _check_begun(folder, sizes, batch_size, sampled)
        return chunks._replace(identity=files.identity(group))
    attributes = {
        **provenance,
        "num_frames": sizes["frame"],
        "batch_size": batch_size,
        "sampled": sampled,
        **({INTERVAL_LEVEL: 0.95} if sampled else {}),
        "left_out": index.left_out,
    }
    with _told_of(folder), strings_are_fine(), files.atomic(group) as partial:
        _make_group(partial, index, prior, class_names, chunks, attributes)
    return chunks._replace(identity=files.identity(group))


def write_chunk(
    chunks: Chunks, k: int, arrays: Mapping[str, np.ndarray], failed: Mapping[str, str] | None = None
) -> None:
    """Stores the results of batch k.

    Args:
      chunks: of `open_group`.
      k: which batch.
      arrays: float32 [n, ...] for every name in chunks.shapes, of the batch's videos.
      failed: of the videos whose values are NaN because they failed, by uid, why; kept before the values are.

    Raises:
      InputError: the disk cannot be written, or the store was removed or replaced; the batch is then not finished.
    """
    if files.identity(chunks.group) != chunks.identity:
        raise InputError(
            f"{chunks.group} was removed or replaced while it was written: run the same command again, it goes on with "
            "what is there"
        )
    num_videos = min(chunks.batch_size, chunks.num_videos - k * chunks.batch_size)
    with _told_of(chunks.group.parent):
        if failed:
            chunks.failed_file(k).parent.mkdir(exist_ok=True)
            files.write_json(chunks.failed_file(k), dict(failed))
        else:
            chunks.failed_file(k).unlink(missing_ok=True)  # of a run that was killed before it had the values
    for name, shape in chunks.shapes.items():
        check_shape(f"{name} of batch {k}", arrays[name], (num_videos, *shape))
        filled = np.full((chunks.batch_size, *shape), np.nan, FLOAT)
        filled[:num_videos] = arrays[name]
        content = filled.reshape(-1).view(np.uint8)
        file, array = chunk_file(chunks.group, name, k), chunks.group / name
        with _told_of(chunks.group.parent):
            for parent in [*reversed(file.relative_to(array).parents)][1:]:
                (array / parent).mkdir(exist_ok=True)  # not what is above, were it removed
            files.remove_leftovers(file.parent)
            files.write_bytes(file, content.tobytes() + checksum(content))


def forget_failed(chunks: Chunks) -> None:
    """Makes the chunks in which videos failed unfinished, so that they are tried again.

    Raises:
      InputError: they cannot be removed.
    """
    with _told_of(chunks.group.parent):
        for k in chunks.failed():
            for name in chunks.shapes:
                chunk_file(chunks.group, name, k).unlink(missing_ok=True)
            chunks.failed_file(k).unlink()


def _start(folder: Path, configuration: Mapping[str, Any]) -> None:
    names = sorted(file.name for file in folder.iterdir())
    foreign = [n for n in names if not n.startswith(f".{METADATA_FILE}.") and not files.is_of_desktop(n)]
    if foreign:
        raise InputError(f"{folder} is not a results store: it holds {listed(foreign, 1)}; give a new folder")
    attributes = {"format": FORMAT, "format_version": FORMAT_VERSION, "configuration": dict(configuration)}
    _write_metadata(folder, attributes, [])


def _write_metadata(folder: Path, attributes: Mapping[str, Any], arrays: Sequence[str]) -> None:
    """Writes the metadata of a group, sealed with a digest of themselves and of those of its arrays."""
    content = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    of_arrays = [files.read_json(folder / name / METADATA_FILE) for name in arrays]
    content["attributes"] = {**attributes, DIGEST: metadata_digest(content, of_arrays)}
    text = json.dumps(content, indent=1, allow_nan=False)
    if len(text) > LARGEST_METADATA:
        raise InputError(
            f"{folder.parent} should keep how it was made and which videos were left out in {LARGEST_METADATA:,} "
            f"bytes, found {len(text):,}: leave them out of the features"
        )
    files.write_text(folder / METADATA_FILE, text)


def _make_group(
    path: Path,
    index: VideoIndex,
    prior: np.ndarray,
    class_names: Sequence[str],
    chunks: Chunks,
    attributes: Mapping[str, Any],
) -> None:
    zarr, codecs = require("zarr", extra="io"), require("zarr.codecs", extra="io")
    group = zarr.create_group(path, zarr_format=3)
    # A checksum tells of every bit that changes. Chunks that hold nothing but zeros are written too.
    options = {"compressors": [codecs.Crc32cCodec()], "config": {"write_empty_chunks": True}}
    names = arrays_of(intervals=INTERVAL_LEVEL in attributes)
    for name, dims in ((name, VALUES[name]) for name in names if name in VALUES):
        shape = chunks.shapes.get(name, chunks.shapes["esv"])
        group.create_array(
            name,
            shape=(chunks.num_videos, *shape),
            chunks=(chunks.batch_size, *shape),
            dtype=FLOAT,
            fill_value=np.nan if name in chunks.shapes else 0.0,
            dimension_names=dims,
            **options,
        )
    values = {**index._asdict(), "prior": np.asarray(prior, FLOAT), "class_name": np.array(class_names, object)}
    values["uid"] = np.array(index.uid, object)
    for name, dims in INDEX.items():
        of_all = values[name]
        dtype = str if of_all.dtype == object else of_all.dtype
        array = group.create_array(
            name, shape=of_all.shape, chunks=of_all.shape, dtype=dtype, dimension_names=dims, **options
        )
        array[...] = of_all
    _write_metadata(path, attributes, names)


def _check_begun(folder: Path, sizes: Mapping[str, int], batch_size: int, sampled: bool) -> None:
    """Shows that the group that is there is a beginning of the one to be written."""
    chunks = read_group(folder, sizes["frame"]).chunks
    if chunks.batch_size != batch_size:
        raise InputError(
            f"{chunks.group} was begun with a batch size of {chunks.batch_size}, not of {batch_size}: go on with "
            f"{chunks.batch_size}"
        )
    expected = chunks_of(chunks.group, sizes, batch_size=batch_size, sampled=sampled, intervals=sampled)
    if chunks != expected:
        raise InputError(
            f"{chunks.group} was begun for {chunks.num_videos} videos of values {chunks.shapes}, not for "
            f"{expected.num_videos} of {expected.shapes}: use another folder"
        )
    changed = [str(file) for file in (chunk_file(chunks.group, name) for name in INDEX) if not is_sound(file)]
    if changed:
        raise InputError(f"{changed[0]} has changed since it was written: remove {chunks.group} and run this again")


def _check_table_cells(uids: Sequence[str], class_names: Sequence[str]) -> None:
    for what, names in (("uids", uids), ("class names", class_names)):
        check_names(what, names)
        strange = [name for name in names if name.encode(errors="ignore").decode() != name]
        if strange:
            raise InputError(f"{what} should be text, found {listed(map(ascii, strange))}, which is not in UTF-8")
        formulas = [name for name in names if is_formula(name)]
        if formulas:
            raise InputError(
                f"{what} should not begin as formulas do, which a spreadsheet runs, found "
                f"{listed(map(ascii, formulas))}: rename them"
            )


def _told_of(folder: Path) -> contextlib.AbstractContextManager[None]:
    advice = "what is in it stays: run the same command again to go on"
    return files.disk_errors(f"the results store {folder} cannot be written", advice)


def _check_same(
    version: int, found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path, other_machine: bool
) -> bool:
    """Whether the store was begun on another machine; raises if that, or anything else that differs, may not be."""
    if version != FORMAT_VERSION:
        raise InputError(
            f"the results store {folder} is of format {version}, without checksums, and this esv_jax adds to stores of "
            f"format {FORMAT_VERSION} alone: use another folder"
        )
    found, wanted = _flat(found), _flat(json.loads(json.dumps(wanted)))
    different = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    of_machine = [name for name in different if name.partition(".")[0] in _OF_MACHINES]
    for name in sorted(different, key=of_machine.__contains__):  # what no flag allows is told of first
        if name in of_machine and other_machine:
            continue
        how = "use another folder"
        if name in of_machine:
            set_it = f"set NPROC={found.get(name)}, " if name == "machine.threads" and found.get(name) else ""
            how = (
                f"the last bits of values depend on it; {set_it}use another folder, or go on with "
                "--allow_other_machine, and the store says so"
            )
        raise InputError(
            f"the results store {folder} was made with {name} {found.get(name)}, not {wanted.get(name)}: {how}"
        )
    return bool(different)


def _tell_of_machine(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Adds this machine to those besides the first that write to the store."""
    file = folder / OTHER_MACHINES
    told = files.read_json(file) if file.exists() else []
    mine = json.loads(json.dumps({name: configuration.get(name) for name in _OF_MACHINES}))
    if mine not in told:
        with _told_of(folder):
            files.write_json(file, [*told, mine])


def _flat(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What is in objects of the configuration, under names such as versions.jax."""
    flat = {}
    for name, value in configuration.items():
        inner = {f"{name}.{key}": of_key for key, of_key in value.items()} if isinstance(value, dict) else {name: value}
        flat.update(inner)
    return flat

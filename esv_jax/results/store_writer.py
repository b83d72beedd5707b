"""Writes the store of `results.store`, so that it can be killed at any moment and goes on from there.

Every file appears whole, by renaming: first the root group's metadata, then a group with its index (who the videos
are), then chunk after chunk. Nothing is ever changed: what an interrupted run leaves is a beginning of the same store.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, check_shape, require
from esv_jax.results.store import (
    FLOAT,
    FORMAT,
    FORMAT_VERSION,
    METADATA_FILE,
    Chunks,
    chunks_of,
    group_name,
    read_configuration,
    strings_are_fine,
)
from esv_jax.results.video_index import VideoIndex


@contextlib.contextmanager
def writing(path: str | os.PathLike, configuration: Mapping[str, Any]) -> Iterator[Path]:
    """Opens the store at `path` for writing, making it if it is not there; gives its folder.

    Args:
      path: the folder.
      configuration: json-able; whatever decides the values, of all numbers of frames.

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
            _check_same(read_configuration(folder), dict(configuration), folder)
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
      sampled: whether there are standard errors.
      provenance: json-able; the attributes of the Dataset.

    Raises:
      InputError: the group is there with another batch size, or cannot be written.
    """
    sizes = {"video": len(index.uid), "frame": index.frame_index.shape[1], "class": len(class_names)}
    group = folder / group_name(sizes["frame"])
    chunks = chunks_of(group, sizes, batch_size=batch_size, sampled=sampled)
    if group.exists():
        found = files.read_json(group / METADATA_FILE)["attributes"]["batch_size"]
        if found != batch_size:
            raise InputError(f"{group} was begun with a batch size of {found}, not of {batch_size}: go on with {found}")
        return chunks
    attributes = {
        **provenance,
        "num_frames": sizes["frame"],
        "batch_size": batch_size,
        "sampled": sampled,
        "left_out": index.left_out,
    }
    with _told_of(folder), strings_are_fine(), files.atomic(group) as partial:
        _make_group(partial, index, prior, class_names, chunks, attributes)
    return chunks


def write_chunk(chunks: Chunks, k: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Stores the results of batch k.

    Args:
      chunks: of `open_group`.
      k: which batch.
      arrays: float32 [n, ...] for every name in chunks.shapes, of the batch's videos.

    Raises:
      InputError: the disk cannot be written; the batch is then not finished.
    """
    num_videos = min(chunks.batch_size, chunks.num_videos - k * chunks.batch_size)
    for name, shape in chunks.shapes.items():
        check_shape(f"{name} of batch {k}", arrays[name], (num_videos, *shape))
        filled = np.full((chunks.batch_size, *shape), np.nan, FLOAT)
        filled[:num_videos] = arrays[name]
        file = chunks.file(name, k)
        with _told_of(chunks.group.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
            files.remove_leftovers(file.parent)
            files.write_bytes(file, filled.data)


def _start(folder: Path, configuration: Mapping[str, Any]) -> None:
    foreign = sorted(file.name for file in folder.iterdir() if not file.name.startswith(f".{METADATA_FILE}."))
    if foreign:
        raise InputError(f"{folder} is not a results store: it holds {foreign[0]}; give a new folder")
    attributes = {"format": FORMAT, "format_version": FORMAT_VERSION, "configuration": dict(configuration)}
    content = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    files.write_text(folder / METADATA_FILE, json.dumps(content, indent=1, allow_nan=False))


def _make_group(
    path: Path,
    index: VideoIndex,
    prior: np.ndarray,
    class_names: Sequence[str],
    chunks: Chunks,
    attributes: Mapping[str, Any],
) -> None:
    zarr = require("zarr", extra="io")
    group = zarr.create_group(path, zarr_format=3, attributes=dict(attributes))
    num_videos, num_frames = index.frame_index.shape
    num_classes = len(class_names)

    def results(name: str, dims: list[str], shape: tuple[int, ...], fill: float) -> None:
        sizes = (num_videos, *shape)
        chunk = (chunks.batch_size, *shape)
        group.create_array(
            name, shape=sizes, chunks=chunk, dtype=FLOAT, fill_value=fill, compressors=None, dimension_names=dims
        )

    def index_array(name: str, dims: list[str], values: np.ndarray) -> None:
        chunk = tuple(max(1, n) for n in values.shape)
        dtype = str if values.dtype == object else values.dtype
        array = group.create_array(name, shape=values.shape, chunks=chunk, dtype=dtype, dimension_names=dims)
        array[...] = values

    per_frame = ["video", "frame", "class"]
    results("esv", per_frame, (num_frames, num_classes), np.nan)
    results("std_error", per_frame, (num_frames, num_classes), np.nan if "std_error" in chunks.shapes else 0.0)
    results("score", ["video", "class"], (num_classes,), np.nan)
    index_array("uid", ["video"], np.array(index.uid, object))
    index_array("label", ["video"], index.label)
    index_array("num_frames_in_video", ["video"], index.num_frames_in_video)
    index_array("frame_index", ["video", "frame"], index.frame_index)
    index_array("prior", ["class"], np.asarray(prior, FLOAT))
    index_array("class_name", ["class"], np.array(class_names, object))


def _told_of(folder: Path) -> contextlib.AbstractContextManager[None]:
    advice = "what is in it stays: run the same command again to go on"
    return files.disk_errors(f"the results store {folder} cannot be written", advice)


def _check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    wanted = json.loads(json.dumps(wanted))
    different = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    if different:
        name = different[0]
        raise InputError(
            f"the results store {folder} was made with {name} {found.get(name)}, not {wanted.get(name)}: "
            "use another folder"
        )

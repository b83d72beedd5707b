"""The Element Shapley Values of a whole set of videos: a zarr (v3) folder, read as an xarray Dataset.

zarr.json                  the root group; its attributes: format, version, and the configuration of all groups
num_frames=8/zarr.json     a group for every number of frames; its attributes: the provenance
num_frames=8/esv/c/k/0/0   chunk k: a batch of videos, uncompressed (values hardly compress)

`store_writer` makes it.
"""

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, require

if TYPE_CHECKING:
    import os

    import xarray

FORMAT = "esv_jax results"
FORMAT_VERSION = 1
METADATA_FILE = "zarr.json"
FLOAT = np.dtype("<f4")


def open(path: "str | os.PathLike", num_frames: int | None = None) -> "xarray.Dataset":
    """The values of all videos that have enough frames. Arrays are read when they are asked for.

    Args:
      path: the folder that `experiments.compute_esvs` wrote.
      num_frames: which of the numbers of frames in the store; not needed where it holds one.

    Returns:
      A Dataset with the dimensions video, frame, class and the variables esv float32 [video, frame, class], std_error
      float32 (the same; 0 for exact values), score float32 [video, class], label int64 [video], uid str [video],
      frame_index int64 [video, frame] (which frames of the video), num_frames_in_video int64 [video], prior float32
      [class], class_name str [class]. Its attributes say how it was made (command, seed, versions, digests, estimator,
      model_kind, num_frames) and which videos were left out and why ("left_out": {uid: reason}).

    Raises:
      InputError: no store, one of another format version, or one that is not finished; `num_frames` is not in it, or
        not given where there are several.
    """
    xarray = require("xarray", extra="io")
    require("zarr", extra="io")
    folder = Path(path)
    stored = num_frames_stored(folder)
    if num_frames is None and len(stored) > 1:
        raise InputError(f"{folder} holds values of {_listed(stored)} frames: say which with num_frames=")
    if num_frames is not None and num_frames not in stored:
        raise InputError(f"{folder} holds values of {_listed(stored)} frames, not of {num_frames}")
    group = group_name(stored[0] if num_frames is None else num_frames)
    with strings_are_fine():
        dataset = xarray.open_zarr(folder, group=group, consolidated=False, chunks=None)
        # xarray's versions differ in how they give strings back.
        strings = {n: np.asarray(dataset[n].values.tolist(), np.str_) for n in ("uid", "class_name")}
    how = dataset.attrs
    chunks = chunks_of(folder / group, dataset.sizes, batch_size=how["batch_size"], sampled=how["sampled"])
    missing = len(chunks.unfinished())
    if missing:
        raise InputError(
            f"{folder / group} is not finished, {missing} of its {chunks.num_chunks()} batches are missing: "
            "run the command that made it again"
        )
    return dataset.assign({n: (dataset[n].dims, values) for n, values in strings.items()})


def open_common(path: "str | os.PathLike", num_frames: Sequence[int] | None = None) -> "dict[int, xarray.Dataset]":
    """Datasets of several numbers of frames, of the same videos in the same order: those that all of them hold.

    Args:
      path: the store.
      num_frames: which of the numbers of frames in the store; all by default.

    Raises:
      InputError: as `open`, or the Datasets have no video in common.
    """
    wanted = list(num_frames) if num_frames is not None else num_frames_stored(path)
    if not wanted:
        raise InputError("num_frames should hold at least one number of frames, found none")
    datasets = {n: open(path, n) for n in wanted}
    common = set.intersection(*(set(dataset["uid"].values.tolist()) for dataset in datasets.values()))
    if not common:
        raise InputError(f"the values of {_listed(wanted)} frames in {path} have no video in common")
    order = [uid for uid in datasets[wanted[0]]["uid"].values.tolist() if uid in common]
    return {n: dataset.isel(video=_positions(dataset, order)) for n, dataset in datasets.items()}


def num_frames_stored(path: "str | os.PathLike") -> list[int]:
    """The numbers of frames that a store holds values of, increasing.

    Raises:
      InputError: no store, or one of another format version.
    """
    read_configuration(path)
    prefix = group_name("")
    names = [group.name for group in Path(path).iterdir() if (group / METADATA_FILE).is_file()]
    return sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))


def read_configuration(path: "str | os.PathLike") -> dict[str, Any]:
    """What all values of a store have in common: digests of model, features and priors, estimator, seed, versions.

    Raises:
      InputError: no store, or one of another format version.
    """
    file = Path(path) / METADATA_FILE
    if not Path(path).is_dir():
        raise InputError(f"there is no results store {path}")
    try:
        attributes = files.read_json(file)["attributes"]
        found, version, configuration = (attributes[name] for name in ("format", "format_version", "configuration"))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a results store: it has no {METADATA_FILE} of one") from error
    if found != FORMAT:
        raise InputError(f"{path} is not a results store: its {METADATA_FILE} is of {found!r}")
    if version != FORMAT_VERSION:
        raise InputError(
            f"the results store {path} is of format {version}, and this esv_jax reads and writes format "
            f"{FORMAT_VERSION}: use the esv_jax that made it, or compute the values anew into another folder"
        )
    return configuration


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

    A chunk is raw little-endian float32 and always of its full size, so that its file's size tells whether it is whole.

    Attributes:
      group: the folder of the zarr group.
      num_videos: V.
      batch_size: videos in a chunk; the last one is filled up.
      shapes: of a video's part of the arrays that have chunks. The std_error of exact values is the arrays' fill value,
        0, and has none.
    """

    group: Path
    num_videos: int
    batch_size: int
    shapes: dict[str, tuple[int, ...]]

    def num_chunks(self) -> int:
        return -(-self.num_videos // self.batch_size)

    def file(self, name: str, k: int) -> Path:
        """The file of chunk k of an array, where zarr looks for it."""
        return self.group.joinpath(name, "c", str(k), *("0" for _ in self.shapes[name]))

    def unfinished(self) -> list[int]:
        """The chunks of which a file is missing or cut short."""
        return [k for k in range(self.num_chunks()) if not all(self._is_whole(name, k) for name in self.shapes)]

    def _is_whole(self, name: str, k: int) -> bool:
        try:
            size = self.file(name, k).stat().st_size
        except FileNotFoundError:
            return False
        return size == self.batch_size * math.prod(self.shapes[name]) * FLOAT.itemsize


def chunks_of(group: Path, sizes: Mapping[str, int], *, batch_size: int, sampled: bool) -> Chunks:
    """The chunks of a group whose dimensions have these sizes."""
    per_frame = (sizes["frame"], sizes["class"])
    shapes = {"esv": per_frame, "std_error": per_frame, "score": per_frame[1:]}
    if not sampled:
        del shapes["std_error"]
    return Chunks(group, sizes["video"], batch_size, shapes)


def _positions(dataset: "xarray.Dataset", uids: Sequence[str]) -> list[int]:
    position = {uid: i for i, uid in enumerate(dataset["uid"].values.tolist())}
    return [position[uid] for uid in uids]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "no number of"

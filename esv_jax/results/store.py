"""The Element Shapley Values of a whole set of videos: a results store (`store_files`), read as an xarray Dataset."""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, listed, require
from esv_jax.results.store_files import (
    DIGEST,
    INDEX,
    INTERVAL,
    LARGEST_METADATA,
    OTHER_MACHINES,
    check_names,
    damaged_metadata,
    read_group,
    read_root,
    strings_are_fine,
)

if TYPE_CHECKING:
    import os

    import xarray

_GROUP = re.compile("num_frames=([1-9][0-9]*)")
_INT32 = 2**31


def open(path: "str | os.PathLike", num_frames: int | None = None) -> "xarray.Dataset":
    """The values of all videos that have enough frames and did not fail. They are read when they are asked for.

    Args:
      path: the folder that `experiments.compute_esvs` wrote.
      num_frames: which of the numbers of frames in the store; not needed where it holds one.

    Returns:
      A Dataset with the dimensions video, frame, class and the variables esv float32 [video, frame, class], std_error
      float32 (the same; 0 for exact values), low and high float32 (the same; the ends of 95 % intervals, infinite where
      there are too few samples for one, `esv` for exact values, absent from sampled stores that were written before
      there were any), score float32 [video, class], label int64 [video], uid str [video],
      frame_index int64 [video, frame] (which frames of the video), num_frames_in_video int64 [video], prior float32
      [class], class_name str [class]. Its attributes say how it was made (command, seed, versions, digests, estimator,
      model_kind, num_frames; other_machines, where several have written, whose last bits may differ) and which videos
      were left out and why (left_out), or failed, so that their values are NaN and not given here (failed, where any
      did). They are numbers and text, as netCDF wants them: versions, left_out and failed ({uid:
      reason}) and whatever else is neither is the text of its json.

    Raises:
      InputError: no store, one of another format version, one that is not finished, or one that was changed or has lost
        files; `num_frames` is not in it, or not given where there are several. So does reading values later, of a
        batch that was changed or lost.
    """
    xarray = require("xarray", extra="io")
    require("zarr", extra="io")
    folder = Path(path)
    stored = num_frames_stored(folder)
    if num_frames is None and len(stored) > 1:
        raise InputError(f"{folder} holds values of {_numbers(stored)} frames: say which with num_frames=")
    if num_frames not in stored and (num_frames is not None or not stored):
        wanted = "" if num_frames is None else f", not of {num_frames}"
        raise InputError(f"{folder} holds values of {_numbers(stored)} frames{wanted}")
    group = read_group(folder, stored[0 if num_frames is None else stored.index(num_frames)])
    chunks = group.chunks
    missing = chunks.num_chunks() - len(chunks.finished())
    if missing:
        raise InputError(
            f"{chunks.group} is not finished, {missing} of its {chunks.num_chunks()} batches are missing: "
            f"{group.again()}"
        )
    from esv_jax.results.checked_store import CheckedStore  # which needs zarr

    exact, intervals = "std_error" not in chunks.shapes, "low" in chunks.shapes
    checked = CheckedStore(
        folder.absolute(), exact=exact, intervals=intervals, checksums=chunks.checksums, advice=group.again()
    )
    with strings_are_fine(), _told_of_metadata(chunks.group):
        dataset = xarray.open_zarr(checked, group=chunks.group.name, consolidated=False, chunks=None)
        for name in INDEX:  # small, and what is wrong with it is told of here
            dataset[name].load()
        # xarray's versions differ in how they give strings back.
        names = {name: dataset[name].values.tolist() for name in ("uid", "class_name")}
    for name, of_all in names.items():
        check_names(f"{name} in {chunks.group}", of_all)
    strings = {name: (dataset[name].dims, np.asarray(of_all, np.str_)) for name, of_all in names.items()}
    attributes = {name: _for_netcdf(value) for name, value in group.attributes.items() if name != DIGEST}
    dataset = dataset.assign(strings)
    if exact:
        dataset = dataset.assign(dict.fromkeys(INTERVAL, dataset["esv"]))
    machines = folder / OTHER_MACHINES
    if machines.exists():
        attributes["other_machines"] = json.dumps(files.read_json(machines, LARGEST_METADATA))
    failed = {uid: said for of_chunk in chunks.failed().values() for uid, said in of_chunk.items()}
    if failed:
        attributes["failed"] = json.dumps(failed)
        dataset = dataset.isel(video=[i for i, uid in enumerate(names["uid"]) if uid not in failed])
    dataset.attrs = attributes
    return dataset


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
        raise InputError(f"the values of {_numbers(wanted)} frames in {path} have no video in common")
    order = [uid for uid in datasets[wanted[0]]["uid"].values.tolist() if uid in common]
    return {n: dataset.isel(video=_positions(dataset, order)) for n, dataset in datasets.items()}


def num_frames_stored(path: "str | os.PathLike") -> list[int]:
    """The numbers of frames that a store holds values of, increasing. Folders of other names, such as copies, are none.

    Raises:
      InputError: no store, or one of another format version.
    """
    read_configuration(path)
    found = [_GROUP.fullmatch(group.name) for group in Path(path).iterdir() if group.is_dir()]
    return sorted(int(match[1]) for match in found if match)


def read_configuration(path: "str | os.PathLike") -> dict[str, Any]:
    """What all values of a store have in common: digests of model, features and priors, estimator, seed, versions.

    Raises:
      InputError: no store, one of another format version, or its metadata was changed.
    """
    return read_root(path)[1]


@contextlib.contextmanager
def _told_of_metadata(group: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, RuntimeError) as error:  # RuntimeError: of zstd
        raise damaged_metadata(group, group, files.reason(error)) from error


def _for_netcdf(value: Any) -> Any:
    is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < _INT32)
    return value if isinstance(value, str) or (is_number and not isinstance(value, bool)) else json.dumps(value)


def _positions(dataset: "xarray.Dataset", uids: Sequence[str]) -> list[int]:
    position = {uid: i for i, uid in enumerate(dataset["uid"].values.tolist())}
    return [position[uid] for uid in uids]


def _numbers(numbers: Sequence[int]) -> str:
    return listed(numbers) or "no number of"

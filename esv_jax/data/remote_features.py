"""Feature stores on an object store (s3://, gs://, az://, https://), with the extra "remote" (obstore).

Features are read by ranges: nothing is downloaded as a whole but store.json and clips.csv.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, require
from esv_jax.data import feature_store
from esv_jax.data.feature_store import CLIPS_FILE, FEATURES_FILE, HEADER_FILE, FeatureStore

_ADDRESS = re.compile(r"(s3|gs|az|abfss?|https?)://[^/]+", re.IGNORECASE)
_SMALL = (HEADER_FILE, CLIPS_FILE)


def is_remote(path: str) -> bool:
    """Whether this is an address on an object store, and not a path."""
    return bool(_ADDRESS.match(path))


def open_store(address: str) -> FeatureStore:
    """Opens a feature store for `FeatureStore.read`; its `rows` are those of no file.

    Credentials, regions and endpoints are those of the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).

    Raises:
      InputError: it is not reached, as `feature_store.open_store`, or of a format without checksums.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        folder.mkdir()
        for file in _SMALL:
            (folder / file).write_bytes(_content(address, file))
        # As long as it is there, and with nothing in it.
        (folder / FEATURES_FILE).touch()
        os.truncate(folder / FEATURES_FILE, _size(address))
        try:
            store = feature_store.open_store(folder)
        except InputError as error:
            raise InputError(str(error).replace(str(folder), address)) from error
    if not all(clip.checksum for clip in store.clips):
        raise InputError(f"{address} is a feature store of format 1, without checksums: read it from a disk")
    return store


def read(address: str, store: FeatureStore, numbers: Sequence[int]) -> list[np.ndarray]:
    """As `FeatureStore.read`."""
    clips = [store.clips[i] for i in numbers]
    row_bytes = store.header.feature_dim * store.rows.dtype.itemsize
    starts = [clip.offset * row_bytes for clip in clips]
    ends = [start + clip.num_frames * row_bytes for start, clip in zip(starts, clips, strict=True)]
    with _told_of(address, FEATURES_FILE) as (obstore, objects):
        ranges = obstore.get_ranges(objects, FEATURES_FILE, starts=starts, ends=ends) if clips else []
        found = [np.frombuffer(bytes(of_clip), store.rows.dtype) for of_clip in ranges]
    for clip, rows in zip(clips, found, strict=True):
        if len(rows) * rows.dtype.itemsize < clip.num_frames * row_bytes:
            raise InputError(f"{address}/{FEATURES_FILE} has become shorter since it was opened")
        feature_store.check_rows(clip, rows, f"{address}/{FEATURES_FILE}")
    return [rows.reshape(-1, store.header.feature_dim) for rows in found]


def digest(address: str) -> str:
    """What tells its features from others, by the checksums of its clips."""
    parts = hashlib.sha256(str(_size(address)).encode())
    for file in _SMALL:
        parts.update(_content(address, file))
    return f"clips {parts.hexdigest()}"


def _content(address: str, file: str) -> bytes:
    with _told_of(address, file) as (obstore, objects):
        return bytes(obstore.get(objects, file).bytes())


def _size(address: str) -> int:
    with _told_of(address, FEATURES_FILE) as (obstore, objects):
        return int(obstore.head(objects, FEATURES_FILE)["size"])


@contextlib.contextmanager
def _told_of(address: str, file: str) -> Iterator[tuple[Any, Any]]:
    """The package, and the objects at the address."""
    obstore = require("obstore", extra="remote")
    stores, exceptions = require("obstore.store", extra="remote"), require("obstore.exceptions", extra="remote")
    plain = {"client_options": {"allow_http": True}}
    try:
        yield obstore, stores.from_url(address.rstrip("/"), **plain)
    except FileNotFoundError as error:
        raise InputError(f"there is no feature store {address}: it has no {file}") from error
    except (exceptions.BaseError, ValueError) as error:
        raise InputError(f"{address}/{file} cannot be read: {files.reason(error)}") from error

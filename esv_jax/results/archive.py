"""What a model said of the coalitions of one video, kept in a file as it comes: nothing is asked, or paid, twice.

The file is only ever written to at its end: a line of JSON that says of what it is, then a block for every batch of
coalitions, each with a checksum and on disk before the next is asked about. A block that a killed process left
unfinished is cut off.
"""

import contextlib
import json
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError

MAGIC = b"esv_jax archive 1\n"
LARGEST_HEADER = 2**20
# Coalitions, classes, bytes of a number; then masks, scores and the checksum of all of it.
_BLOCK = struct.Struct("<IIB")
_CHECKSUM = struct.Struct("<I")
_DTYPES: dict[int, Any] = {4: np.dtype("<f4"), 8: np.dtype("<f8")}


class Archive(NamedTuple):
    """An open archive.

    Attributes:
      path, file: where it is. num_players: P.
      mask, scores: what it held when it was opened: bool [N, P] and float [N, C].
    """

    path: Path
    file: BinaryIO
    num_players: int
    mask: np.ndarray
    scores: np.ndarray


@contextlib.contextmanager
def opened(path: str | os.PathLike, num_players: int, about: Mapping[str, str], code: str = "") -> Iterator[Archive]:
    """The archive at `path`, begun where there is none, for as long as the block lasts; no other process may write it.

    Args:
      path: a file.
      num_players: P.
      about: what the answers depend on (the model, the video, ...), names to digests.
      code: a digest of the functions that ask. Of other code the answers are taken, for an error in it may have been
        mended, but it is warned of.

    Raises:
      InputError: the file is something else, an archive about something else, or cannot be written.
    """
    path = Path(path).expanduser()
    with files.disk_errors(f"the archive {path} cannot be opened"):
        path.touch(exist_ok=True)
    with files.exclusive_lock(path, f"the archive {path}"):
        with files.disk_errors(f"the archive {path} cannot be opened"):
            file = path.open("r+b")
        with file:
            yield _read(path, file, num_players, about, code)


def append(archive: Archive, mask: np.ndarray, scores: np.ndarray) -> None:
    """Writes a batch, mask bool [n, P] and scores float [n, C], to the disk.

    Raises:
      InputError: the disk is full, or says no for another reason.
    """
    # All are of the kind that it began with.
    size = archive.scores.dtype.itemsize if len(archive.mask) else scores.dtype.itemsize
    scores = np.ascontiguousarray(scores, _DTYPES[size])
    head = _BLOCK.pack(*scores.shape, scores.dtype.itemsize)
    block = head + np.packbits(mask, axis=1).tobytes() + scores.tobytes()
    with files.disk_errors(f"the archive {archive.path} cannot be written", "what it held is kept"):
        archive.file.write(block + _CHECKSUM.pack(zlib.crc32(block)))
        archive.file.flush()
        os.fsync(archive.file.fileno())


def _read(path: Path, file: BinaryIO, num_players: int, about: Mapping[str, str], code: str) -> Archive:
    with files.disk_errors(f"the archive {path} cannot be read"):
        content = file.read()
    expected = {"num_players": num_players, **about}
    line = MAGIC + json.dumps({**expected, "code": code}, sort_keys=True).encode() + b"\n"
    header = line + _CHECKSUM.pack(zlib.crc32(line))
    # What a process left that was killed while it began.
    if len(content) < len(header) and header.startswith(content):
        with files.disk_errors(f"the archive {path} cannot be written"):
            file.seek(0)
            file.truncate()
            file.write(header)
            file.flush()
            os.fsync(file.fileno())
        nothing = np.zeros((0, num_players), bool)
        return Archive(path, file, num_players, nothing, np.zeros((0, 0), np.float32))
    found, start = _head(path, content)
    differ = [f"{name} {found.get(name)}, not {value}" for name, value in expected.items() if found.get(name) != value]
    if differ or set(found) != {*expected, "code"}:
        told = "; ".join(differ) or "another"
        raise InputError(f"the archive {path} should be of this question, found one of {told}: give another file")
    if found["code"] != code:
        warnings.warn(
            f"the code of predict, of the removal or of the link (or the version of Python) is not that with which the "
            f"archive {path} was begun; its answers are taken: give another file if they would not be the same",
            stacklevel=2,
        )
    masks, scores, end = _blocks(content, start, num_players)
    if end < len(content):
        warnings.warn(
            f"the archive {path} ends in {len(content) - end} bytes of a batch that is not finished or damaged: cut "
            f"off behind {sum(map(len, masks))} coalitions",
            stacklevel=2,
        )
        with files.disk_errors(f"the archive {path} cannot be written"):
            file.truncate(end)
    file.seek(end)
    mask = np.concatenate([np.zeros((0, num_players), bool), *masks])
    return Archive(path, file, num_players, mask, np.concatenate(scores) if scores else np.zeros((0, 0), np.float32))


def _blocks(content: bytes, start: int, num_players: int) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """The masks and scores of all whole blocks from `start` on, and where they end."""
    masks: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    width = (num_players + 7) // 8
    while len(content) - start >= _BLOCK.size:
        rows, classes, size = _BLOCK.unpack_from(content, start)
        scores_at = start + _BLOCK.size + rows * width
        end = scores_at + rows * classes * size
        same = not scores or (classes == scores[0].shape[1] and size == scores[0].dtype.itemsize)
        if size not in _DTYPES or not same or end + _CHECKSUM.size > len(content):
            break
        if zlib.crc32(content[start:end]) != _CHECKSUM.unpack_from(content, end)[0]:
            break
        packed = np.frombuffer(content, np.uint8, rows * width, start + _BLOCK.size).reshape(rows, width)
        masks.append(np.unpackbits(packed, axis=1, count=num_players).astype(bool))
        scores.append(np.frombuffer(content, _DTYPES[size], rows * classes, scores_at).reshape(rows, classes))
        start = end + _CHECKSUM.size
    return masks, scores, start


def _head(path: Path, content: bytes) -> tuple[dict[str, Any], int]:
    """What the archive says it is of, and where its blocks start."""
    end = content.find(b"\n", len(MAGIC), LARGEST_HEADER)
    if not content.startswith(MAGIC) or end < 0:
        raise InputError(
            f"the archive {path} should be one of esv_jax, or a file that is not there yet, found another file"
        )
    line, start = content[: end + 1], end + 1 + _CHECKSUM.size
    try:
        found = json.loads(line[len(MAGIC) :]) if content[end + 1 : start] == _CHECKSUM.pack(zlib.crc32(line)) else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"the archive {path} is damaged in its first line, which says of what it is")
    return found, start

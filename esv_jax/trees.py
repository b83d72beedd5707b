"""Pytrees of arrays in folders, by orbax: nothing is read of which a byte has changed."""

import contextlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
import orbax.checkpoint

from esv_jax import checks, files
from esv_jax.checks import InputError

# Bytes that orbax writes besides, in a dozen small files.
_AROUND_ARRAYS = 1 << 18


def write(folder: Path, tree: Any) -> dict[str, str]:
    """Writes dicts of dicts of NumPy arrays as a folder, which is not there.

    Returns:
      The SHA-256 of every file in it, by its name, which `check` wants to see.

    Raises:
      OSError: it cannot be written.
    """
    _reserve(folder.parent, sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + _AROUND_ARRAYS)
    try:
        with _no_log(), _checkpointer() as checkpointer:
            checkpointer.save(folder.absolute(), tree)
    except ValueError as error:  # of tensorstore, also for a full disk
        for left in folder.parent.glob(f"{folder.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        number = re.search(r"os_error_code='(\d+)'", str(error))
        raise OSError(*((int(number[1]), os.strerror(int(number[1]))) if number else (str(error),))) from error
    # Orbax's note to itself names the absolute path; reading needs none.
    (folder / "commit_success.txt").unlink(missing_ok=True)
    return files.digests(folder)


def _reserve(folder: Path, num_bytes: int) -> None:
    """Raises the OSError of a disk without so much room: orbax's threads go on for a while where a write failed."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, num_bytes)


def check(folder: Path, digests: Any, what_they_are: str) -> None:
    """Raises InputError unless a folder holds the files that `write` wrote, to the bit."""
    found = files.digests(folder)
    expected = digests if isinstance(digests, dict) else {}
    faults = {
        "missing": sorted(set(expected) - set(found)),
        "changed": sorted(name for name in set(expected) & set(found) if found[name] != expected[name]),
        "not expected": sorted(set(found) - set(expected)),
    }
    told = [f"{what}: {checks.listed(names, limit=1)}" for what, names in faults.items() if names]
    if told or not expected:
        raise InputError(f"{what_they_are} are damaged: {'; '.join(told) or 'their digests are missing'}")


def shapes(folder: Path) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the arrays of a folder that is checked, by their flat names ("params/logits/bias").

    Raises:
      InputError: it cannot be read.
    """
    with _unreadable(folder), _checkpointer() as checkpointer:
        metadata = checkpointer.metadata(folder.absolute())
        # Of a tree alone in older versions of orbax, and in newer ones of a step that has one.
        tree = getattr(metadata, "item_metadata", metadata).tree
        flat = flax.traverse_util.flatten_dict(tree, sep="/")
        return {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in flat.items()}


def read(folder: Path) -> Any:
    """The arrays of a folder that is checked, NumPy.

    Raises:
      InputError: it cannot be read.
    """
    with _unreadable(folder), _checkpointer() as checkpointer:
        return jax.tree.map(np.asarray, checkpointer.restore(folder.absolute()))


def _checkpointer() -> orbax.checkpoint.Checkpointer:
    return orbax.checkpoint.Checkpointer(orbax.checkpoint.PyTreeCheckpointHandler())


@contextlib.contextmanager
def _unreadable(folder: Path) -> Iterator[None]:
    try:
        with _no_log():
            yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the arrays in {folder} cannot be read: {files.reason(error)}") from error


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    """Orbax logs the traceback of every thread, and then raises the error once more, which tells all."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)

"""The folder of a results store as zarr reads it: every chunk is there and is what was written, or an InputError."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from zarr.storage import LocalStore

from esv_jax.checks import InputError
from esv_jax.results.store_files import VALUES, arrays_of, has_checksum


class CheckedStore(LocalStore):
    """Reads a store. zarr takes a chunk that is missing for one of fill values, and does not say which one has changed.

    Args:
      root: the folder.
      read_only: as zarr asks for it.
      exact: whether there are no standard errors, and no chunks of them.
      intervals: whether there are arrays of intervals.
      checksums: whether chunks end with their crc32c.
      advice: how values that are missing come back, in words.
    """

    def __init__(
        self,
        root: Path,
        *,
        read_only: bool = True,
        exact: bool = False,
        intervals: bool = False,
        checksums: bool = True,
        advice: str = "",
    ):
        super().__init__(root, read_only=read_only)
        self._exact, self._intervals, self._checksums, self._advice = exact, intervals, checksums, advice

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        return self._checked(key, await super().get(key, prototype, byte_range))

    def get_sync(self, key: str, **options: Any) -> Any:
        return self._checked(key, super().get_sync(key, **options))

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for name in arrays_of(intervals=self._intervals):  # of all that lies there
            yield name

    def _checked(self, key: str, found: Any) -> Any:
        group, name, *inner = key.split("/")
        if inner[:1] != ["c"] or (self._exact and name == "std_error"):
            return found
        advice = self._advice if name in VALUES else f"remove {self.root / group} and compute its values anew"
        if found is None:
            raise InputError(f"{self.root / key} is missing: {advice}")
        if self._checksums and not has_checksum(found.as_numpy_array()):
            raise InputError(f"{self.root / key} has changed since it was written: {advice}")
        return found

"""The checkpoints of a training run in a folder: whole, unchanged and of this run, or they are refused.

N/run.json   whose state it is after N epochs, and the digests of its files
N/state/     the arrays (orbax)
"""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax import files, trees
from esv_jax.checks import InputError

KEPT = 2
_RUN_FILE = "run.json"

History = dict[str, np.ndarray]


class Checkpoints(contextlib.AbstractContextManager["Checkpoints"]):
    """The checkpoints of one run, whose one writer this is until the context ends."""

    def __init__(self, folder: Path, run: dict[str, dict[str, Any]]):
        """Makes the folder where there is none.

        Args:
          folder: of the checkpoints.
          run: what tells this run from others, as json objects by the names of its parts.

        Raises:
          InputError: the folder cannot be made, or another process writes there.
        """
        self.folder, self._run = folder.absolute(), json.loads(json.dumps(run))
        with files.disk_errors(f"the checkpoints in {folder} cannot be used"), contextlib.ExitStack() as opened:
            self.folder.mkdir(parents=True, exist_ok=True)
            opened.enter_context(files.exclusive_lock(self.folder, f"the checkpoints in {folder}"))
            files.remove_leftovers(self.folder)
            self._made = files.identity(self.folder)
            self._opened = opened.pop_all()

    def __exit__(self, *exception: Any) -> None:
        self._opened.close()

    def latest(self, like: list[Any]) -> tuple[int, list[np.ndarray], History] | None:
        """Epochs done, the arrays and the history of the newest checkpoint; None where there is none.

        Args:
          like: arrays of the shapes and dtypes of those that were saved.

        Raises:
          InputError: it is of another run, or damaged; says what to remove.
        """
        if (self.folder / _RUN_FILE).exists():
            raise InputError(f"{self.folder} is of an older esv_jax: finish that run with it, or delete the folder")
        epochs = self._epochs()
        if not epochs:
            return None
        newest = self.folder / str(epochs[-1])
        try:
            described = files.read_json(newest / _RUN_FILE, files.LARGEST_CARD)
            if not isinstance(described, dict) or set(described) != {*self._run, "epoch", "files"}:
                raise InputError(f"{newest / _RUN_FILE} does not describe a checkpoint")
            if any(not isinstance(described[part], dict) for part in self._run):
                raise InputError(f"{newest / _RUN_FILE} does not describe a run")
            if described["epoch"] != epochs[-1]:
                raise InputError(f"{newest} is the state after {described['epoch']!r:.20} epochs")
            trees.check(newest / "state", described["files"], f"the arrays in {newest / 'state'}")
        except InputError as error:
            before = f"goes on from epoch {epochs[-2]}" if len(epochs) > 1 else "starts anew"
            raise InputError(f"{error}: delete {newest}, and training {before}") from error
        self._check_same_run(described)
        arrays = {f"carry/{i}": (tuple(leaf.shape), leaf.dtype) for i, leaf in enumerate(like)}
        found = {name: (leaf.shape, leaf.dtype) for name, leaf in trees.shapes(newest / "state").items()}
        if arrays != {name: leaf for name, leaf in found.items() if not name.startswith("history/")}:
            raise InputError(f"{newest} holds arrays of another model: delete {self.folder}, or choose another")
        saved = trees.read(newest / "state")
        return epochs[-1], [saved["carry"][str(i)] for i in range(len(like))], saved["history"]

    def save(self, epoch: int, arrays: list[Any], history: History) -> None:
        """Adds the state after `epoch` epochs, and removes all but the newest two.

        Raises:
          InputError: it cannot be written, or the folder is not there any more.
        """
        # Flat and as NumPy, so that optax's named tuples and the devices' layout need no description on disk.
        tree = {"carry": {str(i): np.asarray(array) for i, array in enumerate(arrays)}, "history": history}
        kept = self._epochs_there()
        advice = f"run again, and training goes on from epoch {kept[-1]}" if kept else ""
        with files.disk_errors(f"the checkpoint {self.folder / str(epoch)} cannot be written", advice):
            with files.atomic(self.folder / str(epoch)) as partial:
                partial.mkdir()
                digests = trees.write(partial / "state", tree)
                files.write_json(partial / _RUN_FILE, {**self._run, "epoch": epoch, "files": digests})
            for old in self._epochs()[:-KEPT]:
                files.remove(self.folder / str(old))

    def _epochs(self) -> list[int]:
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def _epochs_there(self) -> list[int]:
        """Raises InputError if what is there now is not the folder that was opened."""
        with contextlib.suppress(OSError):
            if files.identity(self.folder) == self._made:
                return self._epochs()
        raise InputError(f"{self.folder} was removed or replaced while this process wrote checkpoints there")

    def _check_same_run(self, found: dict[str, dict[str, Any]]) -> None:
        for part, ours in self._run.items():
            theirs = found[part]
            for name in sorted({*theirs, *ours}):
                if theirs.get(name) != ours.get(name):
                    raise InputError(
                        f"{self.folder} holds the checkpoints of a run with {name} = {theirs.get(name)!r:.60}, not "
                        f"{ours.get(name)!r:.60}: finish that run, delete the folder, or choose another"
                    )

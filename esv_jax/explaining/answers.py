"""What a model on the host says of coalitions: asked in batches, each coalition once, kept in an archive if wanted."""

import contextlib
import os
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks, files
from esv_jax.base import Array, Game, Host
from esv_jax.checks import InputError
from esv_jax.games.host import with_numpy_dtype
from esv_jax.results import archive as archives

# Between repeated calls: this long, then twice as long and so on.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# Of the largest score: by how much a model may differ from itself.
SAME = 1e-3
ROUNDING = 1e-9
# Classes of errors that another call may not meet, by their names: those of Python, requests, httpx, aiohttp, urllib3.
_OF_CONNECTIONS = {
    "ConnectionError",
    "ConnectTimeout",
    "NetworkError",
    "ClientConnectionError",
    "ServerTimeoutError",
    "Timeout",
    "TimeoutError",
    "TimeoutException",
}


class Asked(NamedTuple):
    """How far a model is asked: `done` of `wanted` coalitions, `new` of them by this call, in so many seconds."""

    done: int
    wanted: int
    new: int
    seconds: float

    @property
    def seconds_left(self) -> float:
        """By the pace so far; NaN before the first answer."""
        return self.seconds / self.new * (self.wanted - self.done) if self.new else float("nan")


class Limits(NamedTuple):
    """When to stop asking: after `seconds`, or before `cost` is exceeded at `cost_per_evaluation` each; None: never."""

    seconds: float | None = None
    cost: float | None = None
    cost_per_evaluation: float | None = None


class Stopped(Exception):
    """A limit was reached before all coalitions were asked about."""


class Answers:
    """A model's answers about one video, as they come.

    Attributes:
      game: with its `empty`, asked for where it had none.
      num_asked: how many times the model was asked about a coalition by this call.
    """

    def __init__(
        self,
        game: Game,
        model: Any,
        video: Any,
        *,
        archive: archives.Archive | None = None,
        limits: Limits = Limits(),  # noqa: B008 (a tuple)
        callback: Callable[[Asked], None] | None = None,
    ):
        checks.check_concrete("video", video, "a host game runs outside of JAX")
        self.game, self.num_asked, self._begun = game, 0, 0
        self._form = cast(Host, game.form)
        self._archive, self._limits, self._callback = archive, limits, callback
        self._num_players = game.num_players(video)
        self._prepared = game.prepare(model, video)
        self._batch_size, self._start = self._form.batch_size, time.perf_counter()
        self._row_of: dict[bytes, int] = {}
        self._scores: list[np.ndarray] = []
        if archive is not None and len(archive.mask):
            self._keep(archive.mask, archive.scores)
        elif self._form.check:
            self._check_same()
        if game.empty is None:
            nobody = np.zeros((1, self._num_players), bool)
            if not self.holds(nobody):
                self._begun += 1
                self._keep_new(nobody, self._call(nobody), len(self._row_of) + 1)
            self.game = game._replace(empty=np.asarray(game.link(jnp.asarray(self.of(nobody))))[0])

    def of(self, mask: Array) -> np.ndarray:
        """Scores, float [N, C], of coalitions bool [N, P]; the model is asked about those that are new.

        Raises:
          Stopped: a limit was reached; what was answered is kept.
          InputError: what the model returned is no array of finite scores.
        """
        keys = _keys(mask)
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in self._row_of}
        self._ask(np.asarray(mask, bool)[sorted(first.values())])
        return np.stack([self._scores[self._row_of[key]] for key in keys])

    def holds(self, mask: Array) -> bool:
        """Whether all of the coalitions have been asked about."""
        return all(key in self._row_of for key in _keys(mask))

    def _ask(self, mask: np.ndarray) -> None:
        wanted = len(self._row_of) + len(mask)
        if self._form.workers == 1:
            for batch in self._batches(mask):
                self._keep_new(batch, self._call(batch), wanted)
            return
        pool = ThreadPoolExecutor(self._form.workers)
        running: dict[Future, np.ndarray] = {}
        try:
            for batch in self._batches(mask):
                if len(running) == self._form.workers:
                    self._collect(running, wanted)
                running[pool.submit(self._call, batch)] = batch
            while running:
                self._collect(running, wanted)
        except Exception:
            # What is on its way is paid for. Ctrl-C does not wait for it.
            for future, batch in running.items():
                if future.exception() is None:
                    self._keep_new(batch, future.result(), wanted)
            raise
        finally:
            pool.shutdown(wait=False)

    def _collect(self, running: dict[Future, np.ndarray], wanted: int) -> None:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            self._keep_new(running.pop(future), future.result(), wanted)

    def _batches(self, mask: np.ndarray) -> Iterator[np.ndarray]:
        """Rows a call at a time, as long as the limits let."""
        start = 0
        while start < len(mask):
            count = min(self._batch_size, len(mask) - start, self._affordable())
            if count < 1:
                raise Stopped
            self._begun += count
            yield mask[start : start + count]
            start += count

    def _affordable(self) -> int:
        """How many more coalitions the limits let be asked about."""
        limits = self._limits
        if limits.seconds is not None and time.perf_counter() - self._start >= limits.seconds:
            return 0
        if limits.cost is None or limits.cost_per_evaluation is None:
            return self._batch_size
        return int(limits.cost / limits.cost_per_evaluation + ROUNDING) - self._begun

    def _call(self, mask: np.ndarray) -> np.ndarray:
        """Scores [n, C] of a batch, in parts where memory does not suffice."""
        pause = FIRST_PAUSE
        for left in reversed(range(self._form.retries + 1)):
            try:
                found = self.game.logits(self._prepared, mask)
                break
            except BaseException as error:
                if _is_out_of_memory(error) and len(mask) > 1:
                    self._batch_size = max(1, len(mask) // 2)
                    halves = mask[: self._batch_size], mask[self._batch_size :]
                    return np.concatenate([self._call(half) for half in halves])
                if not (left and _is_of_connection(error)):
                    error.add_note(f"raised while the model was asked about {_told(mask)}")
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        num_classes: int | str = len(self._scores[0]) if self._scores else "C"
        if self.game.empty is not None:
            num_classes = len(self.game.empty)
        found = np.asarray(checks.model_output("the game", np.asarray(found), len(mask), num_classes))
        finite = np.isfinite(found).all(axis=1)
        if not finite.all():
            raise InputError(
                f"the model should give finite scores, found {_first_bad(found[~finite][0])} for {_told(mask[~finite])}"
            )
        return found

    def _keep_new(self, mask: np.ndarray, scores: np.ndarray, wanted: int) -> None:
        self.num_asked += len(mask)
        if self._archive is not None:
            archives.append(self._archive, mask, scores)
        self._keep(mask, scores)
        if self._callback is not None:
            seconds = time.perf_counter() - self._start
            self._callback(Asked(len(self._row_of), wanted, self.num_asked, seconds))

    def _keep(self, mask: np.ndarray, scores: np.ndarray) -> None:
        for key, row in zip(_keys(mask), scores, strict=True):
            self._row_of[key] = len(self._scores)
            self._scores.append(row)

    def _check_same(self) -> None:
        """Asks about the whole video twice."""
        everyone = np.ones((1, self._num_players), bool)
        once, again = self._call(everyone), self._call(everyone)
        differ = float(np.abs(once - again).max())
        if differ > SAME * float(np.abs(once).max()):
            raise InputError(
                "the model should say the same of a video whenever it is asked, found scores of the whole video that "
                f"differ by up to {differ:.3g}: switch off dropout and other chance (model.eval()), or make the game "
                "with check=False"
            )
        self.num_asked += 1
        self._begun += 2
        self._keep_new(everyone, once, 1)


@contextlib.contextmanager
def asking(
    game: Game,
    model: Any,
    video: Any,
    *,
    archive: str | os.PathLike | None = None,
    limits: Limits = Limits(),  # noqa: B008 (a tuple)
    callback: Callable[[Asked], None] | None = None,
) -> Iterator[Answers]:
    """`Answers` with the archive at a path, which is open while the block lasts."""
    if archive is None:
        yield Answers(game, model, video, limits=limits, callback=callback)
        return
    empty = "asked for" if game.empty is None else _digest([np.asarray(game.empty)])
    about = {
        "model": fingerprint(model),
        "video": _digest(jax.tree.leaves(video)),
        "game": getattr(game.form, "about", ""),
        "empty": empty,
    }
    with archives.opened(archive, game.num_players(video), about) as opened:
        yield Answers(game, model, video, archive=opened, limits=limits, callback=callback)


def fingerprint(model: Any) -> str:
    """What tells a model from others: a digest of its weights where it has some that can be read, else its kind.

    Read are: PyTorch's state_dict, pytrees of arrays, texts (a server's address), and what can be pickled.
    """
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if isinstance(model, str):
        return model
    if hasattr(model, "state_dict"):
        named = sorted(model.state_dict().items())
        parts = [part for name, value in named for part in (name, checks.own(name, with_numpy_dtype(value)))]
        return f"{kind} {_digest(parts)}"
    leaves = jax.tree.leaves(model)
    if all(isinstance(leaf, np.ndarray | np.generic | jax.Array | int | float) for leaf in leaves):
        return f"{kind} {_digest([str(jax.tree.structure(model)), *leaves])}"
    try:
        return f"{kind} {_digest([np.frombuffer(pickle.dumps(model), np.uint8)])}"
    except Exception:  # Anything may be raised by what refuses to be pickled.
        return kind


def _digest(parts: list[Any]) -> str:
    """`files.short_digest` that tells arrays of other dtypes and shapes apart."""
    described: list[Any] = []
    for part in parts:
        array = np.asarray(part)
        described += [part] if isinstance(part, str) else [f"{array.dtype.str} {array.shape}", array]
    return files.short_digest(described)


def _keys(mask: Array) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(np.asarray(mask, bool), axis=1)]


def _told(mask: np.ndarray) -> str:
    """Coalitions in words."""
    first = np.flatnonzero(mask[0]).tolist()
    named = f"the coalition of {checks.listed(first, limit=64) if first else 'nobody'}"
    return named if len(mask) == 1 else f"{len(mask)} coalitions, the first that of {checks.listed(first, limit=64)}"


def _first_bad(scores: np.ndarray) -> str:
    index = int(np.flatnonzero(~np.isfinite(scores))[0])
    return f"{scores[index]} for class {index}"


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("out of memory", "can't allocate memory", "RESOURCE_EXHAUSTED")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in words)


def _is_of_connection(error: BaseException) -> bool:
    """Whether asking again may help."""
    reason = getattr(error, "reason", None)  # of urllib's URLError
    causes = [error, reason] if isinstance(reason, Exception) else [error]
    return any(kind.__name__ in _OF_CONNECTIONS for cause in causes for kind in type(cause).__mro__)

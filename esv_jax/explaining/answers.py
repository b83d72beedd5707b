"""What a model on the host says of coalitions: asked in batches, each coalition once, kept in an archive if wanted."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks, fingerprints
from esv_jax.base import Array, Game, Host
from esv_jax.checks import InputError
from esv_jax.games import players
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


class Temporary(str):
    """The path of an archive that lasts as long as one call: whose answers it holds need not be told."""


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


class Entries:
    """The entries of a video that players have, so that answers serve whatever they are grouped into.

    Attributes:
      count: E.
    """

    def __init__(self, game: Game, video: Any):
        form = cast(Host, game.form)
        self._lengths, self._members = {players.FRAMES: game.num_players(video)}, None
        if isinstance(video, Mapping):
            self._lengths = players.lengths_of(video)
        elif form.players is not None and form.num_entries is not None:
            self._lengths = {players.FRAMES: form.num_entries(video)}
        self.count = sum(self._lengths.values())
        if form.players is not None:
            self._members, self._always = players.membership(form.players, self._lengths)

    def of(self, mask: Array) -> np.ndarray:
        """Entries bool [N, E] of coalitions [N, P]."""
        mask = np.asarray(mask, bool)
        return mask if self._members is None else mask @ self._members | self._always

    def told(self, mask: np.ndarray) -> str:
        """Coalitions [N, E] in words."""
        is_one = len(self._lengths) == 1
        names = [i if is_one else f"{name} {i}" for name, length in self._lengths.items() for i in range(length)]
        first = checks.listed((names[i] for i in np.flatnonzero(mask[0])), limit=64) or "nobody"
        return f"the coalition of {first}" if len(mask) == 1 else f"{len(mask)} coalitions, the first that of {first}"

    def __str__(self) -> str:
        return ", ".join(f"{length} {name}" for name, length in self._lengths.items())


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
        self._entries = Entries(game, video)
        self._prepared = game.prepare(model, video)
        self._batch_size, self._start = self._form.batch_size, time.perf_counter()
        self._row_of: dict[bytes, int] = {}
        self._scores: list[np.ndarray] = []
        if archive is not None and len(archive.mask):
            self._keep(archive.mask, archive.scores)
        elif self._form.check:
            self._check_same()
        if game.empty is None:
            nobody = np.zeros((1, game.num_players(video)), bool)
            if not self.holds(nobody):
                self._begun += 1
                shown = self._entries.of(nobody)
                self._keep_new(shown, self._call(shown), len(self._row_of) + 1)
            self.game = game._replace(empty=np.asarray(game.link(jnp.asarray(self.of(nobody))))[0])

    def of(self, mask: Array) -> np.ndarray:
        """Scores, float [N, C], of coalitions bool [N, P]; the model is asked about those that are new.

        Raises:
          Stopped: a limit was reached; what was answered is kept.
          InputError: what the model returned is no array of finite scores.
        """
        shown = self._entries.of(mask)
        keys = _keys(shown)
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in self._row_of}
        self._ask(shown[sorted(first.values())])
        return np.stack([self._scores[self._row_of[key]] for key in keys])

    @property
    def dtype(self) -> np.dtype:
        """That of the scores; before the first of them a guess."""
        return self._scores[0].dtype if self._scores else np.dtype(np.float32)

    def holds(self, mask: Array) -> bool:
        """Whether all of the coalitions have been asked about."""
        return all(key in self._row_of for key in _keys(self._entries.of(mask)))

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
                if is_out_of_memory(error) and len(mask) > 1:
                    self._batch_size = max(1, len(mask) // 2)
                    halves = mask[: self._batch_size], mask[self._batch_size :]
                    return np.concatenate([self._call(half) for half in halves])
                if not (left and is_of_connection(error)):
                    error.add_note(f"raised while the model was asked about {self._entries.told(mask)}")
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
                f"the model should give finite scores, found {_first_bad(found[~finite][0])} for "
                f"{self._entries.told(mask[~finite])}"
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
        everyone = np.ones((1, self._entries.count), bool)
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
    empty = "asked for" if game.empty is None else fingerprints.of_arrays([np.asarray(game.empty)])
    entries = Entries(game, video)
    form = cast(Host, game.form)
    about = {}
    if not isinstance(archive, Temporary):
        about = {
            "model": fingerprints.of_model(model),
            "video": f"{fingerprints.of_arrays(jax.tree.leaves(video))} of {entries}",
            "game": form.about,
            "empty": empty,
        }
    with archives.opened(archive, entries.count, about, form.code) as opened:
        try:
            yield Answers(game, model, video, archive=opened, limits=limits, callback=callback)
        except BaseException as error:
            if not isinstance(error, InputError):
                error.add_note(f"what was answered is kept in {archive}: the same call goes on from there")
            raise


def _keys(mask: Array) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(np.asarray(mask, bool), axis=1)]


def _first_bad(scores: np.ndarray) -> str:
    index = int(np.flatnonzero(~np.isfinite(scores))[0])
    return f"{scores[index]} for class {index}"


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("out of memory", "can't allocate memory", "RESOURCE_EXHAUSTED")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in words)


def is_of_connection(error: BaseException) -> bool:
    """Whether asking again may help."""
    reason = getattr(error, "reason", None)  # of urllib's URLError
    causes = [error, reason] if isinstance(reason, Exception) else [error]
    return any(kind.__name__ in _OF_CONNECTIONS for cause in causes for kind in type(cause).__mro__)

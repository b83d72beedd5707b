"""A whole set of videos: chunks to do -> an executor -> chunks done. Only the caller, one process, writes."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import batches, checks, files
from esv_jax.base import Attribution, Estimator, Game, Host, Plan
from esv_jax.checks import InputError
from esv_jax.explaining.answers import is_of_connection, is_out_of_memory
from esv_jax.explaining.batch import LARGEST_BATCH, explain_batch, fitting_batch
from esv_jax.explaining.explain import is_exact, on_device

# Videos of a chunk, by default, in parts that the device takes at once: few, so that a killed run loses little.
PARTS_OF_A_CHUNK = 8
# What is given of a chunk -> starts on it; what that returns waits for it, and gives what was found.
Start = Callable[[Any], Callable[[], Any]]
# (start, what is given of chunk k, chunks to do) -> (k, what was found, or `Died`) of every chunk, in any order.
Executor = Callable[[Start, Callable[[int], Any], Sequence[int]], Iterator[tuple[int, Any]]]


class Died(NamedTuple):
    """In place of what was to be found of a chunk: `said`, a sentence of what became of all that worked on it."""

    said: str


class Found(NamedTuple):
    """What was found of a chunk of n videos.

    Attributes:
      rows: int [m], which of its videos have values.
      attribution: theirs, NumPy [m, ...]; None where m is 0.
      failed: of each other row, a sentence that says why it has none.
    """

    rows: np.ndarray
    attribution: Attribution | None
    failed: dict[int, str]


class Work(NamedTuple):
    """How the videos of a set, all of one shape, are explained.

    Attributes:
      estimator, game: as for `explain`.
      params: as for `explain`, once for each of the local devices that take turns; once for a model on the host.
      plan: serves all videos, so that their sampling errors are not independent; None where all coalitions are taken.
      chunk: videos of a chunk.
      at_once: videos that a device takes at once.
    """

    estimator: Estimator
    game: Game
    params: tuple[Any, ...]
    plan: Plan | None
    chunk: int
    at_once: int

    def start(self, videos: np.ndarray) -> list[Attribution]:
        """Starts to explain videos [n, T, ...] in parts of `at_once`: these in order, for the caller to wait for.

        The last part is filled up rather than compiled for, so its last rows may be of no video. A part is worked on by
        one device alone: its values are those of any other of the same kind, bit for bit.
        """
        parts = zip(batches.filled(len(videos), self.at_once), itertools.cycle(self.params), strict=False)
        return [explain_batch(self.estimator, self.game, params, videos[i], plan=self.plan) for i, params in parts]


def prepare(
    estimator: Estimator,
    game: Game,
    params: Any,
    video: jax.ShapeDtypeStruct,
    *,
    num_videos: int,
    floats_of_a_video: int,
    key: Any = None,
    chunk: int | None = None,
    platform: str | None = None,
) -> Work:
    """Draws the plan and divides the set, and raises what is wrong before anything is computed.

    Args:
      estimator, game, params: as for `explain`.
      video: shape and dtype of each of them.
      num_videos: how many there are.
      floats_of_a_video: about how many numbers are held of one at a time.
      key: of the plan, where the estimator samples.
      chunk: videos of a chunk; None: as many as can be lost when the run is killed.
      platform: of the devices that will do it, "cpu" or another; this process's by default.

    Raises:
      InputError: as `explain`.
    """
    num_players = game.num_players(video)
    if isinstance(game.form, Host):
        # One video at a time: a killed run loses the answers of no more than a chunk.
        plan = None if is_exact(estimator, game, num_players) else estimator.plan(num_players, key=key)
        return Work(estimator, game, (params,), plan, chunk or 1, 1)
    params = checks.own("params", params)
    devices = jax.local_devices()
    # What is put on a device by name draws what is computed with it there.
    copies = [jax.device_put(params, device) for device in devices] if len(devices) > 1 else [jax.device_put(params)]
    plan = None if is_exact(estimator, game, num_players) else on_device(estimator.plan(num_players, key=key))
    at_once = fitting_batch(floats_of_a_video, platform)
    whole = 2 ** (num_videos - 1).bit_length()
    chunk = chunk or min(LARGEST_BATCH, PARTS_OF_A_CHUNK * at_once, whole)
    at_once = min(at_once, chunk)
    batch = jax.ShapeDtypeStruct((at_once, *video.shape), video.dtype)
    jax.eval_shape(lambda videos: explain_batch(estimator, game, params, videos, plan=plan), batch)
    return Work(estimator, game, tuple(copies), plan, chunk, at_once)


def run(
    work: Work,
    todo: Sequence[int],
    given: Callable[[int], Sequence[Any]],
    read: Callable[[Sequence[Any]], np.ndarray],
    executor: Executor | None = None,
) -> Iterator[tuple[int, Found]]:
    """Every chunk k to do with what was found, for the caller to write.

    A video that cannot be read, or of which a model on the host raises, costs no other one its values: where several
    are at it together, each is tried alone. What is wrong with the machine or the connection is raised.

    Args:
      work: of `prepare`.
      todo: the chunks that are not done.
      given: k -> of each of its n videos what `read` takes; small, since it may travel.
      read: what is given of n videos -> videos [n, T, ...]; called where the work is done.
      executor: in this process by default, the device at work on the next chunk while one is written.
    """
    # What is on the device is waited for later; a model on the host is not asked on before its answers are written.
    in_process = one_by_one if isinstance(work.game.form, Host) else one_ahead
    for k, found in (executor or in_process)(functools.partial(_start, work, read), given, todo):
        if isinstance(found, Died):
            found = Found(np.zeros(0, int), None, dict.fromkeys(range(len(given(k))), found.said))
        yield k, found


def in_order(found: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """What an executor gives of the chunks 0, 1, 2, ...: in this order, whatever the order in which it comes."""
    early: dict[int, Any] = {}
    k = 0
    for number, of_chunk in found:
        early[number] = of_chunk
        while k in early:
            yield early.pop(k)
            k += 1


def as_sent(given: Sequence[np.ndarray | str]) -> np.ndarray:
    """The `read` of videos that are given themselves, or why they cannot be read."""
    for of_video in given:
        if isinstance(of_video, str):
            raise InputError(of_video)
    return np.stack(given)


def one_by_one(start: Start, given: Callable[[int], Any], todo: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """The executor in this process that starts no chunk before the one before is written."""
    for k in todo:
        yield k, start(given(k))()


def one_ahead(start: Start, given: Callable[[int], Any], todo: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """The executor in this process: the next chunk is started before this one is given."""
    running = None
    for k in todo:
        started = k, start(given(k))
        if running:
            yield running[0], running[1]()
        running = started
    if running:
        yield running[0], running[1]()


def _start(work: Work, read: Callable[[Sequence[Any]], np.ndarray], given: Sequence[Any]) -> Callable[[], Found]:
    videos, failed = _read(read, given)
    rows = [row for row in range(len(given)) if row not in failed]
    if isinstance(work.game.form, Host):
        return functools.partial(_asked, work, videos, rows, failed)
    return functools.partial(_waited_for, work.start(videos) if rows else [], rows, failed)


def _read(read: Callable[[Sequence[Any]], np.ndarray], given: Sequence[Any]) -> tuple[np.ndarray, dict[int, str]]:
    """The videos that can be read, [m, T, ...], and of the other rows why they cannot."""
    try:
        return read(given), {}
    except InputError:
        pass
    videos, failed = [], {}
    for row, of_video in enumerate(given):
        try:
            videos.append(read([of_video]))
        except InputError as error:
            failed[row] = str(error)
    return np.concatenate(videos) if videos else np.zeros(0), failed


def _waited_for(parts: list[Attribution], rows: list[int], failed: dict[int, str]) -> Found:
    return Found(np.array(rows, int), _joined(parts, len(rows)), failed)


def _asked(work: Work, videos: np.ndarray, rows: list[int], failed: dict[int, str]) -> Found:
    """Asks a model on the host about one video after another."""
    found = {}
    for row, video in zip(rows, videos, strict=True):
        try:
            found[row] = work.start(video[None])
        except InputError as error:
            failed[row] = str(error)
        except Exception as error:
            if is_of_connection(error) or is_out_of_memory(error):
                raise
            failed[row] = f"the model raised {type(error).__name__}: {files.reason(error)}"
    parts = [part for of_video in found.values() for part in of_video]
    return Found(np.array([*found], int), _joined(parts, len(found)), failed)


def _joined(parts: list[Attribution], count: int) -> Attribution | None:
    if not parts:
        return None
    joined: Attribution = jax.tree.map(lambda *of_parts: np.concatenate(of_parts)[:count], *parts)
    return joined

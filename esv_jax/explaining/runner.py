"""A whole set of videos: chunks to do -> an executor -> chunks done. Only the caller, one process, writes."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import batches, checks
from esv_jax.base import Attribution, Estimator, Game, Host, Plan
from esv_jax.explaining.batch import LARGEST_BATCH, explain_batch, fitting_batch
from esv_jax.explaining.explain import is_exact, on_device

# Videos of a chunk, by default, in parts that the device takes at once: few, so that a killed run loses little.
PARTS_OF_A_CHUNK = 8
# (starts chunk k, chunks to do) -> (k, what it started) of every chunk, in any order.
Executor = Callable[[Callable[[int], Any], Sequence[int]], Iterator[tuple[int, Any]]]


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
        """Starts to explain videos [n, T, ...] in parts of `at_once`: these in order; `run` waits for them.

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
) -> Work:
    """Draws the plan and divides the set, and raises what is wrong before anything is computed.

    Args:
      estimator, game, params: as for `explain`.
      video: shape and dtype of each of them.
      num_videos: how many there are.
      floats_of_a_video: about how many numbers are held of one at a time.
      key: of the plan, where the estimator samples.
      chunk: videos of a chunk; None: as many as can be lost when the run is killed.

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
    at_once = fitting_batch(floats_of_a_video)
    whole = 2 ** (num_videos - 1).bit_length()
    chunk = chunk or min(LARGEST_BATCH, PARTS_OF_A_CHUNK * at_once, whole)
    at_once = min(at_once, chunk)
    batch = jax.ShapeDtypeStruct((at_once, *video.shape), video.dtype)
    jax.eval_shape(lambda videos: explain_batch(estimator, game, params, videos, plan=plan), batch)
    return Work(estimator, game, tuple(copies), plan, chunk, at_once)


def run(
    work: Work, todo: Sequence[int], read: Callable[[int], np.ndarray], executor: Executor | None = None
) -> Iterator[tuple[int, Attribution]]:
    """Every chunk k to do with its attributions, NumPy [n, ...], for the caller to write.

    Args:
      work: of `prepare`.
      todo: the chunks that are not done.
      read: k -> its videos [n, T, ...].
      executor: in this process by default, the device at work on the next chunk while one is written.
    """
    sizes: dict[int, int] = {}

    def start(k: int) -> list[Attribution]:
        videos = read(k)
        sizes[k] = len(videos)
        return work.start(videos)

    # What is on the device is waited for later; a model on the host is not asked on before its answers are written.
    in_process = one_by_one if isinstance(work.game.form, Host) else one_ahead
    for k, parts in (executor or in_process)(start, todo):
        yield k, jax.tree.map(lambda *of_parts, n=sizes[k]: np.concatenate(of_parts)[:n], *parts)


def one_by_one(start: Callable[[int], Any], todo: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """The executor in this process that starts no chunk before the one before is written."""
    for k in todo:
        yield k, start(k)


def one_ahead(start: Callable[[int], Any], todo: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """The executor in this process: the next chunk is started before this one is given."""
    running = None
    for k in todo:
        started = k, start(k)
        if running:
            yield running
        running = started
    if running:
        yield running

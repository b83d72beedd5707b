"""Frames of many videos, ready for a backbone: decoded, resized and cropped by several processes ahead of time.

    with batches_of(videos, preprocess, batch_size=16, num_processes=4) as batches:
        for batches_of_a_video in batches:           # in the order given
            for images in batches_of_a_video:        # uint8 [at most 16, size, size, 3]; InputError where it fails

Process p decodes the videos p, p + P, p + 2 P, ... and stays a bounded number of frames ahead of its reader, so that
memory does not grow with the videos.
"""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esv_jax.checks import InputError
from esv_jax.video import decode
from esv_jax.video.preprocess import Preprocess, resize_and_crop

FRAMES_AHEAD = 256  # of every process


class Video(NamedTuple):
    """A video, or a part of one: the frames start .. stop - 1, all from `start` on if `stop` is None."""

    path: Path
    start: int = 0
    stop: int | None = None


class _Worker(NamedTuple):
    process: Any
    connection: Connection


@contextlib.contextmanager
def batches_of(
    videos: Sequence[Video], preprocess: Preprocess, *, batch_size: int, num_processes: int
) -> Iterator[Iterator[Iterator[np.ndarray]]]:
    """Gives, for every video in turn, its frames in batches; all of a video's have to be taken before the next.

    Args:
      videos: what to decode.
      preprocess: how to resize and crop; mean and std are not applied.
      batch_size: frames in a batch, but the last of a video.
      num_processes: that decode at the same time; 0: decode in this one, when asked.

    Iterating over a video's batches raises InputError where it cannot be decoded, also if the process that does it
    dies; the others are not affected.
    """
    if num_processes == 0:
        yield (_batches(video, preprocess, batch_size) for video in videos)
        return
    workers: dict[int, _Worker] = {}
    num_processes = min(num_processes, len(videos))

    def start(first: int) -> _Worker:
        """A process for the videos first, first + P, ..."""
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads, such as JAX's, may hang
        here, there = context.Pipe(duplex=False)
        arguments = (there, videos[first::num_processes], preprocess, batch_size)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        there.close()  # so that its end is seen here
        return _Worker(process, here)

    def of_video(i: int) -> Iterator[np.ndarray]:
        place = i % num_processes
        try:
            yield from _received(workers[place].connection)
        except (EOFError, OSError):
            workers[place].process.join()
            code = workers[place].process.exitcode
            if i + num_processes < len(videos):
                workers[place] = start(i + num_processes)
            raise InputError(f"the process that decoded {videos[i].path} ended with the code {code}") from None

    try:
        workers.update({place: start(place) for place in range(num_processes)})
        yield (of_video(i) for i in range(len(videos)))
    finally:
        for worker in workers.values():
            worker.connection.close()
            worker.process.terminate()
            worker.process.join()


def available_cpus() -> int:
    """How many processes this one may keep busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(video: Video, preprocess: Preprocess, batch_size: int) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    for frame in decode.iter_frames(video.path, video.start, video.stop):
        batch.append(resize_and_crop(frame[None], preprocess)[0])
        if len(batch) == batch_size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _received(connection: Connection) -> Iterator[np.ndarray]:
    """What `_serve` sends of one video."""
    while True:
        message = connection.recv()
        if message is None:
            return
        if isinstance(message, str):
            raise InputError(message)
        yield message


def _serve(connection: Connection, videos: Sequence[Video], preprocess: Preprocess, batch_size: int) -> None:
    """A process: sends its videos' batches, and after each video None, or a sentence that says why it ended early."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started this process ends it
    messages: queue.Queue[Any] = queue.Queue(max(1, FRAMES_AHEAD // batch_size))
    threading.Thread(target=_send, args=(connection, messages), daemon=True).start()
    for video in videos:
        end: str | None = None
        try:
            for batch in _batches(video, preprocess, batch_size):
                messages.put(batch)
        except InputError as error:
            end = str(error)
        messages.put(end)
    messages.join()


def _send(connection: Connection, messages: queue.Queue[Any]) -> None:
    while True:
        try:
            connection.send(messages.get())
        except OSError:  # nobody listens any more
            os._exit(0)
        messages.task_done()

"""Frames of many videos, ready for a backbone: decoded, resized and cropped by several processes ahead of time.

    with batches_of(videos, preprocess, batch_size=16, num_processes=4) as batches:
        for batches_of_a_video in batches:           # in the order given
            for images in batches_of_a_video:        # uint8 [at most 16, size, size, 3]; InputError where it fails

Process p decodes the videos p, p + P, p + 2 P, ... and stays a bounded number of frames ahead of its reader, so that
memory does not grow with the videos.
"""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError
from esv_jax.video import decode, decoder_process
from esv_jax.video.frames import Seconds
from esv_jax.video.preprocess import Preprocess, resize_and_crop

FRAMES_AHEAD = 256  # of every process


class Video(NamedTuple):
    """A video, or a part of one, given as `decode.iter_frames` takes it."""

    path: Path
    start: int | Seconds = 0
    stop: int | Seconds | None = None


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
    workers: dict[int, Any] = {}
    num_processes = min(num_processes, len(videos))

    def of_video(i: int) -> Iterator[np.ndarray]:
        place = i % num_processes
        try:
            yield from _received(workers[place].stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            _end(workers[place])
            code = workers[place].returncode
            if i + num_processes < len(videos):
                workers[place] = _started((videos[i + num_processes :: num_processes], preprocess, batch_size))
            raise InputError(f"the process that decoded {videos[i].path} ended with the code {code}") from None

    try:
        for place in range(num_processes):
            workers[place] = _started((videos[place::num_processes], preprocess, batch_size))
        yield (of_video(i) for i in range(len(videos)))
    finally:
        for worker in workers.values():
            worker.terminate()
            _end(worker)


def available_cpus() -> int:
    """How many processes this one may keep busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(video: Video, preprocess: Preprocess, batch_size: int) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    try:
        for frame in decode.iter_frames(video.path, video.start, video.stop):
            batch.append(resize_and_crop(frame[None], preprocess)[0])
            if len(batch) == batch_size:
                yield np.stack(batch)
                batch = []
    except (OSError, MemoryError) as error:
        raise InputError(f"{video.path} cannot be read: {files.reason(error)}") from error
    if batch:
        yield np.stack(batch)


def _started(arguments: tuple[Sequence[Video], Preprocess, int]) -> Any:
    """A process (`subprocess.Popen`) that does `_serve(.., *arguments)`.

    Not one of multiprocessing, which imports the user's script first, and in that time does not see its parent die.
    """
    job = pickle.dumps((sys.path, pickle.dumps((_serve, arguments))))
    with files.disk_errors("no process that decodes can be started"):
        worker: Any = subprocess.Popen(
            [sys.executable, "-P", decoder_process.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    with contextlib.suppress(OSError):  # it has ended already, which is seen where its answers are read
        worker.stdin.write(len(job).to_bytes(decoder_process.LENGTH_BYTES, "little") + job)
        worker.stdin.flush()
    return worker


def _end(worker: Any) -> None:
    """Waits for a process that has ended, or ends as nobody listens any more."""
    for pipe in (worker.stdin, worker.stdout):
        with contextlib.suppress(OSError):  # what could not be written
            pipe.close()
    worker.wait()


def _received(answers: IO[bytes]) -> Iterator[np.ndarray]:
    """What `_serve` sends of one video."""
    while True:
        message = pickle.load(answers)  # noqa: S301 (of a process of ours)
        if message is None:
            return
        if isinstance(message, str):
            raise InputError(message)
        yield message


def _serve(answers: IO[bytes], videos: Sequence[Video], preprocess: Preprocess, batch_size: int) -> None:
    """A process: sends its videos' batches, and after each video None, or a sentence that says why it ended early."""
    messages: queue.Queue[Any] = queue.Queue(max(1, FRAMES_AHEAD // batch_size))
    threading.Thread(target=_send, args=(answers, messages), daemon=True).start()
    for video in videos:
        end: str | None = None
        try:
            for batch in _batches(video, preprocess, batch_size):
                messages.put(batch)
        except InputError as error:
            end = str(error)
        messages.put(end)
    messages.join()


def _send(answers: IO[bytes], messages: queue.Queue[Any]) -> None:
    while True:
        try:
            pickle.dump(messages.get(), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
        except OSError:  # nobody listens any more
            os._exit(0)
        messages.task_done()

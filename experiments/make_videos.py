"""Makes the procedural action set: short videos of things that move, appear, collide ..., with their annotations.

    esv-jax make_videos --out=out/videos --clips_per_class=100
    esv-jax make_videos --out=out/one --split=test --class_name="Moving something left"

Of every class's clips 1 in 10 is of the split "test", 1 of "validation" and 8 of "train", in this order and over
again, so a few clips are held-out ones. A clip depends on --seed and its number alone. Run again after an
interruption, or with more clips per class, it makes only what is missing. The files are described in
esv_jax/procedural/files.py.
"""

import concurrent.futures
import itertools
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from esv_jax import progress
from esv_jax.checks import InputError
from esv_jax.procedural import files, scripts

from . import cli

CLIPS_WORTH_A_PROCESS = 16  # starting one costs about as much as drawing these

OUT = cli.DEFINE_path("out", None, "Folder for the videos and annotations.", required=True)
CLIPS_PER_CLASS = flags.DEFINE_integer("clips_per_class", 1, "Clips of each class and split asked for.", 1, 100_000)
SPLIT = flags.DEFINE_enum("split", None, sorted(set(scripts.SPLITS)), "Only this split; all if not given.")
CLASS_NAMES = flags.DEFINE_multi_string("class_name", None, "Only this class; repeat it for more; all if not given.")
SEED = flags.DEFINE_integer("seed", 0, "Another seed, another set.", 0, 2**63 - 1)
WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes that draw.", lower_bound=1)


def main() -> None:
    unknown = set(CLASS_NAMES.value or ()) - set(scripts.CLASS_NAMES)
    if unknown:
        raise InputError(
            f"--class_name should be one of {', '.join(scripts.CLASS_NAMES)}; found {sorted(unknown)[0]!r}"
        )
    out = cli.output_folder(OUT.value)
    files.start(out, SEED.value)
    wanted = _wanted()
    todo = [index for index in wanted if not files.video_path(out, index).exists()]
    with progress.bars("clips") as bars:
        task = bars.add_task("drawing", total=len(wanted), completed=len(wanted) - len(todo))
        for _ in _written(out, todo):
            bars.advance(task)
    count = files.write_annotations(out, SEED.value)
    print(f"{out}: {len(todo)} clips made, {count} in the folder; labels in {out / 'labels.csv'}")
    if len(wanted) == 1:
        print(f"the clip: {files.video_path(out, wanted[0])}")


def _wanted() -> list[int]:
    """Numbers of the clips asked for, increasing."""
    num_classes = len(scripts.CLASS_NAMES)
    names = CLASS_NAMES.value or scripts.CLASS_NAMES
    classes = [i for i, name in enumerate(scripts.CLASS_NAMES) if name in names]
    of_split = (lap for lap in itertools.count() if SPLIT.value in (None, scripts.SPLITS[lap % len(scripts.SPLITS)]))
    laps = itertools.islice(of_split, CLIPS_PER_CLASS.value)
    return [lap * num_classes + i for lap in laps for i in classes]


def _written(out: Path, todo: list[int]) -> Iterator[None]:
    """Draws the clips `todo`, in several processes if there are many, and yields after each."""
    workers = min(WORKERS.value, len(todo) // CLIPS_WORTH_A_PROCESS)
    if workers <= 1:
        for index in todo:
            files.write_clip(out, SEED.value, index)
            yield
        return
    # "spawn": a fork of a process with JAX's threads may hang.
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_leave_with_parent
    ) as pool:
        futures = [pool.submit(files.write_clip, out, SEED.value, index) for index in todo]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_with_parent() -> None:
    """In a worker: ends it should the script be killed, which would leave it waiting for ever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    cli.run(main)

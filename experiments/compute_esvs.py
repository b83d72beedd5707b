"""Element Shapley Values of a whole set of videos, from their features, into a results store.

    esv-jax compute_esvs --features=out/features --model=out/trn --priors=priors.csv --num_frames=8 \\
        --out=out/esvs.zarr
    esv-jax compute_esvs --features=features.hdf --model=out/trn --num_frames=8 --num_frames=16 \\
        --estimator=orderings --max_evaluations=1024 --seed=1 --out=out/sampled.zarr
    esv-jax compute_esvs --features=out/features --model=my_models:over_features --classes=classes.csv \\
        --priors=priors.csv --num_frames=16 --max_evaluations=400 --out=out/mine.zarr

Every video is shown to the model by the frames at the centres of num_frames equal segments. Videos with fewer frames,
and those whose features are not finite, are left out and listed, here and in the store. A run that was interrupted goes
on where it stopped when the same command is given again, and gives the same store bit for bit. Read the store with
`esv_jax.results.open`. The last bits of values depend on the machine, on processors also on how many threads compute
(NPROC): a store begun elsewhere is gone on with by --allow_other_machine alone, and says so.

Anyone's model is --model=module:function, a factory without arguments, of a module that can be imported here. It
returns predict, (features [N, T, D]) -> scores [N, C], or a torch.nn.Module; or --onnx, a file. It is asked video by
video, and a run that is killed loses the answers of one.

Many devices and machines: --workers=8 has a GPU each on this machine; RAY_ADDRESS=... names a cluster of Ray. The store
is that of the plain command, bit for bit, and only this process writes it. Videos that fail, so that they have no
values, are kept as such with the reason, listed, and an error; --retry_failed tries them again.

Estimators that sample draw one plan for a number of frames, by --seed: it serves all videos, whatever the batch, so
that their sampling errors are not independent.
"""

import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from rich.progress import Progress

import esv_jax
from esv_jax import files, progress
from esv_jax.checks import InputError, listed
from esv_jax.data import labelled_features, remote_features
from esv_jax.data.labelled_features import FramesOfClips, LabelledFeatures
from esv_jax.explaining import runner
from esv_jax.explaining.batch import LARGEST_BATCH
from esv_jax.explaining.choose import choose
from esv_jax.explaining.explain import is_exact
from esv_jax.results import store_writer
from esv_jax.results.explanation import NO_INTERVAL
from esv_jax.results.store_files import Chunks, group_name, read_group
from esv_jax.results.video_index import VideoIndex, video_index

from . import cli, estimator_flags, host_flags, worker_flags
from .models_of_features import ModelOfFeatures, load, open_features

FEATURES = cli.DEFINE_place(
    "features",
    None,
    "Feature store, here or at s3://, gs://, az://, https://; or HDF5 file of Play Fair.",
    required=True,
)
SPLIT = flags.DEFINE_string("split", None, "Only the clips of this split.")
MODEL = cli.DEFINE_path("model", None, "Model folder; or module:function.")
PRIORS = cli.DEFINE_path("priors", None, "csv or json of class priors; those of the model by default.")
NUM_FRAMES = flags.DEFINE_multi_integer("num_frames", [8], "Frames shown of each video; repeatable.", lower_bound=1)
BY_TIME = flags.DEFINE_bool(
    "by_time",
    False,
    "In place of --estimator=recommended: exact, or regression with more evaluations, where a measurement of the model "
    "says that they take no longer; the store keeps what was chosen, and a run that goes on does not choose again.",
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "The most videos worked on and written at once.", lower_bound=1)
ALLOW_OTHER_MACHINE = flags.DEFINE_bool(
    "allow_other_machine",
    False,
    "Go on with a store that another machine, number of threads or version of packages has begun; the last bits of "
    "values then depend on which computed them, and the store says so.",
)
RETRY_FAILED = flags.DEFINE_bool("retry_failed", False, "Try the videos again that failed when the store was made.")
OUT = cli.DEFINE_path("out", None, "The results store, a folder that usually ends in .zarr.", required=True)
LARGEST_CHUNK = 2**28  # floats
VIDEOS_MEASURED = 4
# Where so many videos fail before any has values, it is not for the videos.
FAILURES_AT_FIRST = 3
# Flags that decide no value: the command in the store is without them.
_WITH_A_VALUE, _SWITCHES = {"out", "workers", "compilation_cache"}, {"allow_other_machine", "retry_failed"}


class OfLength(NamedTuple):
    """What is to be done for one number of frames T: of which videos, how, and the estimator if it was --by_time."""

    videos: VideoIndex
    work: runner.Work
    by_time: dict[str, Any]


def main() -> None:
    if BY_TIME.value and estimator_flags.ESTIMATOR.value != "recommended":
        raise InputError(f"--by_time chooses the estimator: give no --estimator={estimator_flags.ESTIMATOR.value}")
    if BY_TIME.value and (host_flags.is_given(MODEL.value) or worker_flags.WORKERS.value):
        what = "--workers" if worker_flags.WORKERS.value else "anyone's model"
        raise InputError(
            f"--by_time measures a model folder in this process, not {what}: say --max_evaluations instead"
        )
    bars = progress.bars("videos")
    with worker_flags.opened(bars) as workers:
        _compute(workers, bars)


def _compute(workers: worker_flags.Workers, bars: Progress) -> None:
    subject = load(MODEL.value, PRIORS.value)
    features = open_features(FEATURES.value, subject, SPLIT.value)
    chosen = _of_split(features)
    not_finite = labelled_features.count_not_finite(features, chosen)
    # What cannot be done for one of the numbers of frames is told of before anything is written.
    platform = workers.machine["platform"]
    counts = sorted(set(NUM_FRAMES.value))
    lengths = [_of_length(features, chosen, not_finite, subject, count, platform) for count in counts]
    configuration = _configuration(subject, workers.machine)
    failed = {}
    with (
        store_writer.writing(OUT.value, configuration, other_machine=ALLOW_OTHER_MACHINE.value) as folder,
        bars,
    ):
        for length in lengths:
            chunks = store_writer.open_group(
                folder,
                length.videos,
                prior=subject.prior,
                class_names=subject.class_names,
                batch_size=length.work.chunk,
                sampled=length.work.plan is not None,
                provenance={"command": _command(), **configuration, **length.by_time},
            )
            if RETRY_FAILED.value:
                store_writer.forget_failed(chunks)
            _fill(chunks, length, features, subject.class_names, workers, bars)
            failed[length.videos.frame_index.shape[1]] = chunks.failed()
    if subject.warning:
        print(f"note: {subject.warning}", file=sys.stderr)
    _report(lengths, failed)


def _of_split(features: LabelledFeatures) -> list[int]:
    """The numbers of the clips asked for."""
    chosen = [i for i, clip in enumerate(features.clips) if SPLIT.value in (None, clip.split)]
    if not chosen:
        of_split = "" if SPLIT.value is None else f" of the split {SPLIT.value!r:.80}"
        raise InputError(f"{FEATURES.value} holds no clips{of_split}")
    return chosen


def _of_length(
    features: LabelledFeatures,
    chosen: list[int],
    not_finite: dict[int, int],
    subject: ModelOfFeatures,
    num_frames: int,
    platform: str,
) -> OfLength:
    estimator_flags.check_budget(num_frames)
    videos = video_index(features, chosen, not_finite, num_frames)
    feature_dim, num_classes, by_time = features.header.feature_dim, len(subject.prior), {}
    name, options = estimator_flags.ESTIMATOR.value, estimator_flags.options()
    if BY_TIME.value:
        name, options = _chosen(features, videos, subject, num_frames)
        by_time = {"chosen_estimator": name, "chosen_options": options}
    estimator = estimator_flags.MAKERS[name](**options)
    every_coalition = is_exact(estimator, subject.game, num_frames)
    floats = estimator_flags.floats_of_a_video(every_coalition, num_frames, num_classes, name, options)
    work = runner.prepare(
        estimator,
        subject.game,
        subject.params,
        jax.ShapeDtypeStruct((num_frames, feature_dim), np.float32),
        num_videos=len(videos.numbers),
        floats_of_a_video=floats,
        key=jax.random.key(estimator_flags.SEED.value),
        chunk=_batch_size(len(videos.numbers), num_frames * (feature_dim + 2 * num_classes)),
        platform=platform,
    )
    return OfLength(videos, work, by_time)


def _chosen(
    features: LabelledFeatures, videos: VideoIndex, subject: ModelOfFeatures, num_frames: int
) -> tuple[str, dict[str, Any]]:
    """Name and options of the estimator --by_time: that of the store, or measured on its first videos."""
    if (Path(OUT.value) / group_name(num_frames)).exists():
        attributes = read_group(Path(OUT.value), num_frames).attributes
        if "chosen_estimator" in attributes:
            return attributes["chosen_estimator"], attributes["chosen_options"]
    first = zip(videos.numbers[:VIDEOS_MEASURED], videos.frame_index, strict=False)
    shown = labelled_features.frames(features, [*first])
    budget = estimator_flags.MAX_EVALUATIONS.value
    choice = choose(subject.game, subject.params, shown, max_evaluations=budget)
    print(f"num_frames={num_frames}: {choice.said}")
    return choice.name, choice.options


def _batch_size(num_videos: int, floats_of_a_video: int) -> int | None:
    """--batch_size, no more than the power of two that holds all videos, and such as memory holds."""
    if BATCH_SIZE.value is None:
        return None
    batch_size = min(BATCH_SIZE.value, 2 ** (num_videos - 1).bit_length())
    largest = max(1, LARGEST_CHUNK // floats_of_a_video)
    if batch_size > largest:
        raise InputError(
            f"--batch_size should be at most {largest}, so that the frames and values of a batch take at most 1 GiB, "
            f"found {BATCH_SIZE.value}"
        )
    return batch_size


def _reading(
    features: LabelledFeatures, length: OfLength, class_names: Sequence[str], workers: worker_flags.Workers
) -> tuple[Callable[[int], Sequence[Any]], Callable[[Sequence[Any]], np.ndarray]]:
    """What is given of a chunk, and what reads that: here, or where the work is done if the features are seen there."""

    def wanted(k: int) -> list[tuple[int, np.ndarray]]:
        chunk = slice(k * length.work.chunk, (k + 1) * length.work.chunk)
        return [*zip(length.videos.numbers[chunk], length.videos.frame_index[chunk], strict=True)]

    def sent(k: int) -> list[np.ndarray | str]:
        return [_frames_or_why(features, of_clip) for of_clip in wanted(k)]

    if workers.on_ray is None:
        return wanted, functools.partial(labelled_features.frames, features)
    if workers.see(FEATURES.value):
        path = FEATURES.value if remote_features.is_remote(FEATURES.value) else os.path.abspath(FEATURES.value)
        return wanted, FramesOfClips(path, tuple(class_names), SPLIT.value).read
    return sent, runner.as_sent


def _frames_or_why(features: LabelledFeatures, of_clip: tuple[int, np.ndarray]) -> np.ndarray | str:
    """Frames [T, D] of a clip, or why they cannot be read."""
    try:
        return labelled_features.frames(features, [of_clip])[0]
    except InputError as error:
        return str(error)


def _fill(
    chunks: Chunks,
    length: OfLength,
    features: LabelledFeatures,
    class_names: Sequence[str],
    workers: worker_flags.Workers,
    bars: Progress,
) -> None:
    """Computes and writes the chunks that are not there."""
    todo = chunks.unfinished()
    missing = sum(min(chunks.batch_size, chunks.num_videos - k * chunks.batch_size) for k in todo)
    done = done_at_start = chunks.num_videos - missing
    has_values = done > sum(map(len, chunks.failed().values()))
    task = bars.add_task(chunks.group.name, total=chunks.num_videos, completed=done)
    start = time.monotonic()
    given, read = _reading(features, length, class_names, workers)
    held: list[tuple[int, runner.Found]] = []  # failures at first, until a video has values
    for k, found in runner.run(length.work, todo, given, read, workers.executor):
        has_values |= len(found.rows) > 0
        held.append((k, found))
        failures = [said for _, of_chunk in held for said in of_chunk.failed.values()]
        if not has_values and (len(failures) >= FAILURES_AT_FIRST or len(failures) == missing):
            raise InputError(f"the first {len(failures)} videos failed, and none has values: {failures[0]}")
        while has_values and held:
            number, of_chunk = held.pop(0)
            _write(chunks, number, of_chunk, length.videos.uid)
            done += len(of_chunk.rows) + len(of_chunk.failed)
        rate = (done - done_at_start) / (time.monotonic() - start)
        bars.update(task, completed=done, said=f"{rate:.4g} videos/s")


def _write(chunks: Chunks, k: int, found: runner.Found, uids: Sequence[str]) -> None:
    num_videos = len(found.rows) + len(found.failed)
    arrays = {name: np.full((num_videos, *shape), np.nan, np.float32) for name, shape in chunks.shapes.items()}
    if found.attribution is not None:
        values = found.attribution
        low, high = values.interval()
        of_all = {"esv": values.values, "std_error": values.std_error, "low": low, "high": high, "score": values.full}
        for name, array in arrays.items():
            array[found.rows] = of_all[name]
    first = k * chunks.batch_size
    failed = {uids[first + row]: _without_folders(said) for row, said in found.failed.items()}
    store_writer.write_chunk(chunks, k, arrays, failed)


def _without_folders(said: str) -> str:
    """A sentence for the store, which tells nothing of where it was made."""
    name = cli.last_part(FEATURES.value)
    return said.replace(os.path.abspath(FEATURES.value), name).replace(FEATURES.value, name)


def _configuration(subject: ModelOfFeatures, machine: dict[str, Any]) -> dict[str, Any]:
    """All that decides the values, whatever the number of frames."""
    return {
        **subject.described,
        "features_digest": labelled_features.digest(FEATURES.value),
        "split": SPLIT.value,
        "prior_digest": files.short_digest([np.asarray(subject.prior, "<f4")]),
        "estimator": estimator_flags.ESTIMATOR.value,
        "estimator_options": estimator_flags.options(),
        "seed": estimator_flags.SEED.value,
        "machine": machine,
        "versions": cli.versions(),
        **({"by_time": True} if BY_TIME.value else {}),
    }


def _command() -> str:
    """The command, without --out and what decides no value: the same command gives the same store wherever it is."""
    arguments, given = [], iter(sys.argv[1:])
    for argument in given:
        name, equals, _ = argument.lstrip("-").partition("=")
        if name in _WITH_A_VALUE:
            if not equals:
                next(given, None)
        elif name.removeprefix("no") not in _SWITCHES:
            arguments.append(argument)
    return cli.command("compute_esvs", *arguments)


def _report(lengths: list[OfLength], failed: Mapping[int, Mapping[int, Mapping[str, str]]]) -> None:
    overflown, without_values = [], []
    for length in lengths:
        num_videos, num_frames = length.videos.frame_index.shape
        left_out = length.videos.left_out
        print(f"{OUT.value}: num_frames={num_frames}: {num_videos} videos, {len(left_out)} left out")
        if _lacks_intervals(num_frames):
            print(f"  {NO_INTERVAL}")
        for uid, reason in left_out.items():
            print(f"  {uid} {reason}")
        for of_chunk in failed[num_frames].values():
            for reason in dict.fromkeys(of_chunk.values()):
                uids = [uid for uid, said in of_chunk.items() if said == reason]
                print(f"  failed: {', '.join(uids)}: {reason}")
                without_values += [f"{uid} ({num_frames} frames)" for uid in uids]
        overflown += [f"{uid} ({num_frames} frames)" for uid in _not_finite(num_frames)]
    faults = []
    if without_values:
        faults.append(
            f"{len(without_values)} videos failed and have no values in {OUT.value}, {listed(without_values)}: the "
            "reasons are above and in the store; the same command with --retry_failed tries them again"
        )
    if overflown:
        faults.append(
            f"{len(overflown)} videos in {OUT.value} have values that are not finite, their features or the weights "
            f"being too large: {listed(overflown)}"
        )
    if faults:
        raise InputError("; ".join(faults))


def _lacks_intervals(num_frames: int) -> bool:
    """Whether values have infinite intervals; the first ones tell, since all videos are of one plan."""
    dataset = esv_jax.results.open(OUT.value, num_frames)
    low, values = (dataset[name][:LARGEST_BATCH].values for name in ("low", "esv"))
    return bool((np.isinf(low) & np.isfinite(values)).any())


def _not_finite(num_frames: int) -> list[str]:
    """The uids of videos whose values are NaN or infinite."""
    dataset = esv_jax.results.open(OUT.value, num_frames)
    finite = [
        np.isfinite(dataset["esv"][start : start + LARGEST_BATCH].values).all(axis=(1, 2))
        for start in range(0, dataset.sizes["video"], LARGEST_BATCH)
    ]
    return dataset["uid"].values[~np.concatenate(finite)].tolist()


if __name__ == "__main__":
    cli.run(main)

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

Estimators that sample draw one plan for a number of frames, by --seed: it serves all videos, whatever the batch, so
that their sampling errors are not independent.
"""

import functools
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from rich.progress import Progress

import esv_jax
from esv_jax import files, machine, progress
from esv_jax.checks import InputError, listed
from esv_jax.data.labelled_features import LabelledFeatures, count_not_finite
from esv_jax.explaining import runner
from esv_jax.explaining.batch import LARGEST_BATCH
from esv_jax.explaining.choose import choose
from esv_jax.explaining.explain import is_exact
from esv_jax.results import store_writer
from esv_jax.results.explanation import NO_INTERVAL
from esv_jax.results.store_files import Chunks, group_name, read_group
from esv_jax.results.video_index import VideoIndex, video_index

from . import cli, estimator_flags, host_flags
from .models_of_features import ModelOfFeatures, load, open_features

FEATURES = cli.DEFINE_path("features", None, "Feature store, or HDF5 file of Play Fair.", required=True)
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
OUT = cli.DEFINE_path("out", None, "The results store, a folder that usually ends in .zarr.", required=True)
LARGEST_CHUNK = 2**28  # floats
VIDEOS_MEASURED = 4


class OfLength(NamedTuple):
    """What is to be done for one number of frames T: of which videos, how, and the estimator if it was --by_time."""

    videos: VideoIndex
    work: runner.Work
    by_time: dict[str, Any]


def main() -> None:
    if BY_TIME.value and estimator_flags.ESTIMATOR.value != "recommended":
        raise InputError(f"--by_time chooses the estimator: give no --estimator={estimator_flags.ESTIMATOR.value}")
    if BY_TIME.value and host_flags.is_given(MODEL.value):
        raise InputError("--by_time is for model folders: say how often anyone's model is asked by --max_evaluations")
    subject = load(MODEL.value, PRIORS.value)
    features = open_features(FEATURES.value, subject, SPLIT.value)
    chosen = _of_split(features)
    not_finite = count_not_finite(features, chosen)
    # What cannot be done for one of the numbers of frames is told of before anything is written.
    lengths = [_of_length(features, chosen, not_finite, subject, count) for count in sorted(set(NUM_FRAMES.value))]
    configuration = _configuration(subject)
    with (
        store_writer.writing(OUT.value, configuration, other_machine=ALLOW_OTHER_MACHINE.value) as folder,
        progress.bars("videos") as bars,
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
            _fill(chunks, length, features, bars)
    if subject.warning:
        print(f"note: {subject.warning}", file=sys.stderr)
    _report(lengths)


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
    frames = zip(features.read(videos.numbers[:VIDEOS_MEASURED]), videos.frame_index, strict=False)
    shown = np.stack([clip[of_clip] for clip, of_clip in frames]).astype(np.float32)
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


def _videos(features: LabelledFeatures, length: OfLength, k: int) -> np.ndarray:
    """Frame features float32 [n, T, D] of the videos of a chunk."""
    chunk = slice(k * length.work.chunk, (k + 1) * length.work.chunk)
    clips = zip(features.read(length.videos.numbers[chunk]), length.videos.frame_index[chunk], strict=True)
    return np.stack([clip[frames] for clip, frames in clips]).astype(np.float32)


def _fill(chunks: Chunks, length: OfLength, features: LabelledFeatures, bars: Progress) -> None:
    """Computes and writes the chunks that are not there."""
    todo = chunks.unfinished()
    missing = sum(min(chunks.batch_size, chunks.num_videos - k * chunks.batch_size) for k in todo)
    done = done_at_start = chunks.num_videos - missing
    task = bars.add_task(chunks.group.name, total=chunks.num_videos, completed=done)
    start = time.monotonic()
    for k, found in runner.run(length.work, todo, functools.partial(_videos, features, length)):
        low, high = found.interval()
        of_all = {"esv": found.values, "std_error": found.std_error, "low": low, "high": high, "score": found.full}
        arrays = {name: np.asarray(values) for name, values in of_all.items()}
        store_writer.write_chunk(chunks, k, {name: arrays[name] for name in chunks.shapes})
        done += len(found.values)
        rate = (done - done_at_start) / (time.monotonic() - start)
        bars.update(task, completed=done, said=f"{rate:.4g} videos/s")


def _configuration(subject: ModelOfFeatures) -> dict[str, Any]:
    """All that decides the values, whatever the number of frames."""
    return {
        **subject.described,
        "features_digest": _digest(Path(FEATURES.value)),
        "split": SPLIT.value,
        "prior_digest": files.short_digest([np.asarray(subject.prior, "<f4")]),
        "estimator": estimator_flags.ESTIMATOR.value,
        "estimator_options": estimator_flags.options(),
        "seed": estimator_flags.SEED.value,
        "machine": machine.described(),
        "versions": cli.versions(),
        **({"by_time": True} if BY_TIME.value else {}),
    }


def _digest(features: Path) -> str:
    """Of a feature store or file; what desktops leave in the folder, and the backbone, are no part of it."""
    return files.digest(features)


def _command() -> str:
    """The command, without --out: the same command gives the same store wherever it is."""
    arguments, given = [], iter(sys.argv[1:])
    for argument in given:
        flag = argument.lstrip("-")
        if flag == "out":
            next(given, None)
        elif not flag.startswith("out="):
            arguments.append(argument)
    return cli.command("compute_esvs", *arguments)


def _report(lengths: list[OfLength]) -> None:
    overflown = []
    for length in lengths:
        num_videos, num_frames = length.videos.frame_index.shape
        left_out = length.videos.left_out
        print(f"{OUT.value}: num_frames={num_frames}: {num_videos} videos, {len(left_out)} left out")
        if _lacks_intervals(num_frames):
            print(f"  {NO_INTERVAL}")
        for uid, reason in left_out.items():
            print(f"  {uid} {reason}")
        overflown += [f"{uid} ({num_frames} frames)" for uid in _not_finite(num_frames)]
    if overflown:
        raise InputError(
            f"{len(overflown)} videos in {OUT.value} have values that are not finite, their features or the weights "
            f"being too large: {listed(overflown)}"
        )


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

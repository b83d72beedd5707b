"""Element Shapley Values of a whole set of videos, from their features, into a results store.

    esv-jax compute_esvs --features=out/features --model=out/trn --priors=priors.csv --num_frames=8 \\
        --out=out/esvs.zarr
    esv-jax compute_esvs --features=features.hdf --model=out/trn --num_frames=8 --num_frames=16 \\
        --estimator=orderings --max_evaluations=1024 --seed=1 --out=out/sampled.zarr

Every video is shown to the model by the frames at the centres of num_frames equal segments. Videos with fewer frames,
and those whose features are not finite, are left out and listed, here and in the store. A run that was interrupted goes
on where it stopped when the same command is given again, and gives the same store bit for bit. Read the store with
`esv_jax.results.open`.

Estimators that sample draw one plan for a number of frames, by --seed: it serves all videos, whatever the batch, so
that their sampling errors are not independent.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from rich.progress import Progress

import esv_jax
from esv_jax import files, progress, provenance
from esv_jax.base import Attribution, Estimator, Plan
from esv_jax.checks import InputError
from esv_jax.data import priors
from esv_jax.data.labelled_features import LabelledFeatures, count_not_finite, open_labelled
from esv_jax.explaining.batch import LARGEST_BATCH, explain_batch, explain_in_parts, fitting_batch
from esv_jax.results import store_writer
from esv_jax.results.store import Chunks
from esv_jax.results.video_index import VideoIndex, video_index
from esv_jax.saved import model_folder
from esv_jax.saved.game import game_of
from esv_jax.saved.model_folder import Model

from . import cli

FEATURES = flags.DEFINE_string("features", None, "Feature store, or HDF5 file of Play Fair.", required=True)
SPLIT = flags.DEFINE_string("split", None, "Only the clips of this split.")
MODEL = flags.DEFINE_string("model", None, "Model folder.", required=True)
PRIORS = flags.DEFINE_string("priors", None, "csv or json of class priors; those of the model by default.")
NUM_FRAMES = flags.DEFINE_multi_integer("num_frames", [8], "Frames shown of each video; repeatable.", lower_bound=1)
ESTIMATOR = flags.DEFINE_enum(
    "estimator",
    "recommended",
    ["recommended", "exact", "stratified", "stratified_paired", "orderings", "regression", "surrogate"],
    "How; recommended is exact where --max_exact_frames allows, else surrogate.",
)
MAX_EXACT_FRAMES = flags.DEFINE_integer("max_exact_frames", 16, "recommended: exact for so many frames.", lower_bound=1)
MAX_EVALUATIONS = flags.DEFINE_integer("max_evaluations", 1024, "Most coalitions of a video, if they are sampled.")
PER_SIZE = flags.DEFINE_integer("per_size", 128, "stratified, stratified_paired: most coalitions of each size.")
SEED = flags.DEFINE_integer("seed", 0, "Decides which coalitions are drawn.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Videos worked on and written at once.", lower_bound=1)
OUT = flags.DEFINE_string("out", None, "The results store, a folder that usually ends in .zarr.", required=True)

# Videos written at once, by default: few where they take long, so that a killed run loses little.
PARTS_OF_A_BATCH = 8


class Work(NamedTuple):
    """What is to be done for one number of frames T.

    Attributes:
      videos: who they are.
      numbers: those of their clips.
      batch_size: videos written at once.
      sampled: whether there are standard errors.
      explain: starts to explain videos [n, T, D], and gives the parts of them that the device takes at once.
    """

    videos: VideoIndex
    numbers: list[int]
    batch_size: int
    sampled: bool
    explain: Callable[[np.ndarray], list[Attribution]]


class Method(NamedTuple):
    """An estimator for some number of frames.

    Attributes:
      estimator: ready to use.
      sampled: whether it has standard errors and needs a plan.
      needs_all_subsets: whether its plans have no children, so that multi-scale games need all_subsets.
      floats: held for a video, about.
    """

    estimator: Estimator
    sampled: bool
    needs_all_subsets: bool
    floats: int


def main() -> None:
    model = model_folder.load_model(MODEL.value)
    classes = model.card.classes
    given = priors.read_priors(PRIORS.value, len(classes)) if PRIORS.value else None
    prior = np.asarray(game_of(model, prior=given, name=MODEL.value).empty)
    features = _open_features(model)
    chosen = _of_split(features)
    not_finite = count_not_finite(features, chosen)
    # What cannot be done for one of the numbers of frames is told of before anything is written.
    works = [_work(features, chosen, not_finite, model, prior, count) for count in sorted(set(NUM_FRAMES.value))]
    configuration = _configuration(model, prior)
    with store_writer.writing(OUT.value, configuration) as folder, progress.bars("videos") as bars:
        for work in works:
            chunks = store_writer.open_group(
                folder,
                work.videos,
                prior=prior,
                class_names=classes,
                batch_size=work.batch_size,
                sampled=work.sampled,
                provenance={"command": _command(), **configuration},
            )
            _fill(chunks, work, features, bars)
    _report(works)


def _open_features(model: Model) -> LabelledFeatures:
    """The features, shown to be such as the model reads."""
    card, path = model.card, FEATURES.value
    features = open_labelled(path, card.classes, SPLIT.value)
    found = features.header
    if found.feature_dim != card.feature_dim:
        raise InputError(
            f"{MODEL.value} reads features of dimension {card.feature_dim}, but those in {path} are of dimension "
            f"{found.feature_dim}"
        )
    if found.backbone and card.backbone and found.backbone != card.backbone:
        raise InputError(
            f"{MODEL.value} reads features of {card.backbone}, but those in {path} are of {found.backbone}"
        )
    return features


def _of_split(features: LabelledFeatures) -> list[int]:
    """The numbers of the clips asked for."""
    chosen = [i for i, clip in enumerate(features.clips) if SPLIT.value in (None, clip.split)]
    if not chosen:
        of_split = f" of the split {SPLIT.value!r}" if SPLIT.value else ""
        raise InputError(f"{FEATURES.value} holds no clips{of_split}")
    return chosen


def _videos(features: LabelledFeatures, work: Work, batch: range) -> np.ndarray:
    """Frame features float32 [n, T, D] of the videos of a batch."""
    clips = features.read([work.numbers[v] for v in batch])
    return np.stack([clip[work.videos.frame_index[v]] for clip, v in zip(clips, batch, strict=True)]).astype(np.float32)


def _work(
    features: LabelledFeatures,
    chosen: list[int],
    not_finite: dict[int, int],
    model: Model,
    prior: np.ndarray,
    num_frames: int,
) -> Work:
    videos, numbers = video_index(features, chosen, not_finite, num_frames)
    method = _method(num_frames, len(prior))
    at_once = fitting_batch(method.floats)
    needed = 2 ** (len(numbers) - 1).bit_length()
    batch_size = BATCH_SIZE.value or min(LARGEST_BATCH, PARTS_OF_A_BATCH * at_once, needed)
    at_once = min(at_once, batch_size)
    game = game_of(model, prior=prior, all_subsets=True)
    variables = jax.device_put(model.variables)
    plan: Plan | None = None
    if method.sampled:
        plan = jax.device_put(method.estimator.plan(num_frames, key=jax.random.key(SEED.value)))

    def explain(frames: np.ndarray) -> list[Attribution]:
        return explain_in_parts(method.estimator, game, variables, frames, at_once=at_once, plan=plan)

    # Raises what is wrong.
    example = jax.ShapeDtypeStruct((at_once, num_frames, model.card.feature_dim), np.float32)
    jax.eval_shape(lambda frames: explain_batch(method.estimator, game, variables, frames, plan=plan), example)
    return Work(videos, numbers, batch_size, method.sampled, explain)


def _method(num_frames: int, num_classes: int) -> Method:
    budget, per_size = MAX_EVALUATIONS.value, PER_SIZE.value
    name = ESTIMATOR.value
    if name == "recommended":
        name = "exact" if num_frames <= MAX_EXACT_FRAMES.value else "surrogate"
    match name:
        case "exact":
            return Method(esv_jax.exact(), False, False, 2**num_frames * num_classes)
        case "stratified":
            return Method(esv_jax.stratified(per_size=per_size), True, False, per_size * num_frames * num_classes)
        case "stratified_paired":
            floats = per_size * num_frames * num_classes
            return Method(esv_jax.stratified_paired(per_size=per_size), True, True, floats)
        case "orderings":
            return Method(esv_jax.orderings(max_evaluations=budget), True, False, budget * num_classes)
        case "regression":
            return Method(esv_jax.regression(max_evaluations=budget), True, True, budget * num_classes)
    return Method(esv_jax.surrogate(max_evaluations=budget), True, True, 4 * budget * max(budget, num_classes))


def _fill(chunks: Chunks, work: Work, features: LabelledFeatures, bars: Progress) -> None:
    """Computes and writes the batches that are not there; one is written while the device works on the next."""
    todo = chunks.unfinished()
    batches = {k: range(k * chunks.batch_size, min((k + 1) * chunks.batch_size, chunks.num_videos)) for k in todo}
    missing = sum(map(len, batches.values()))
    done = chunks.num_videos - missing
    task = bars.add_task(chunks.group.name, total=chunks.num_videos, completed=done)
    start, done_at_start = time.monotonic(), done
    fields = {"esv": "values", "std_error": "std_error", "score": "full"}
    for k, parts in _one_ahead(lambda k: work.explain(_videos(features, work, batches[k])), todo):
        arrays = {n: np.concatenate([getattr(part, fields[n]) for part in parts]) for n in chunks.shapes}
        store_writer.write_chunk(chunks, k, {n: array[: len(batches[k])] for n, array in arrays.items()})
        done += len(batches[k])
        rate = (done - done_at_start) / (time.monotonic() - start)
        bars.update(task, completed=done, said=f"{rate:.4g} videos/s")


def _one_ahead(start: Callable[[int], Any], todo: list[int]) -> Iterator[tuple[int, Any]]:
    """(k, start(k)) of every k; the next one is started before this one is given."""
    running = None
    for k in todo:
        started = k, start(k)
        if running:
            yield running
        running = started
    if running:
        yield running


def _configuration(model: Model, prior: np.ndarray) -> dict[str, Any]:
    """All that decides the values, whatever the number of frames."""
    options = {
        "recommended": {"max_exact_frames": MAX_EXACT_FRAMES.value, "max_evaluations": MAX_EVALUATIONS.value},
        "exact": {},
        "stratified": {"per_size": PER_SIZE.value},
        "stratified_paired": {"per_size": PER_SIZE.value},
    }
    return {
        "model_kind": model.card.kind,
        "model_digest": model_folder.digest(model),
        "features_digest": files.digest(FEATURES.value),
        "split": SPLIT.value,
        "prior_digest": files.short_digest([np.asarray(prior, "<f4")]),
        "estimator": ESTIMATOR.value,
        "estimator_options": options.get(ESTIMATOR.value, {"max_evaluations": MAX_EVALUATIONS.value}),
        "seed": SEED.value,
        "device": jax.devices()[0].device_kind,
        "versions": provenance.versions(),
    }


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


def _report(works: list[Work]) -> None:
    overflown = []
    for work in works:
        num_videos, num_frames = work.videos.frame_index.shape
        left_out = work.videos.left_out
        print(f"{OUT.value}: num_frames={num_frames}: {num_videos} videos, {len(left_out)} left out")
        for uid, reason in left_out.items():
            print(f"  {uid} {reason}")
        overflown += [f"{uid} ({num_frames} frames)" for uid in _not_finite(num_frames)]
    if overflown:
        raise InputError(
            f"{len(overflown)} videos in {OUT.value} have values that are not finite, their features or the weights "
            f"being too large: {', '.join(overflown)}"
        )


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

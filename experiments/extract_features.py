"""Turns a folder of labelled clips into features: every frame of every clip through a backbone, once.

    esv-jax extract_features --clips=clips --labels=clips/labels.csv --out=out/features
    esv-jax extract_features --clips=clips --labels=clips/labels.csv --hold_out=person=ido,ira \\
        --mobilenet_weights=mobilenet_v1_0.25_224.npz --out=out/features

The csv has a header line and the columns path,label[,split]; paths are relative to --clips, and the store keeps them
so. Labels that all are numbers (0, 1, ...) are class ids, others are names; --classes=CSV of name,id says which classes
there are. Clips without a split are of the split "train". Run again after an interruption, or with more clips in the
csv, it goes on where it stopped.
Something-Something v2: --labels=...-train.json --classes=...-labels.json --split=train; once a split. EPIC-KITCHENS:
--labels=EPIC_100_train.csv --head=verb --classes=EPIC_100_verb_classes.csv; `convert_features` then labels the same
features for the other head.

Several processes decode while the device works; with --workers=8 each worker of Ray decodes for a GPU of its own, on
this machine or, with RAY_ADDRESS=..., on many. Clips that cannot be used are listed at the end, and are an error if
they are more than --allow_failures.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.progress import Progress

from esv_jax import checks, progress
from esv_jax.checks import InputError
from esv_jax.data import feature_store
from esv_jax.data.annotations import EPIC_HEADS, LabelledClip, read_labelled_clips
from esv_jax.data.feature_store import FeatureWriter
from esv_jax.explaining import runner
from esv_jax.saved import DEMO_MODEL, model_folder
from esv_jax.saved.extraction import Extraction
from esv_jax.saved.model_folder import Model
from esv_jax.video import decode
from esv_jax.video.prefetch import Video, available_cpus
from esv_jax.video.preprocess import Preprocess

from . import cli, worker_flags

CLIPS = cli.DEFINE_path("clips", None, "Folder that the clips' paths are relative to.", required=True)
LABELS = cli.DEFINE_path(
    "labels", None, "csv path,label[,split], or a file of Something-Something or EPIC-KITCHENS.", required=True
)
CLASSES = cli.DEFINE_path("classes", None, "Class names: Something-Something's labels json, or a csv name,id.")
HEAD = flags.DEFINE_enum("head", None, EPIC_HEADS, "EPIC-KITCHENS: which of its two labels the clips get.")
HOLD_OUT = flags.DEFINE_string("hold_out", None, "COLUMN=VALUE,VALUE...: these clips are of the split 'test'.")
SPLIT = flags.DEFINE_string("split", "train", "Split of the clips of files that do not say.")
BACKBONE = cli.DEFINE_path("backbone", None, "Folder of a backbone, or of a model on one; the demo's by default.")
MOBILENET_WEIGHTS = cli.DEFINE_path(
    "mobilenet_weights", None, "Use MobileNetV1 with Keras' weights, *.h5 or an npz of them."
)
DTYPE = flags.DEFINE_enum("dtype", "float16", list(feature_store.DTYPES), "How features are stored.")
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", available_cpus(), "Processes that decode; 0: the one that feeds the device does.", lower_bound=0
)
ALLOW_FAILURES = flags.DEFINE_integer("allow_failures", 0, "So many clips that cannot be used are no error.", 0)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Frames that go through the backbone at once.", 1, 4096)
OUT = cli.DEFINE_path("out", None, "Folder of the feature store.", required=True)


def main() -> None:
    backbone, preprocess = _backbone()
    clips, classes = _labelled_clips()
    header = feature_store.StoreHeader(
        feature_dim=backbone.card.feature_dim,
        dtype=DTYPE.value,
        classes=classes,
        backbone=model_folder.identity(backbone),
        preprocess=preprocess,
    )
    bars = progress.bars("clips")
    with worker_flags.opened(bars) as workers:
        variables = jax.device_put(backbone.variables)
        _extract(
            Extraction(backbone.module, variables, preprocess, BATCH_SIZE.value), header, backbone, clips, workers, bars
        )


def _extract(
    extraction: Extraction,
    header: feature_store.StoreHeader,
    backbone: Model,
    clips: Sequence[LabelledClip],
    workers: worker_flags.Workers,
    bars: Progress,
) -> None:
    failures: list[str] = []
    streams: dict[Path, str | None] = {}
    opened = feature_store.create_or_append(OUT.value, header, cli.versions("av", "pillow"))
    with opened as writer, bars:
        if not (Path(OUT.value) / "backbone" / model_folder.CARD_FILE).exists():
            model_folder.save_model(Path(OUT.value) / "backbone", backbone.card, backbone.variables)
        said = f"{LABELS.value} says"
        todo = [clip for clip in clips if not writer.holds(clip.uid, clip.label, clip.split, said)]
        task = bars.add_task("extracting", total=len(clips), completed=len(clips) - len(todo))
        try:
            for clip, features in zip(todo, _features(extraction, todo, workers), strict=True):
                fault = features if isinstance(features, str) else _stored(writer, clip, features)
                if fault:
                    failures.append(f"{clip.uid}: {fault}")
                elif clip.path not in streams:
                    streams[clip.path] = decode.stream_read(clip.path)
                bars.update(task, advance=1, said=f"{writer.num_new_frames} new frames")
        finally:
            if failures:
                bars.stop()
                print("\n".join(["clips that could not be used:", *failures]), file=sys.stderr)
    several = [f"{path.name}: {said}" for path, said in streams.items() if said]
    if several:
        print(f"files of several videos: {checks.listed(several)}", file=sys.stderr)
    store = feature_store.open_store(OUT.value)
    print(
        f"{OUT.value}: {len(store.clips)} clips, {len(store.rows)} frames, {len(header.classes)} classes, "
        f"features [{header.feature_dim}] {header.dtype} of {backbone.card.kind}"
    )
    if len(failures) > ALLOW_FAILURES.value:
        raise InputError(
            f"{len(failures)} of {len(clips)} clips could not be used, and {ALLOW_FAILURES.value} are allowed; "
            f"the others are in {OUT.value}"
        )


def _backbone() -> tuple[Model, Preprocess]:
    """The backbone that the flags ask for, and what it wants of its images."""
    if BACKBONE.value and MOBILENET_WEIGHTS.value:
        raise InputError("--backbone and --mobilenet_weights are two backbones: give one")
    if MOBILENET_WEIGHTS.value:
        model = model_folder.import_mobilenet_v1(MOBILENET_WEIGHTS.value)
    else:
        model = model_folder.load_model(BACKBONE.value or DEMO_MODEL)
        model = model.backbone or model
    if model.card.preprocess is None:
        raise InputError(
            f"{BACKBONE.value} is a model that holds no backbone, which is needed to get features of frames"
        )
    return model, model.card.preprocess


def _labelled_clips() -> tuple[list[LabelledClip], tuple[str, ...]]:
    """The clips, and the names of all classes in the order of the scores."""
    if not Path(CLIPS.value).is_dir():
        raise InputError(f"there is no folder {CLIPS.value}")
    hold_out = None
    if HOLD_OUT.value:
        column, equals, values = HOLD_OUT.value.partition("=")
        if not (column and equals and values):
            raise InputError(f"--hold_out should be COLUMN=VALUE,VALUE..., found {HOLD_OUT.value!r}")
        hold_out = column, values.split(",")
    options: dict[str, Any] = {"classes": CLASSES.value, "head": HEAD.value, "split": SPLIT.value}
    return read_labelled_clips(LABELS.value, CLIPS.value, hold_out=hold_out, **options)


def _features(
    extraction: Extraction, clips: Sequence[LabelledClip], workers: worker_flags.Workers
) -> Iterator[np.ndarray | str]:
    """Of every clip features [num_frames, D], or a sentence that says why there are none."""
    videos = [Video(clip.path, clip.start, clip.stop) for clip in clips]
    if workers.executor is None:
        yield from extraction.of(videos, NUM_PROCESSES.value)
        return
    seen = workers.see(CLIPS.value)
    absolute = [video._replace(path=video.path.absolute()) for video in videos]
    given = absolute.__getitem__ if seen else lambda k: extraction.decoded(videos[k])
    for found in runner.in_order(workers.executor(extraction.start, given, range(len(videos)))):
        yield found.said if isinstance(found, runner.Died) else found


def _stored(writer: FeatureWriter, clip: LabelledClip, features: np.ndarray) -> str | None:
    """Why the features cannot be stored, if so; a store that cannot be written at all stays an error."""
    try:
        writer.append(clip.uid, _place(clip.path), clip.label, clip.split, features)
    except InputError as error:
        if writer.closed:
            raise
        return str(error)
    return None


def _place(path: Path) -> str:
    """Where a clip is in --clips, or its name alone if it is elsewhere: a store goes to other people and machines."""
    for folder in (Path(CLIPS.value), Path(CLIPS.value).absolute()):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.name


if __name__ == "__main__":
    cli.run(main)

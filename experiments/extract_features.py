"""Turns a folder of labelled clips into features: every frame of every clip through a backbone, once.

    python -m experiments.extract_features --clips=clips --labels=clips/labels.csv --out=out/features
    python -m experiments.extract_features --clips=clips --labels=clips/labels.csv --hold_out=person=ido,ira \\
        --mobilenet_weights=mobilenet_v1_0.25_224.npz --out=out/features

The csv has a header line and the columns path,label[,split]; paths are relative to --clips. Clips without a split are
of the split "train". Run again after an interruption, or with more clips in the csv, it goes on where it stopped.
Something-Something v2: --labels=...-train.json --ssv2_classes=...-labels.json --split=train; once a split.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from esv_jax import checkpoints, checks, cli
from esv_jax.checkpoints import Model
from esv_jax.checks import InputError
from esv_jax.data import decode, feature_store
from esv_jax.data.annotations import LabelledClip, read_labels_csv, read_ssv2_classes, read_ssv2_entries
from esv_jax.data.preprocess import Preprocess, resize_and_crop

DEMO_MODEL = Path(__file__).resolve().parent.parent / "demo_model" / "multiscale_trn"

CLIPS = flags.DEFINE_string("clips", None, "Folder that the clips' paths are relative to.", required=True)
LABELS = flags.DEFINE_string("labels", None, "csv with the columns path,label[,split].", required=True)
HOLD_OUT = flags.DEFINE_string("hold_out", None, "COLUMN=VALUE,VALUE...: these clips are of the split 'test'.")
SSV2_CLASSES = flags.DEFINE_string("ssv2_classes", None, "Something-Something's labels json; --labels is a json too.")
SPLIT = flags.DEFINE_string("split", "train", "Split of the clips of a Something-Something json.")
BACKBONE = flags.DEFINE_string("backbone", None, "Folder of a backbone, or of a model on one; the demo's by default.")
MOBILENET_WEIGHTS = flags.DEFINE_string("mobilenet_weights", None, "Use MobileNetV1 with this npz of Keras' weights.")
DTYPE = flags.DEFINE_enum("dtype", "float16", list(feature_store.DTYPES), "How features are stored.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Frames that go through the backbone at once.", lower_bound=1)
OUT = flags.DEFINE_string("out", None, "Folder of the feature store.", required=True)


def main() -> None:
    backbone, preprocess = _backbone()
    clips, classes = _labelled_clips()
    header = feature_store.StoreHeader(
        feature_dim=backbone.card.feature_dim,
        dtype=DTYPE.value,
        classes=classes,
        backbone={"name": backbone.card.kind, "digest": checkpoints.digest(backbone)},
        preprocess=preprocess,
    )
    apply = jax.jit(backbone.module.apply)
    variables = jax.device_put(backbone.variables)
    failures = []
    with feature_store.create_or_append(OUT.value, header) as writer, _progress() as progress:
        if not (Path(OUT.value) / "backbone" / checkpoints.CARD_FILE).exists():
            checkpoints.save_model(Path(OUT.value) / "backbone", backbone.card, backbone.variables)
        todo = [clip for clip in clips if not _is_done(clip, writer.done)]
        task = progress.add_task("extracting", total=len(clips), completed=len(clips) - len(todo), frames=0)
        num_frames = 0
        for clip in todo:
            try:
                features = _features(clip.path, lambda images: apply(variables, images), preprocess)
            except InputError as error:
                failures.append(f"{clip.uid}: {error}")
                progress.update(task, advance=1)
                continue
            writer.append(clip.uid, str(clip.path), clip.label, clip.split, features)
            num_frames += len(features)
            progress.update(task, advance=1, frames=num_frames)
    store = feature_store.open_store(OUT.value)
    print(
        f"{OUT.value}: {len(store.clips)} clips, {len(store.rows)} frames, {len(classes)} classes, "
        f"features [{header.feature_dim}] {header.dtype} of {backbone.card.kind}"
    )
    if failures:
        print("\n".join(["clips that could not be used:", *failures]), file=sys.stderr)
        raise InputError(f"{len(failures)} of {len(clips)} clips could not be used; the others are in {OUT.value}")


def _backbone() -> tuple[Model, Preprocess]:
    """The backbone that the flags ask for, and what it wants of its images."""
    if BACKBONE.value and MOBILENET_WEIGHTS.value:
        raise InputError("--backbone and --mobilenet_weights are two backbones: give one")
    if MOBILENET_WEIGHTS.value:
        model = checkpoints.import_mobilenet_v1(MOBILENET_WEIGHTS.value)
    else:
        model = checkpoints.load_model(BACKBONE.value or DEMO_MODEL)
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
    if SSV2_CLASSES.value:
        classes = read_ssv2_classes(SSV2_CLASSES.value)
        return read_ssv2_entries(LABELS.value, classes, CLIPS.value, split=SPLIT.value), classes
    hold_out = None
    if HOLD_OUT.value:
        column, equals, values = HOLD_OUT.value.partition("=")
        if not (column and equals and values):
            raise InputError(f"--hold_out should be COLUMN=VALUE,VALUE..., found {HOLD_OUT.value!r}")
        hold_out = column, values.split(",")
    clips = read_labels_csv(LABELS.value, CLIPS.value, hold_out=hold_out)
    return clips, tuple(sorted({clip.label for clip in clips}))


def _is_done(clip: LabelledClip, done: dict[str, feature_store.StoredClip]) -> bool:
    stored = done.get(clip.uid)
    if stored and (stored.label, stored.split) != (clip.label, clip.split):
        raise InputError(
            f"the store {OUT.value} has {clip.uid} as {stored.label!r} ({stored.split}), but {LABELS.value} says "
            f"{clip.label!r} ({clip.split}): use another folder"
        )
    return stored is not None


def _features(path: Path, apply: Any, preprocess: Preprocess) -> np.ndarray:
    """Features [num_frames, D] of all frames of a video; batches are filled up with zeros, so all have one shape."""
    outputs: list[Any] = []
    for images in _batches(path, preprocess):
        padding = [(0, BATCH_SIZE.value - len(images)), (0, 0), (0, 0), (0, 0)]
        if outputs:  # the device works on one batch while the next is decoded, and no more of them pile up
            outputs[-1][0].block_until_ready()
        outputs.append((apply(np.pad(images, padding)), len(images)))
    features = np.concatenate([np.asarray(output)[:length] for output, length in outputs])
    checks.check_finite("its features", features)
    return features


def _batches(path: Path, preprocess: Preprocess) -> Iterator[np.ndarray]:
    """The frames of a video, ready for the backbone: uint8 [at most batch_size, size, size, 3] at a time."""
    batch: list[np.ndarray] = []
    for frame in decode.iter_frames(path):
        batch.append(resize_and_crop(frame[None], preprocess)[0])
        if len(batch) == BATCH_SIZE.value:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _progress() -> Progress:
    count = TextColumn("{task.completed}/{task.total} clips, {task.fields[frames]} new frames")
    return Progress(
        TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn(), console=Console(stderr=True)
    )


if __name__ == "__main__":
    cli.run(main)

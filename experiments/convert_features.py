"""Copies features from one kind of file to another: a feature store (a folder), or Play Fair's HDF5 (*.hdf).

    esv-jax convert_features --features=features.hdf --classes=something-something-v2-labels.json \\
        --out=out/features
    esv-jax convert_features --features=out/features --split=validation --out=features.hdf
    esv-jax convert_features --features=out/verbs --labels=EPIC_100_train.csv --head=noun \\
        --classes=EPIC_100_noun_classes.csv --out=out/nouns

With --labels the clips, known by their uids, get other labels: EPIC-KITCHENS' features serve both of its heads.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags

from esv_jax import files, progress
from esv_jax.checks import InputError, listed, shown
from esv_jax.data import feature_store, play_fair_features
from esv_jax.data.annotations import EPIC_HEADS, read_class_names, read_labelled_clips
from esv_jax.data.feature_store import FeatureStore, StoredClip
from esv_jax.data.play_fair_features import PlayFairFeatures
from esv_jax.saved import model_folder

from . import cli

Source = FeatureStore | PlayFairFeatures

HDF = (".hdf", ".hdf5", ".h5")

FEATURES = cli.DEFINE_path("features", None, "Feature store, or HDF5 file of Play Fair.", required=True)
SPLIT = flags.DEFINE_string("split", None, "Only the clips of this split.")
CLASSES = cli.DEFINE_path("classes", None, "Class names: Something-Something's labels json, or a csv name,id.")
LABELS = cli.DEFINE_path("labels", None, "Other labels of the same clips: annotations as for extract_features.")
HEAD = flags.DEFINE_enum("head", None, EPIC_HEADS, "EPIC-KITCHENS: which of its two labels the clips get.")
OUT = cli.DEFINE_path("out", None, f"Folder of a feature store, or file ({', '.join(HDF)}).", required=True)


def main() -> None:
    source = _open()
    clips, classes = _labelled(source)
    chosen = {i: clip for i, clip in enumerate(clips) if SPLIT.value in (None, clip.split)}
    if not chosen:
        raise InputError(f"{FEATURES.value} holds no clips of the split {SPLIT.value!r:.80}")
    write = _write_hdf if Path(OUT.value).suffix.lower() in HDF else _write_store
    write(source, chosen, classes)
    print(f"{OUT.value}: {len(chosen)} clips, {len(classes)} classes, features [{source.header.feature_dim}]")


def _open() -> Source:
    if Path(FEATURES.value).is_dir():
        return feature_store.open_store(FEATURES.value)
    return play_fair_features.open_features(FEATURES.value, SPLIT.value)


def _labelled(source: Source) -> tuple[tuple[StoredClip, ...], tuple[str, ...]]:
    """The clips with the names of their classes, and the names of all classes."""
    if LABELS.value:
        labelled, classes = read_labelled_clips(LABELS.value, ".", classes=CLASSES.value, head=HEAD.value)
        label_of = {clip.uid: clip.label for clip in labelled}
        missing = next((clip.uid for clip in source.clips if clip.uid not in label_of), None)
        if missing is not None:
            raise InputError(f"{LABELS.value} has no label for the clip {shown(missing)} of {FEATURES.value}")
        return tuple(clip._replace(label=label_of[clip.uid]) for clip in source.clips), classes
    if HEAD.value:
        raise InputError("--head is of annotations: give --labels too")
    if isinstance(source, FeatureStore):
        if CLASSES.value:
            raise InputError(f"{FEATURES.value} has class names: --classes goes with --labels or an HDF5 file")
        return source.clips, source.header.classes
    if CLASSES.value is None:
        raise InputError(f"{FEATURES.value} numbers its classes: give their names with --classes")
    classes = read_class_names(CLASSES.value)
    outside = np.flatnonzero((source.labels < 0) | (source.labels >= len(classes)))
    if len(outside):
        clip = source.clips[outside[0]]
        raise InputError(
            f"the class {clip.label} of {shown(clip.uid)} in {FEATURES.value} is outside the {len(classes)} classes"
        )
    return tuple(clip._replace(label=classes[int(clip.label)]) for clip in source.clips), classes


def _write_hdf(source: Source, clips: dict[int, StoredClip], classes: tuple[str, ...]) -> None:
    splits = sorted({clip.split for clip in clips.values()})
    if len(splits) > 1:
        raise InputError(
            f"{FEATURES.value} holds the splits {listed(splits)}, of which the file takes one: choose with --split"
        )
    ids = [files.whole_number(name) for name in classes]
    if None not in ids and list(classes) == sorted(classes) and ids != sorted(ids):  # type: ignore[type-var]
        raise InputError(
            f"the classes of {FEATURES.value} are numbers sorted as text ({listed(classes)}), as earlier versions "
            "wrote them: extract the features again, or their class numbers would be others"
        )
    number = {name: i for i, name in enumerate(classes)}

    def rows() -> Iterator[tuple[str, int, np.ndarray]]:
        for i, clip in progress.track(list(clips.items()), "converting", "clips"):
            yield clip.uid, number[clip.label], source.features(i)

    dim = source.header.feature_dim
    play_fair_features.write_features(OUT.value, rows(), feature_dim=dim, split=splits[0])


def _write_store(source: Source, clips: dict[int, StoredClip], classes: tuple[str, ...]) -> None:
    with feature_store.create_or_append(OUT.value, source.header._replace(classes=classes)) as writer:
        folders = [Path(folder) / "backbone" for folder in (FEATURES.value, OUT.value)]
        if folders[0].is_dir() and not (folders[1] / model_folder.CARD_FILE).exists():
            backbone = model_folder.load_model(folders[0])
            model_folder.save_model(folders[1], backbone.card, backbone.variables)
        for i, clip in progress.track(list(clips.items()), "converting", "clips"):
            if not writer.holds(clip.uid, clip.label, clip.split, "it is to be"):
                writer.append(clip.uid, clip.path, clip.label, clip.split, source.features(i))


if __name__ == "__main__":
    cli.run(main)

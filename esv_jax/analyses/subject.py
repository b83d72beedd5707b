"""What an analysis is given of one model: its values for a set of videos, and the model to ask further."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esv_jax import results
from esv_jax.base import Game
from esv_jax.checks import InputError
from esv_jax.data import feature_store
from esv_jax.data.feature_store import FeatureStore
from esv_jax.metrics import removal
from esv_jax.saved import model_folder
from esv_jax.saved.game import game_of
from esv_jax.saved.model_folder import Model
from esv_jax.video import decode
from esv_jax.video.preprocess import resize_and_crop

NAMES = {"tsn": "TSN", "multiscale_trn": "multi-scale TRN"}


class Values(NamedTuple):
    """Element Shapley Values of B videos by T frames each.

    Attributes:
      esv: float32 [B, T, C].
      score: float32 [B, C], of all T frames.
      frame_index: int64 [B, T], which frames of the videos.
    """

    esv: np.ndarray
    score: np.ndarray
    frame_index: np.ndarray


class Subject(NamedTuple):
    """A model and what was computed for a set of videos, the same videos for all models and numbers of frames.

    Attributes:
      name: for figures: "TSN" or "multi-scale TRN".
      model: with its variables.
      prior: float32 [C].
      classes: C names.
      uid: B names.
      label: int64 [B], the true classes.
      path: B paths of the video files.
      num_frames_in_video: int64 [B].
      values: by number of frames T.
      features: by number of frames: float32 [B, T, D].
      mean_feature: float32 [D], over all frames of the clips trained on.
    """

    name: str
    model: Model
    prior: np.ndarray
    classes: tuple[str, ...]
    uid: tuple[str, ...]
    label: np.ndarray
    path: tuple[str, ...]
    num_frames_in_video: np.ndarray
    values: dict[int, Values]
    features: dict[int, np.ndarray]
    mean_feature: np.ndarray

    def right(self, num_frames: int) -> np.ndarray:
        """Whether the model is right about each video, bool [B]."""
        return self.values[num_frames].score.argmax(axis=1) == self.label

    def esv_of(self, num_frames: int, which: np.ndarray) -> np.ndarray:
        """Values [B, T] for the class `which` int [B] of every video."""
        return removal.of_class(self.values[num_frames].esv, which)

    def game(self, *, all_subsets: bool = True) -> Game:
        """The game of the model, with the prior that its values were computed with."""
        return game_of(self.model, prior=self.prior, all_subsets=all_subsets)

    def can_show_frames(self) -> bool:
        """Whether the model has its backbone and all video files are there."""
        return self.model.backbone is not None and all(Path(path).is_file() for path in self.path)

    def frames(self, num_frames: int, video: int) -> np.ndarray:
        """The frames that the model is shown of a video, uint8 [T, size, size, 3], as its backbone wants them.

        Raises:
          InputError: the model has no backbone, or the video cannot be read.
        """
        backbone = self.model.backbone
        if backbone is None or backbone.card.preprocess is None:
            raise InputError(f"the {self.name} holds no backbone, which says how frames are to be cut")
        indices = self.values[num_frames].frame_index[video]
        return resize_and_crop(decode.read_frames(self.path[video], indices).images, backbone.card.preprocess)


def open_subjects(
    stores: Sequence[str | os.PathLike],
    models: Sequence[str | os.PathLike],
    features: str | os.PathLike,
    clips: str | os.PathLike = ".",
) -> list[Subject]:
    """The subjects of results stores, one of each model, reduced to the videos that all of them hold.

    Args:
      stores: results stores.
      models: the model folder of each.
      features: the feature store.
      clips: the folder that the videos' paths in the feature store are relative to; only pictures need the videos.

    Raises:
      InputError: as many stores as models are needed; a store, model or features that do not belong together.
    """
    if not stores or len(stores) != len(models):
        raise InputError(f"every store needs its model: found {len(stores)} stores and {len(models)} models")
    source = feature_store.open_store(features)
    opened = [results.open_common(store) for store in stores]
    common = set.intersection(*(set(next(iter(d.values()))["uid"].values.tolist()) for d in opened))
    if not common:
        raise InputError(
            f"the stores {', '.join(map(str, stores))} should hold the same videos, found none in all of them"
        )
    subjects = [
        _subject(store, datasets, model_folder.load_model(model), source, common, Path(clips))
        for store, datasets, model in zip(stores, opened, models, strict=True)
    ]
    if len({subject.name for subject in subjects}) < len(subjects):
        raise InputError("the models to compare should be of different kinds")
    return subjects


def _subject(
    store: str | os.PathLike,
    datasets: dict[int, Any],
    model: Model,
    source: FeatureStore,
    common: set[str],
    folder: Path,
) -> Subject:
    first = next(iter(datasets.values()))
    if first.attrs["model_digest"] != model_folder.digest(model):
        raise InputError(f"the values in {store} are of the model {first.attrs['model_digest']}, not of the one given")
    uids = first["uid"].values.tolist()
    rows = [i for i, uid in enumerate(uids) if uid in common]
    number = {clip.uid: i for i, clip in enumerate(source.clips)}
    missing = [uids[i] for i in rows if uids[i] not in number]
    if missing:
        raise InputError(f"the values in {store} are of videos that the features lack, such as {missing[0]}")
    clips = [number[uids[i]] for i in rows]
    values = {
        n: Values(*(np.asarray(dataset[name].values)[rows] for name in Values._fields))
        for n, dataset in datasets.items()
    }
    features = {
        n: np.stack([np.asarray(source.features(i), np.float32)[f] for i, f in zip(clips, of.frame_index, strict=True)])
        for n, of in values.items()
    }
    label = np.asarray(first["label"].values, np.int64)[rows]
    if (label < 0).any():
        raise InputError(f"the videos in {store} should have labels, found some without")
    return Subject(
        name=NAMES[model.card.kind],
        model=model,
        prior=np.asarray(first["prior"].values, np.float32),
        classes=tuple(first["class_name"].values.tolist()),
        uid=tuple(uids[i] for i in rows),
        label=label,
        path=tuple(str(folder / source.clips[i].path) for i in clips),
        num_frames_in_video=np.asarray(first["num_frames_in_video"].values, np.int64)[rows],
        values=values,
        features=features,
        mean_feature=_mean_of_training(source, {uids[i] for i in rows}),
    )


def _mean_of_training(source: FeatureStore, held_out: set[str]) -> np.ndarray:
    """The mean feature of the split "train", or of the clips that are not explained, where there is none."""
    train = [i for i, clip in enumerate(source.clips) if clip.split == "train"]
    chosen = train or [i for i, clip in enumerate(source.clips) if clip.uid not in held_out]
    if not chosen:
        raise InputError("the features should hold clips besides the explained ones, for their mean; found none")
    return np.concatenate([np.asarray(source.features(i), np.float32) for i in chosen]).mean(axis=0, dtype=np.float32)


def short(class_name: str) -> str:
    """A class's name without the words that all of Something-Something's have, for the axes of figures."""
    for words, instead in (
        ("Moving something and something ", "two things "),
        ("Moving something and ", "moving and "),
        ("Moving something ", "moving "),
        ("Something ", ""),
        (" something", ""),
    ):
        class_name = class_name.replace(words, instead)
    return class_name[:1].lower() + class_name[1:]

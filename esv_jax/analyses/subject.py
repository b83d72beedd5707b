"""What an analysis is given of one model: its values for a set of videos, and the model to ask further."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esv_jax import results
from esv_jax.base import Game, Host
from esv_jax.checks import InputError, listed, shown
from esv_jax.data.feature_store import StoredClip
from esv_jax.data.labelled_features import LabelledFeatures, open_labelled
from esv_jax.explaining.worths import worths
from esv_jax.metrics import removal
from esv_jax.saved import model_folder
from esv_jax.saved.game import game_of
from esv_jax.saved.model_folder import Model
from esv_jax.video import decode
from esv_jax.video.preprocess import resize_and_crop

SCORE_TOLERANCE = 1e-2  # of scores of whole clips: features may have been rounded, and other machines compute
SOME_FRAMES = 64  # of training, that gradients start from
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


class Asked(NamedTuple):
    """A model whose values are in a store: of a model folder, or anyone's.

    Attributes:
      name: for figures, where no kind of model of ours says it better.
      game, params: what `explain` is given.
      digest: by which the store knows the model.
      model: of a model folder; None: anyone's.
    """

    name: str
    game: Game
    params: Any
    digest: str
    model: Model | None = None


class Subject(NamedTuple):
    """A model and what was computed for a set of videos, the same videos for all models and numbers of frames.

    Attributes:
      name: for figures: "TSN", "multi-scale TRN", or what its user calls it.
      model: of a model folder, with its variables; None: anyone's.
      prior: float32 [C].
      classes: C names.
      uid: B names.
      label: int64 [B], the true classes.
      path: B paths of the video files.
      num_frames_in_video: int64 [B].
      values: by number of frames T.
      features: by number of frames: float32 [B, T, D].
      mean_feature: float32 [D], over all frames of the clips trained on; None where there are none.
      some_features: float32 [R, D], of some of these frames.
      theirs: game and params of anyone's model.
    """

    name: str
    model: Model | None
    prior: np.ndarray
    classes: tuple[str, ...]
    uid: tuple[str, ...]
    label: np.ndarray
    path: tuple[str, ...]
    num_frames_in_video: np.ndarray
    values: dict[int, Values]
    features: dict[int, np.ndarray]
    mean_feature: np.ndarray | None
    some_features: np.ndarray | None = None
    theirs: tuple[Game, Any] | None = None

    @property
    def params(self) -> Any:
        """What the game's functions take first."""
        return self.theirs[1] if self.theirs is not None else self.folder_model.variables

    @property
    def folder_model(self) -> Model:
        """The model of the folder; an error where it is anyone's."""
        if self.model is None:
            raise InputError(f"{self.name} should be the model of a folder, found anyone's")
        return self.model

    @property
    def is_host(self) -> bool:
        """Whether the model runs outside of JAX: it has no gradients, and every question is slow."""
        return isinstance(self.game().form, Host)

    def right(self, num_frames: int) -> np.ndarray:
        """Whether the model is right about each video, bool [B]."""
        return self.values[num_frames].score.argmax(axis=1) == self.label

    def esv_of(self, num_frames: int, which: np.ndarray) -> np.ndarray:
        """Values [B, T] for the class `which` int [B] of every video."""
        return removal.of_class(self.values[num_frames].esv, which)

    def game(self, *, all_subsets: bool = True) -> Game:
        """The game of the model, with the prior that its values were computed with."""
        if self.theirs is not None:
            return self.theirs[0]._replace(empty=self.prior)
        return game_of(self.folder_model, prior=self.prior, all_subsets=all_subsets)

    def can_show_frames(self) -> bool:
        """Whether the model has its backbone and all video files are there."""
        has_backbone = self.model is not None and self.model.backbone is not None
        return has_backbone and all(Path(path).is_file() for path in self.path)

    def frames(self, num_frames: int, video: int) -> np.ndarray:
        """The frames that the model is shown of a video, uint8 [T, size, size, 3], as its backbone wants them.

        Raises:
          InputError: the model has no backbone, or the video cannot be read.
        """
        backbone = self.folder_model.backbone
        if backbone is None or backbone.card.preprocess is None:
            raise InputError(f"the {self.name} holds no backbone, which says how frames are to be cut")
        indices = self.values[num_frames].frame_index[video]
        return resize_and_crop(decode.read_frames(self.path[video], indices).images, backbone.card.preprocess)


def open_subjects(
    stores: Sequence[str | os.PathLike],
    models: Sequence[Asked],
    features: str | os.PathLike,
    clips: str | os.PathLike = ".",
) -> list[Subject]:
    """The subjects of results stores, one of each model, reduced to the videos that all of them hold.

    Args:
      stores: results stores.
      models: the model of each; `asked_of_folder` makes those of folders.
      features: the feature store, or HDF5 file of Play Fair, that the values were made of.
      clips: the folder that the videos' paths in the feature store are relative to; only pictures need the videos.

    Raises:
      InputError: as many stores as models are needed; a store, model or features that do not belong together.
    """
    if not stores or len(stores) != len(models):
        raise InputError(f"every store needs its model: found {len(stores)} stores and {len(models)} models")
    opened = [results.open_common(store) for store in stores]
    first = next(iter(opened[0].values()))
    classes = first["class_name"].values.tolist()
    source = open_labelled(features, tuple(classes), _split_of(first))
    label_names = [classes[label] for label in source.labels]
    uids = [next(iter(datasets.values()))["uid"].values.tolist() for datasets in opened]
    of_all = set.intersection(*map(set, uids))
    common = [uid for uid in uids[0] if uid in of_all]
    if not common:
        raise InputError(
            f"the stores {', '.join(map(str, stores))} should hold the same videos, found none in all of them"
        )
    subjects = [
        _subject(store, datasets, model, source, label_names, common, Path(clips))
        for store, datasets, model in zip(stores, opened, models, strict=True)
    ]
    return _named(subjects, [model.name for model in models])


def asked_of_folder(path: str | os.PathLike) -> Asked:
    """The model of a folder.

    Raises:
      InputError: as `load_model`, or it cannot be explained.
    """
    model = model_folder.load_model(path)
    name = Path(path).absolute().name
    # Its prior is that of the store.
    unknown = None if model.card.prior is not None else np.full(len(model.card.classes), 1 / len(model.card.classes))
    return Asked(name, game_of(model, prior=unknown), model.variables, model_folder.digest(model), model)


def _split_of(dataset: Any) -> str | None:
    """The group of an HDF5 file that a store's values are of."""
    split = dataset.attrs.get("split")
    return split if isinstance(split, str) and split != "null" else None


def _named(subjects: list[Subject], theirs: list[str]) -> list[Subject]:
    """Where two have the same name, all get those of their users; where these are the same, they are numbered."""
    if len({subject.name for subject in subjects}) < len(subjects):
        if len(set(theirs)) < len(theirs):
            theirs = [f"{name} ({i + 1})" for i, name in enumerate(theirs)]
        return [subject._replace(name=name) for subject, name in zip(subjects, theirs, strict=True)]
    return subjects


def _subject(
    store: str | os.PathLike,
    datasets: dict[int, Any],
    asked: Asked,
    source: LabelledFeatures,
    label_names: Sequence[str],
    common: Sequence[str],
    folder: Path,
) -> Subject:
    """The subject of the videos `common`, in their order; label_names: of all clips of the source."""
    first = next(iter(datasets.values()))
    of_store = first.attrs.get("model_digest")
    if of_store is not None and of_store != asked.digest:
        raise InputError(f"the values in {store} are of the model {of_store}, not of the one given, {asked.digest}")
    classes = tuple(first["class_name"].values.tolist())
    if asked.model is not None and asked.model.card.classes != classes:
        raise InputError(
            f"the values in {store} should be of the classes of {asked.name}, in their order: {listed(classes)}, "
            f"found {listed(asked.model.card.classes)}"
        )
    row_of = {uid: row for row, uid in enumerate(first["uid"].values.tolist())}
    rows = [row_of[uid] for uid in common]
    number = {clip.uid: i for i, clip in enumerate(source.clips)}
    missing = [uid for uid in common if uid not in number]
    if missing:
        raise InputError(f"the values in {store} are of videos that the features lack, such as {missing[0]}")
    clips = [number[uid] for uid in common]
    values = {
        n: Values(*(np.asarray(dataset[name].values)[rows] for name in Values._fields))
        for n, dataset in datasets.items()
    }
    label = np.asarray(first["label"].values, np.int64)[rows]
    if (label < 0).any():
        raise InputError(f"the videos in {store} should have labels, found some without")
    for uid, found, i in zip(common, label, clips, strict=True):
        if classes[found] != label_names[i]:
            raise InputError(
                f"the label of {shown(uid)} in {store} should be that of the features, {label_names[i]!r:.80}, found "
                f"{classes[found]!r:.80}"
            )
    mean, some = _of_training(source, set(common))
    subject = Subject(
        name=asked.name if asked.model is None else NAMES[asked.model.card.kind],
        model=asked.model,
        prior=np.asarray(first["prior"].values, np.float32),
        classes=classes,
        uid=tuple(common),
        label=label,
        path=tuple(_path(folder, source.clips[i]) for i in clips),
        num_frames_in_video=np.asarray(first["num_frames_in_video"].values, np.int64)[rows],
        values=values,
        features=_features(source, clips, values, store),
        mean_feature=mean,
        some_features=some,
        theirs=None if asked.model is not None else (asked.game, asked.params),
    )
    _check_score(subject, store)
    return subject


def _check_score(subject: Subject, store: str | os.PathLike) -> None:
    """Shows that the model says of the first video what the store says that it does: else the features, the frames or
    the classes are others."""
    num_frames = min(subject.values)
    video, expected = subject.features[num_frames][0], subject.values[num_frames].score[0]
    found = np.asarray(worths(subject.game(), subject.params, video, np.ones((1, num_frames), bool)))[0]
    if np.abs(found - expected).max() > SCORE_TOLERANCE * max(1, np.abs(expected).max()):
        raise InputError(
            f"the model gives {subject.uid[0]} other scores than {store} holds, {found[:3]} and not {expected[:3]}: "
            "the values should be of this model, of these features and of the frames that the store names"
        )


def _path(folder: Path, clip: StoredClip) -> str:
    return str(folder / clip.path) if clip.path else ""


def _features(
    source: LabelledFeatures, clips: list[int], values: dict[int, Values], store: str | os.PathLike
) -> dict[int, np.ndarray]:
    """By number of frames: float32 [B, T, D], of the frames that the values are of."""
    for i, *frames in zip(clips, *(of.frame_index for of in values.values()), strict=True):
        last, length = max(int(of_clip.max()) for of_clip in frames), source.clips[i].num_frames
        if last >= length:
            raise InputError(
                f"the values in {store} are of frame {last} of {source.clips[i].uid}, which has {length} frames in the "
                "features"
            )
    in_order = sorted(clips)
    of_clip = dict(zip(in_order, source.read(in_order), strict=True))
    return {
        n: np.stack([of_clip[i][f].astype(np.float32) for i, f in zip(clips, of.frame_index, strict=True)])
        for n, of in values.items()
    }


def _of_training(source: LabelledFeatures, held_out: set[str]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The mean feature of the split "train", or of the clips that are not explained, where there is none; and the
    features of some of their frames. None where there are no such clips."""
    train = [i for i, clip in enumerate(source.clips) if clip.split == "train"]
    chosen = train or [i for i, clip in enumerate(source.clips) if clip.uid not in held_out]
    if not chosen:
        return None, None
    rows = np.concatenate([clip.astype(np.float32) for clip in source.read(chosen)])
    some = np.linspace(0, len(rows) - 1, min(SOME_FRAMES, len(rows))).astype(np.int64)
    return rows.mean(axis=0, dtype=np.float32), rows[some]


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

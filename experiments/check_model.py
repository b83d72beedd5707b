"""Checks whether a model's attributions can be believed: one page, and a verdict that the model folder keeps.

    esv-jax check_model --features=out/features --model=out/trn --num_frames=8 --out=out/check
    esv-jax check_model --clips=clips --labels=clips/labels.csv --split=test --model=out/trn --out=out/check
    esv-jax check_model --clips=clips --labels=labels.csv --model=my_models:videomae --classes=classes.csv \\
        --num_frames=16 --removal=mean --max_evaluations=2000 --out=out/check

Asked on labelled clips that the model was not trained on, of features or of videos: is it as sure as it is right when
it is shown 1, 2, ... of the frames? Does it look at their order, and at every frame? What does it say of a blank clip,
how is the credit of a copied frame shared, and how much of its scores do single frames and pairs explain? Writes
check.md (the page), check.png, check.json, check_by_size.csv and check_by_class.csv to --out. A model folder keeps the
verdict: explain_video and compute_esvs repeat it where it is not good, and say so where there is none.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from esv_jax import checks, progress
from esv_jax.analyses.model_check import DEFAULT_EVALUATIONS, LEAST_VIDEOS, check_model
from esv_jax.analyses.model_check_page import save_check, summary
from esv_jax.base import Game
from esv_jax.checks import InputError
from esv_jax.data.annotations import read_labelled_clips
from esv_jax.data.labelled_features import count_not_finite
from esv_jax.results.video_index import video_index
from esv_jax.saved import DEMO_MODEL, kept_check
from esv_jax.video import decode
from esv_jax.video.preprocess import resize_and_crop

from . import cli, host_flags, models_of_features, models_of_videos
from .models_of_videos import IMAGE_SIZE, NORMALISE

FEATURES = cli.DEFINE_path("features", None, "Feature store, or HDF5 file of Play Fair; or give --clips and --labels.")
CLIPS = cli.DEFINE_path("clips", None, "Folder that the clips' paths are relative to, in place of --features.")
LABELS = cli.DEFINE_path("labels", None, "csv path,label[,split] of the clips.")
SPLIT = flags.DEFINE_string("split", None, "Only the clips of this split; all but 'train' by default.")
MODEL = cli.DEFINE_path("model", str(DEMO_MODEL), "Model folder; or module:function.")
PRIORS = cli.DEFINE_path("priors", None, "csv or json of class priors; those of the model folder by default.")
NUM_FRAMES = flags.DEFINE_integer("num_frames", 8, "Frames shown of each clip.", lower_bound=1)
MAX_EVALUATIONS = flags.DEFINE_integer(
    "max_evaluations", DEFAULT_EVALUATIONS, "How often the model is asked at most; if need be, of fewer clips.", 1
)
SEED = flags.DEFINE_integer("seed", 0, "Decides which frames and clips are drawn.", 0, 2**63 - 1)
OUT = cli.DEFINE_path("out", None, "Folder for the page.", required=True)


class _Question(NamedTuple):
    """A model, and labelled videos to ask it about.

    Attributes:
      digest: of a model folder, which keeps the check; None: anyone's model.
    """

    game: Game
    params: Any
    videos: Sequence[Any]
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str
    digest: str | None


def main() -> None:
    out = cli.output_folder(OUT.value)
    question = _of_features() if FEATURES.value else _of_videos()
    with progress.bars("evaluations") as bars:
        task = bars.add_task("asking", total=1)
        found = check_model(
            question.game,
            question.params,
            question.videos,
            question.labels,
            key=jax.random.key(SEED.value),
            max_evaluations=MAX_EVALUATIONS.value,
            callback=lambda done, wanted: bars.update(task, completed=done, total=wanted),
        )
    if len(found.class_videos) != len(question.class_names):
        raise InputError(
            f"{question.name} gives {len(found.class_videos)} scores, but {len(question.class_names)} classes are named"
        )
    save_check(out, found, question.class_names, question.name)
    print(f"{question.name}: {found.sentence}")
    print(f"asked of {found.num_videos} clips, {found.num_evaluations} evaluations; wrote check.md to {OUT.value}")
    if question.digest is not None:
        try:
            kept_check.keep_check(MODEL.value, summary(found), question.digest)
        except InputError as error:
            print(f"note: {error}, so that explain_video and compute_esvs will not know of it", file=sys.stderr)


def _of_features() -> _Question:
    for flag in (CLIPS, LABELS, IMAGE_SIZE, NORMALISE):
        if flags.FLAGS[flag.name].present:
            raise InputError(f"--features and --{flag.name} exclude one another: features come without their videos")
    model = models_of_features.load(MODEL.value, PRIORS.value)
    features = models_of_features.open_features(FEATURES.value, model, SPLIT.value)
    chosen = [i for i, clip in enumerate(features.clips) if _is_of_split(clip.split)]
    _check_number(len(chosen), {clip.split for clip in features.clips}, FEATURES.value)
    index = video_index(features, chosen, count_not_finite(features, chosen), NUM_FRAMES.value)
    _tell_left_out(index.left_out)
    clips = zip(features.read(index.numbers), index.frame_index, strict=True)
    videos = [rows[frames].astype(np.float32) for rows, frames in clips]
    digest = model.described.get("model_digest") if model.described["model_kind"] != "host" else None
    name = cli.last_part(model.name)
    return _Question(model.game, model.params, videos, index.label, model.class_names, name, digest)


def _of_videos() -> _Question:
    if not (CLIPS.value and LABELS.value):
        raise InputError("--features should be given, or --clips and --labels; found neither")
    model = models_of_videos.load(MODEL.value, PRIORS.value, NUM_FRAMES.value)
    given = host_flags.CLASSES.value
    if model.class_names is None:
        raise InputError("--classes should be given, or nothing says which of the model's scores is whose")
    clips, _ = read_labelled_clips(LABELS.value, CLIPS.value, classes=given)
    names = model.class_names
    unknown = sorted({clip.label for clip in clips} - set(names))
    if unknown:
        raise InputError(
            f"the label {unknown[0]!r:.80} in {LABELS.value} is not one of the model's {len(names)} classes, "
            f"{names[0]!r:.80} to {names[-1]!r:.80}"
        )
    chosen = [clip for clip in clips if _is_of_split(clip.split)]
    _check_number(len(chosen), {clip.split for clip in clips}, LABELS.value)
    # No more than the budget can be spent on: to decode a clip takes longer than to ask many models.
    most = max(LEAST_VIDEOS, MAX_EVALUATIONS.value // (NUM_FRAMES.value + 3))
    order = np.random.default_rng(SEED.value).permutation(len(chosen))[:most]
    pictures, labels, left_out = [], [], {}
    with progress.bars("clips") as bars:
        for i in bars.track(np.sort(order).tolist(), description="decoding"):
            clip = chosen[i]
            try:
                if clip.start != 0 or clip.stop is not None:
                    raise InputError("is a part of a video: check features of such clips, which extract_features makes")
                frames = decode.sample_frames(clip.path, NUM_FRAMES.value)
            except InputError as error:
                left_out[clip.uid] = str(error)
                continue
            pictures.append((resize_and_crop(frames.images, model.preprocess), str(clip.path)))
            labels.append(names.index(clip.label))
    _tell_left_out(left_out)
    _check_number(len(pictures), set(), f"{LABELS.value} as far as it can be read")
    digest = model.provenance["digest"] if model.provenance["kind"] != "host" else None
    videos = _Encoded(model, pictures)
    return _Question(model.game, model.params, videos, np.array(labels), names, model.name, digest)


class _Encoded(Sequence):
    """Pictures as the model takes them, made when they are read: they take several times the memory."""

    def __init__(self, model: models_of_videos.ModelOfVideos, pictures: Sequence[tuple[np.ndarray, str]]):
        self.model, self.pictures = model, pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: Any) -> Any:
        return np.asarray(self.model.encode(*self.pictures[i]))


def _is_of_split(split: str) -> bool:
    return split != "train" if SPLIT.value is None else split == SPLIT.value


def _check_number(count: int, splits: set[str], where: str) -> None:
    if count < LEAST_VIDEOS:
        of = f"its splits are {checks.listed(sorted(splits))}" if splits else "the others are listed above"
        which = "not of the split 'train'" if SPLIT.value is None else f"of the split {SPLIT.value!r:.80}"
        raise InputError(f"{where} should have at least {LEAST_VIDEOS} clips {which}, found {count}; {of}")


def _tell_left_out(left_out: dict[str, str]) -> None:
    if left_out:
        print(f"{len(left_out)} clips are left out:", file=sys.stderr)
        for uid, reason in left_out.items():
            print(f"  {Path(uid).name} {reason}", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)

"""Explains what a model says of a video: how much each frame supports or opposes each class asked for.

    python -m experiments.explain_video --video=clip.mp4 --out=out/clip
    python -m experiments.explain_video --video=clip.mp4 --model=out/trn --class_name="Opening something" --out=out/clip

Prints a table that adds up (prior + Element Shapley Values = score) and writes report.png, attribution.npz and
attribution.json to the folder --out.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags

import esv_jax
from esv_jax import checkpoints, checks, cli
from esv_jax.base import Estimator
from esv_jax.checkpoints import Model
from esv_jax.checks import InputError
from esv_jax.data import decode
from esv_jax.data.clip import Clip
from esv_jax.data.preprocess import Preprocess, resize_and_crop
from esv_jax.data.priors import read_priors
from esv_jax.model_game import game_of
from esv_jax.results import figure, files, table
from esv_jax.results.explanation import class_index, explanation, predicted_class

DEMO_MODEL = Path(__file__).resolve().parent.parent / "demo_model" / "multiscale_trn"
THUMBNAIL_SIZE = 256  # pixels; the largest frames of the report are about 300 wide

VIDEO = flags.DEFINE_string("video", None, "Video file, or folder of images.", required=True)
MODEL = flags.DEFINE_string("model", str(DEMO_MODEL), "Model folder, with its backbone inside.")
PRIORS = flags.DEFINE_string("priors", None, "csv or json of class priors; those of the model by default.")
NUM_FRAMES = flags.DEFINE_integer("num_frames", 8, "How many frames of the video the model is shown.")
CLASS_NAME = flags.DEFINE_multi_string("class_name", [], "Explain this class besides the predicted one; repeatable.")
ESTIMATOR = flags.DEFINE_enum("estimator", "exact", ["exact", "stratified"], "All 2^T coalitions, or a sample.")
PER_SIZE = flags.DEFINE_integer("per_size", 128, "Stratified only: the most coalitions of each size, at least 2.")
SEED = flags.DEFINE_integer("seed", 0, "Stratified only: decides which coalitions are drawn.")
OUT = flags.DEFINE_string("out", None, "Folder to write to.", required=True)


def main() -> None:
    out = cli.output_folder(OUT.value)
    model = checkpoints.load_model(MODEL.value)
    prior = read_priors(PRIORS.value, len(model.card.classes)) if PRIORS.value else None
    game = game_of(model, prior=prior, name=MODEL.value)
    backbone, preprocess = _backbone(model)
    classes = [class_index(model.card.classes, name) for name in CLASS_NAME.value]
    estimator, method = _estimator()

    clip = decode.read_clip(VIDEO.value, NUM_FRAMES.value)
    images = resize_and_crop(clip.images, preprocess)
    features = jax.jit(backbone.module.apply)(backbone.variables, images)
    checks.check_finite(f"the features of {VIDEO.value}", features)
    key = jax.random.key(SEED.value) if ESTIMATOR.value == "stratified" else None
    attribution = esv_jax.explain(estimator, game, model.variables, features, key=key)

    explained = explanation(
        attribution,
        title=_title(clip, method),
        frames=clip.indices,
        times=clip.times,
        images=resize_and_crop(clip.images, _enlarged(preprocess)),
        class_names=model.card.classes,
        sampled=ESTIMATOR.value == "stratified",
    )
    shown = list(dict.fromkeys([predicted_class(explained), *classes]))
    try:
        files.save_npz(out / "attribution.npz", explained)
        files.save_json(out / "attribution.json", explained, _provenance(model, clip, method))
        figure.save_report(out / "report.png", explained, shown)
    except OSError as error:
        raise InputError(f"the results cannot be written to {OUT.value}: {error.strerror or error}") from error
    finally:  # a full disk does not cost the table, nor a closed pipe the files
        print(explained.title)
        for c in shown:
            print("\n" + table.format_table(explained, c, ascii_only=not _prints_unicode()))
    print(f"\nwrote report.png, attribution.npz and attribution.json to {OUT.value}")


def _backbone(model: Model) -> tuple[Model, Preprocess]:
    """The model's backbone, and what it wants of its images."""
    if model.backbone is None or model.backbone.card.preprocess is None:
        raise InputError(f"{MODEL.value} holds no backbone folder, which is needed to get features from a video")
    return model.backbone, model.backbone.card.preprocess


def _estimator() -> tuple[Estimator, dict[str, Any]]:
    """The estimator, and how to name it in files."""
    if ESTIMATOR.value == "exact":
        return esv_jax.exact(), {"estimator": "exact"}
    if PER_SIZE.value < 2:
        raise InputError(f"--per_size should be at least 2, or there is no standard error; found {PER_SIZE.value}")
    method = {"estimator": "stratified", "per_size": PER_SIZE.value, "seed": SEED.value}
    return esv_jax.stratified(per_size=PER_SIZE.value), method


def _title(clip: Clip, method: dict[str, Any]) -> str:
    video, model = Path(VIDEO.value), Path(MODEL.value).resolve()
    how = ", ".join(f"{name} {value}" for name, value in method.items() if name != "estimator")
    how = f"{method['estimator']} ESVs" + (f" ({how})" if how else "")
    times = ", 25 a second" if video.is_dir() else ""
    return f"{video.name}, {len(clip.indices)} of {clip.num_frames_in_video} frames{times}; {model.name}; {how}"


def _enlarged(preprocess: Preprocess) -> Preprocess:
    """The same part of the picture that the backbone sees, at the report's resolution."""
    short_side = round(preprocess.short_side * THUMBNAIL_SIZE / preprocess.size)
    return preprocess._replace(short_side=short_side, size=THUMBNAIL_SIZE)


def _prints_unicode() -> bool:
    try:
        "█±".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _provenance(model: Model, clip: Clip, method: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": sys.argv,
        "video": {
            "path": VIDEO.value,
            "sha256": _sha256(Path(VIDEO.value)),
            "num_frames": clip.num_frames_in_video,
        },
        "model": {
            "path": MODEL.value,
            "kind": model.card.kind,
            "digest": checkpoints.digest(model),
            "provenance": model.card.provenance,
        },
        "method": method,
        "versions": checkpoints.versions(),
    }


def _sha256(video: Path) -> str | None:
    if video.is_dir():
        return None
    with video.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    cli.run(main)

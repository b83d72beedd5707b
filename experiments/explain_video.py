"""Explains what a model says of a video: how much each frame supports or opposes each class asked for.

    esv-jax explain_video --video=clip.mp4 --out=out/clip
    esv-jax explain_video --video=clip.mp4 --model=out/trn --class_name="Opening something" --out=out/clip

With few frames every coalition is evaluated; else a sample of them, in one run, or up to --target_std_error in several.
Prints a table that adds up (prior + Element Shapley Values = score) and writes report.png, attribution.npz and
attribution.json to the folder --out.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags
from rich import progress
from rich.console import Console

import esv_jax
from esv_jax import checks
from esv_jax.base import Attribution, Estimator, Game, exact_weights
from esv_jax.checks import InputError
from esv_jax.data.priors import read_priors
from esv_jax.results import figure, files, table
from esv_jax.results.explanation import class_index, explanation, predicted_class
from esv_jax.saved import DEMO_MODEL, model_folder
from esv_jax.saved.game import game_of
from esv_jax.saved.model_folder import Model
from esv_jax.video import decode
from esv_jax.video.clip import Clip
from esv_jax.video.preprocess import Preprocess, resize_and_crop

from . import cli

EVALUATIONS_OF_A_RUN = 1024  # where runs are repeated up to a target
THUMBNAIL_SIZE = 256  # pixels; the largest frames of the report are about 300 wide

VIDEO = flags.DEFINE_string("video", None, "Video file, or folder of images.", required=True)
MODEL = flags.DEFINE_string("model", str(DEMO_MODEL), "Model folder, with its backbone inside.")
PRIORS = flags.DEFINE_string("priors", None, "csv or json of class priors; those of the model by default.")
NUM_FRAMES = flags.DEFINE_integer("num_frames", 8, "How many frames of the video the model is shown.")
CLASS_NAME = flags.DEFINE_multi_string("class_name", [], "Explain this class besides the predicted one; repeatable.")
ESTIMATOR = flags.DEFINE_enum(
    "estimator",
    "recommended",
    ["recommended", "exact", "surrogate", "regression", "orderings", "stratified_paired", "stratified"],
    "recommended: exact where --max_evaluations allows all 2^T coalitions, else the best sample.",
)
MAX_EVALUATIONS = flags.DEFINE_integer("max_evaluations", 4096, "The most coalitions to evaluate.", lower_bound=1)
TARGET = flags.DEFINE_float("target_std_error", None, "Sample in runs, and stop when no standard error exceeds this.")
PER_SIZE = flags.DEFINE_integer("per_size", 128, "Stratified: the most coalitions of a size in a run, at least 2.")
SEED = flags.DEFINE_integer("seed", 0, "Of sampling: decides which coalitions are drawn.")
OUT = flags.DEFINE_string("out", None, "Folder to write to.", required=True)


def main() -> None:
    out = cli.output_folder(OUT.value)
    model = model_folder.load_model(MODEL.value)
    prior = read_priors(PRIORS.value, len(model.card.classes)) if PRIORS.value else None
    game = game_of(model, prior=prior, name=MODEL.value)
    backbone, preprocess = _backbone(model)
    classes = [class_index(model.card.classes, name) for name in CLASS_NAME.value]
    estimator, method = _estimator(NUM_FRAMES.value)

    clip = decode.read_clip(VIDEO.value, NUM_FRAMES.value)
    images = resize_and_crop(clip.images, preprocess)
    features = jax.jit(backbone.module.apply)(backbone.variables, images)
    checks.check_finite(f"the features of {VIDEO.value}", features)
    attribution = _explain(estimator, game, model.variables, features)

    explained = explanation(
        attribution,
        title=_title(clip, method),
        frames=clip.indices,
        times=clip.times,
        images=resize_and_crop(clip.images, _enlarged(preprocess)),
        class_names=model.card.classes,
        sampled=method["estimator"] != "exact",
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


def _estimator(num_frames: int) -> tuple[Estimator, dict[str, Any]]:
    """The estimator, and how to name it in files."""
    name, budget = ESTIMATOR.value, MAX_EVALUATIONS.value
    if name == "exact" or (name == "recommended" and _affords_all(num_frames)):
        return esv_jax.exact(), {"estimator": "exact"}
    if name.startswith("stratified"):
        if PER_SIZE.value < 2:
            raise InputError(f"--per_size should be at least 2, or there is no standard error; found {PER_SIZE.value}")
        method: dict[str, Any] = {"estimator": name, "per_size": PER_SIZE.value, "seed": SEED.value}
        make = {"stratified": esv_jax.stratified, "stratified_paired": esv_jax.stratified_paired}[name]
        estimator = make(per_size=PER_SIZE.value)
    else:
        method = {"estimator": name, "max_evaluations": budget, "seed": SEED.value}
        makers = {
            "recommended": esv_jax.recommended,
            "surrogate": esv_jax.surrogate,
            "regression": esv_jax.regression,
            "orderings": esv_jax.orderings,
        }
        of_run = budget if TARGET.value is None else min(budget, max(EVALUATIONS_OF_A_RUN, 4 * num_frames))
        estimator = makers[name](max_evaluations=of_run)
    return estimator, method | ({} if TARGET.value is None else {"target_std_error": TARGET.value})


def _affords_all(num_frames: int) -> bool:
    return exact_weights(esv_jax.recommended(max_evaluations=MAX_EVALUATIONS.value), num_frames) is not None


def _explain(estimator: Estimator, game: Game, variables: Any, features: jax.Array) -> Attribution:
    """One run of the estimator, or several up to the target, with a progress bar on stderr."""
    key = jax.random.key(SEED.value)
    if TARGET.value is None or exact_weights(estimator, features.shape[0]) is not None:
        return esv_jax.explain(estimator, game, variables, features, key=key)
    columns = [progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TimeElapsedColumn()]
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sampling", total=MAX_EVALUATIONS.value)

        def show(report: esv_jax.Progress) -> None:
            text = f"{report.evaluations} evaluations, largest standard error {report.largest_std_error:.2g}"
            bar.update(task, completed=report.evaluations, description=text)

        return esv_jax.explain_until(
            estimator,
            game,
            variables,
            features,
            key=key,
            max_evaluations=MAX_EVALUATIONS.value,
            target_std_error=TARGET.value,
            callback=show,
        )


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
            "digest": model_folder.digest(model),
            "provenance": model.card.provenance,
        },
        "method": method,
        "versions": model_folder.versions(),
    }


def _sha256(video: Path) -> str | None:
    if video.is_dir():
        return None
    with video.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    cli.run(main)

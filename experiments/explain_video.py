"""Explains what a model says of a video: how much each frame supports or opposes each class asked for.

    esv-jax explain_video --video=clip.mp4 --out=out/clip
    esv-jax explain_video --video=clip.mp4 --model=out/trn --class_name="Opening something" --out=out/clip
    esv-jax explain_video --video=clip.mp4 --num_frames=32 --certify=top --out=out/clip

With few frames every coalition is evaluated; else a sample of them, in one run, or in several looks: up to
--target_std_error, or until the answer to --certify is sure. Prints a table that adds up (prior + Element Shapley
Values = score) and writes report.png, attribution.npz and attribution.json to the folder --out.
"""

import contextlib
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

import esv_jax
from esv_jax import checks, files, progress
from esv_jax.base import Attribution, Estimator, Game
from esv_jax.checks import InputError
from esv_jax.data.priors import read_priors
from esv_jax.explaining.certify import QUESTIONS, sentence
from esv_jax.explaining.explain import is_exact
from esv_jax.results import figure, table
from esv_jax.results.explanation import class_index, explanation, predicted_class
from esv_jax.results.files import save_json, save_npz
from esv_jax.saved import DEMO_MODEL, model_folder
from esv_jax.saved.game import game_of
from esv_jax.saved.model_folder import Model
from esv_jax.video import decode
from esv_jax.video.frames import Frames
from esv_jax.video.preprocess import Preprocess, resize_and_crop

from . import cli, estimator_flags
from .estimator_flags import ESTIMATOR, MAX_EVALUATIONS, SEED

FIRST_LOOK = 1024  # evaluations, where there are more up to a target
LEVEL = 0.95  # of --certify; that of the table's intervals
# That tell the standard errors of differences, or are exact.
CERTIFYING = ("recommended", "exact", "surrogate", "regression")
THUMBNAIL_SIZE = 256  # pixels; the largest frames of the report are about 300 wide

VIDEO = cli.DEFINE_path("video", None, "Video file, or folder of images.", required=True)
MODEL = cli.DEFINE_path("model", str(DEMO_MODEL), "Model folder, with its backbone inside.")
PRIORS = cli.DEFINE_path("priors", None, "csv or json of class priors; those of the model by default.")
NUM_FRAMES = flags.DEFINE_integer("num_frames", 8, "How many frames of the video the model is shown.")
CLASS_NAME = flags.DEFINE_multi_string("class_name", [], "Explain this class besides the predicted one; repeatable.")
TARGET = flags.DEFINE_float(
    "target_std_error", None, "Sample more and more, and stop when no standard error exceeds this."
)
CERTIFY = flags.DEFINE_enum(
    "certify",
    None,
    list(QUESTIONS),
    "Sample until it is sure which frame is the top one (top), which three are (top3), or which support and which "
    "distract (sign), for the class of --class_name, else for the predicted one; --max_evaluations at most.",
)
OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)


def main() -> None:
    out = cli.output_folder(OUT.value)
    model = model_folder.load_model(MODEL.value)
    prior = read_priors(PRIORS.value, len(model.card.classes)) if PRIORS.value else None
    game = game_of(model, prior=prior, name=MODEL.value)
    backbone, preprocess = _backbone(model)
    classes = [class_index(model.card.classes, name) for name in CLASS_NAME.value]
    if CERTIFY.value is not None:
        _check_certify(classes)
    estimator, method = _estimator(NUM_FRAMES.value, game)

    frames = decode.sample_frames(VIDEO.value, NUM_FRAMES.value)
    stream = decode.stream_read(VIDEO.value)
    images = resize_and_crop(frames.images, preprocess)
    features = jax.jit(backbone.module.apply)(backbone.variables, images)
    checks.check_finite(f"the features of {VIDEO.value}", features)
    answer = None
    if CERTIFY.value is None:
        attribution = _explain(estimator, game, model.variables, features)
    else:
        attribution, answer = _certify(
            estimator, game, model.variables, features, classes[0] if classes else None, frames.indices.tolist()
        )

    explained = explanation(
        attribution,
        title=_title(frames, method),
        frames=frames.indices,
        times=frames.times,
        images=resize_and_crop(frames.images, _enlarged(preprocess)),
        class_names=model.card.classes,
        sampled=bool(attribution.sampled),
    )
    shown = list(dict.fromkeys([predicted_class(explained), *classes]))
    certified = classes[0] if classes else predicted_class(explained)
    try:
        with files.disk_errors(f"the results cannot be written to {OUT.value}"):
            save_npz(out / "attribution.npz", explained)
            save_json(out / "attribution.json", explained, _provenance(model, frames, method))
            figure.save_report(out / "report.png", explained, shown)
    finally:  # a full disk does not cost the table, nor a closed pipe the files
        print(explained.title + (f"\n{stream}" if stream else ""))
        for c in shown:
            print("\n" + table.format_table(explained, c, ascii_only=not _prints_unicode()))
            if answer is not None and c == certified:
                print(answer)
    print(f"\nwrote report.png, attribution.npz and attribution.json to {OUT.value}")


def _backbone(model: Model) -> tuple[Model, Preprocess]:
    """The model's backbone, and what it wants of its images."""
    if model.backbone is None or model.backbone.card.preprocess is None:
        raise InputError(f"{MODEL.value} holds no backbone folder, which is needed to get features from a video")
    return model.backbone, model.backbone.card.preprocess


def _check_certify(classes: list[int]) -> None:
    """Raises InputError if --certify is given with flags that contradict it."""
    if TARGET.value is not None:
        raise InputError("--certify and --target_std_error both say when to stop: give one of them")
    if len(set(classes)) > 1:
        raise InputError(f"--certify is for one class, found {len(set(classes))} of --class_name")
    if ESTIMATOR.value not in CERTIFYING:
        raise InputError(
            f"--certify is for --estimator={', '.join(CERTIFYING)}, which tell how sure differences of values are, "
            f"found {ESTIMATOR.value}"
        )


def _estimator(num_frames: int, game: Game) -> tuple[Estimator, dict[str, Any]]:
    """The estimator, and how to name it in files."""
    checks.check_positive("num_frames", num_frames)
    estimator_flags.check_budget(num_frames)
    if TARGET.value is not None and not 0 < TARGET.value < math.inf:
        raise InputError(f"--target_std_error should be more than 0, found {TARGET.value}")
    estimator = estimator_flags.estimator()
    if is_exact(estimator, game, num_frames):
        return estimator, {"estimator": "exact"}
    method = {"estimator": ESTIMATOR.value, **estimator_flags.options(), "seed": SEED.value}
    method.pop("max_exact_frames", None)
    if CERTIFY.value is not None:
        return estimator, {**method, "certify": CERTIFY.value}
    if TARGET.value is None:
        return estimator, method
    first = min(MAX_EVALUATIONS.value, max(FIRST_LOOK, 4 * num_frames))
    return estimator_flags.estimator(max_evaluations=first), {**method, "target_std_error": TARGET.value}


def _explain(estimator: Estimator, game: Game, variables: Any, features: jax.Array) -> Attribution:
    """One look, or more and more evaluations up to the target, with a progress bar on stderr."""
    key = jax.random.key(SEED.value)
    if TARGET.value is None or is_exact(estimator, game, features.shape[0]):
        return esv_jax.explain(estimator, game, variables, features, key=key)
    with _bar() as show:
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


def _certify(
    estimator: Estimator,
    game: Game,
    variables: Any,
    features: jax.Array,
    of_class: int | None,
    names: Sequence[int],
) -> tuple[Attribution, str]:
    """What the answer to --certify was found in, and the answer, which gives frames these names.

    Of a class, or of the predicted one. With a progress bar on stderr where coalitions are sampled.
    """
    question: Any = CERTIFY.value
    ask = functools.partial(
        esv_jax.certify,
        estimator,
        game,
        variables,
        features,
        key=jax.random.key(SEED.value),
        max_evaluations=MAX_EVALUATIONS.value,
        question=question,
        class_index=of_class,
        level=LEVEL,
    )
    if is_exact(estimator, game, features.shape[0]):
        found = ask()
    else:
        with _bar() as show:
            found = ask(callback=show)
    attribution = found.attribution
    level = LEVEL if attribution.sampled else None
    return attribution, sentence(
        question, found.answer, found.certain, found.undecided, found.num_evaluations, level, names
    )


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[esv_jax.Progress], None]]:
    """A progress bar on stderr, and what to call after every look."""
    with progress.bars("evaluations") as bars:
        task = bars.add_task("sampling", total=MAX_EVALUATIONS.value)

        def show(report: esv_jax.Progress) -> None:
            said = f"largest standard error {report.largest_std_error:.2g}"
            bars.update(task, completed=report.evaluations, said=said)

        yield show


def _title(frames: Frames, method: dict[str, Any]) -> str:
    how = ", ".join(f"{name} {value}" for name, value in method.items() if name != "estimator")
    how = f"{method['estimator']} ESVs" + (f" ({how})" if how else "")
    times = ", 25 a second" if Path(VIDEO.value).is_dir() else ""
    shown = f"{len(frames.indices)} of {frames.num_frames_in_video} frames{times}"
    return f"{_name(VIDEO.value)}, {shown}; {_name(MODEL.value)}; {how}"


def _name(path: str) -> str:
    """The last part of a path: results go to places where there is no such folder."""
    return cli.in_unicode(os.path.basename(os.path.abspath(path)))


def _enlarged(preprocess: Preprocess) -> Preprocess:
    """The same part of the picture that the backbone sees, at the report's resolution."""
    short_side = round(preprocess.short_side * THUMBNAIL_SIZE / preprocess.size)
    return preprocess._replace(short_side=short_side, size=THUMBNAIL_SIZE)


def _prints_unicode() -> bool:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _provenance(model: Model, frames: Frames, method: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": cli.command("explain_video", *sys.argv[1:]),
        "video": {
            "name": _name(VIDEO.value),
            "sha256": None if Path(VIDEO.value).is_dir() else files.digest(VIDEO.value),
            "num_frames": frames.num_frames_in_video,
        },
        "model": {
            "name": _name(MODEL.value),
            "kind": model.card.kind,
            "digest": model_folder.digest(model),
            "provenance": model.card.provenance,
        },
        "method": method,
        "versions": cli.versions("av", "pillow"),
    }


if __name__ == "__main__":
    cli.run(main)

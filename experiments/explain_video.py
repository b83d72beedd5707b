"""Explains what a model says of a video: how much each frame supports or opposes each class asked for.

    esv-jax explain_video --video=clip.mp4 --out=out/clip
    esv-jax explain_video --video=clip.mp4 --model=out/trn --class_name="Opening something" --out=out/clip
    esv-jax explain_video --video=clip.mp4 --num_frames=32 --certify=top --out=out/clip
    esv-jax explain_video --video=clip.mp4 --num_frames=24 --segments=6 --out=out/clip
    esv-jax explain_video --video=clip.mp4 --model=my_models:videomae --num_frames=16 --removal=mean --out=out/clip
    esv-jax explain_video --video=clip.mp4 --onnx=model.onnx --removal=mean --archive=clip.esv --out=out/clip

With few frames every coalition is evaluated; else a sample of them, in one run, or in several looks: up to
--target_std_error, or until the answer to --certify is sure.

Anyone's model is --model=module:function, a factory without arguments, of a module that can be imported here. It
returns predict, (uint8 RGB [N, T, H, W, 3]) -> scores [N, C], or a torch.nn.Module; the latter, and --onnx, are given
normalised frames with their axes as --layout says.

Prints a table that adds up (prior + Element Shapley Values = score) and writes report.png, page.html (the same with
the video, for a browser), attribution.npz and attribution.json to the folder --out; with --interactions, a triangle of
pairs of frames too, and interactions.csv (anyone's model is asked again for them, unless there is an --archive).
"""

import contextlib
import functools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

import esv_jax
from esv_jax import checks, files, progress
from esv_jax.base import Attribution, Estimator, Game, Host
from esv_jax.checks import InputError
from esv_jax.explaining.certify import QUESTIONS, sentence
from esv_jax.explaining.explain import is_exact
from esv_jax.results import figure, page, table
from esv_jax.results.explanation import class_index, explanation, predicted_class
from esv_jax.results.files import save_json, save_npz, save_pairs
from esv_jax.saved import DEMO_MODEL
from esv_jax.video import decode
from esv_jax.video.frames import Frames
from esv_jax.video.preprocess import Preprocess, resize_and_crop

from . import cli, estimator_flags, host_flags
from .estimator_flags import ESTIMATOR, MAX_EVALUATIONS, SEED
from .models_of_videos import ModelOfVideos, load

MOST_FRAMES_OF_PAIRS = 16  # in one row of the report
FIRST_LOOK = 1024  # evaluations, where there are more up to a target
LEVEL = 0.95  # of --certify; that of the table's intervals
# That tell the standard errors of differences, or are exact.
CERTIFYING = ("recommended", "exact", "surrogate", "regression")
THUMBNAIL_SIZE = 256  # pixels; the largest frames of the report are about 300 wide

VIDEO = cli.DEFINE_path("video", None, "Video file, or folder of images.", required=True)
MODEL = cli.DEFINE_path("model", str(DEMO_MODEL), "Model folder, with its backbone inside; or module:function.")
PRIORS = cli.DEFINE_path("priors", None, "csv or json of class priors; those of the model folder by default.")
ARCHIVE = cli.DEFINE_path("archive", None, "Anyone's model: file that keeps every answer, so that none is asked twice.")
NUM_FRAMES = flags.DEFINE_integer("num_frames", 8, "How many frames of the video the model is shown.")
SEGMENTS = flags.DEFINE_integer(
    "segments", None, "Explain so many segments of equal length, of the frames that are shown.", lower_bound=1
)
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
INTERACTIONS = flags.DEFINE_bool(
    "interactions", False, "Show too what pairs of frames do together: which two carry a relation; 16 frames at most."
)
OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)


def main() -> None:
    out = cli.output_folder(OUT.value)
    subject = load(MODEL.value, PRIORS.value, NUM_FRAMES.value, ARCHIVE)
    checks.check_positive("num_frames", NUM_FRAMES.value)
    segments = None
    if SEGMENTS.value is not None:
        segments = esv_jax.players.segments(NUM_FRAMES.value, SEGMENTS.value)
        subject = subject._replace(game=esv_jax.grouped(subject.game, segments))
    num_players = SEGMENTS.value or NUM_FRAMES.value
    if INTERACTIONS.value and NUM_FRAMES.value > MOST_FRAMES_OF_PAIRS:
        raise InputError(
            f"--interactions is for at most {MOST_FRAMES_OF_PAIRS} frames, found --num_frames={NUM_FRAMES.value}"
        )
    if CERTIFY.value is not None:
        _check_certify()
    if subject.class_names is not None:
        _classes(subject.class_names)
    estimator, method = _estimator(num_players, subject.game)

    frames = decode.sample_frames(VIDEO.value, NUM_FRAMES.value)
    stream = decode.stream_read(VIDEO.value)
    video = subject.encode(resize_and_crop(frames.images, subject.preprocess), VIDEO.value)
    if subject.class_names is None:
        subject = subject._replace(class_names=host_flags.class_names(_num_classes(subject, video)))
    names: Any = subject.class_names
    classes = _classes(names)
    answer = pairs = None
    if CERTIFY.value is None:
        attribution = _explain(estimator, subject, video)
    else:
        attribution, answer = _certify(
            estimator, subject, video, classes[0] if classes else None, frames.indices.tolist()
        )
    if INTERACTIONS.value:
        pairs = _pairs(estimator, subject, video)

    explained = explanation(
        attribution,
        title=_title(subject, frames, method),
        frames=frames.indices,
        times=frames.times,
        images=resize_and_crop(frames.images, _enlarged(subject.preprocess)),
        class_names=names,
        sampled=bool(attribution.sampled),
        players=None if segments is None else [_of_video(segment, frames.indices) for segment in segments],
    )
    shown = list(dict.fromkeys([predicted_class(explained), *classes]))
    certified = classes[0] if classes else predicted_class(explained)
    try:
        with files.disk_errors(f"the results cannot be written to {OUT.value}"):
            save_npz(out / "attribution.npz", explained)
            save_json(out / "attribution.json", explained, _provenance(subject, frames, method))
            figure.save_report(out / "report.png", explained, shown, None if pairs is None else pairs[0])
            page.write_one(
                out / "page.html",
                explained,
                _provenance(subject, frames, method),
                uid=cli.last_part(VIDEO.value),
                num_frames_in_video=frames.num_frames_in_video,
                pairs=None if pairs is None else pairs[0],
                video=VIDEO.value,
            )
            if pairs is not None:
                save_pairs(out / "interactions.csv", explained, *pairs)
    finally:  # a full disk does not cost the table, nor a closed pipe the files
        print(explained.title + (f"\n{stream}" if stream else ""))
        for c in shown:
            print("\n" + table.format_table(explained, c, ascii_only=not _prints_unicode()))
            if answer is not None and c == certified:
                print(answer)
    more = "" if pairs is None else ", interactions.csv"
    print(f"\nwrote report.png, page.html{more}, attribution.npz and attribution.json to {OUT.value}")
    if subject.warning:
        print(f"note: {subject.warning}", file=sys.stderr)


def _of_video(segment: esv_jax.Player, numbers: np.ndarray) -> esv_jax.Player:
    """The segment, named by the numbers that its frames have in the video."""
    ((_, rows),) = segment.parts
    first, last = numbers[rows[0]], numbers[rows[-1]]
    return segment._replace(name=f"frame {first}" if first == last else f"frames {first}-{last}")


def _num_classes(subject: ModelOfVideos, video: Any) -> int:
    """How many the model has: of the worth of nobody where that is given, else by its answer for the whole video."""
    if subject.game.empty is not None:
        return len(subject.game.empty)
    everyone = np.ones((1, subject.game.num_players(video)), bool)
    return esv_jax.worths(subject.game, subject.params, video, everyone, archive=ARCHIVE.value).shape[1]


def _classes(names: Sequence[str]) -> list[int]:
    return [class_index(names, name) for name in CLASS_NAME.value]


def _check_certify() -> None:
    """Raises InputError if --certify is given with flags that contradict it."""
    if SEGMENTS.value is not None:
        raise InputError("--certify names frames: give no --segments with it")
    if TARGET.value is not None:
        raise InputError("--certify and --target_std_error both say when to stop: give one of them")
    num_classes = len({name.casefold() for name in CLASS_NAME.value})
    if num_classes > 1:
        raise InputError(f"--certify is for one class, found {num_classes} of --class_name")
    if ESTIMATOR.value not in CERTIFYING:
        raise InputError(
            f"--certify is for --estimator={', '.join(CERTIFYING)}, which tell how sure differences of values are, "
            f"found {ESTIMATOR.value}"
        )


def _estimator(num_players: int, game: Game) -> tuple[Estimator, dict[str, Any]]:
    """The estimator, and how to name it in files."""
    estimator_flags.check_budget(num_players)
    if TARGET.value is not None and not 0 < TARGET.value < math.inf:
        raise InputError(f"--target_std_error should be more than 0, found {TARGET.value}")
    estimator = estimator_flags.estimator()
    groups = {} if SEGMENTS.value is None else {"segments": SEGMENTS.value}
    if is_exact(estimator, game, num_players):
        return estimator, {"estimator": "exact", **groups}
    method = {"estimator": ESTIMATOR.value, **estimator_flags.options(), "seed": SEED.value, **groups}
    method.pop("max_exact_frames", None)
    if CERTIFY.value is not None:
        return estimator, {**method, "certify": CERTIFY.value}
    if TARGET.value is None:
        return estimator, method
    first = min(MAX_EVALUATIONS.value, max(FIRST_LOOK, 4 * num_players))
    return estimator_flags.estimator(max_evaluations=first), {**method, "target_std_error": TARGET.value}


def _explain(estimator: Estimator, subject: ModelOfVideos, video: Any) -> Attribution:
    """One look, or more and more evaluations up to the target, with a progress bar on stderr."""
    key = jax.random.key(SEED.value)
    asked = estimator, subject.game, subject.params, video
    if TARGET.value is None or is_exact(estimator, subject.game, subject.game.num_players(video)):
        if not isinstance(subject.game.form, Host):
            return esv_jax.explain(*asked, key=key)
        with progress.bars("evaluations") as bars:
            task = bars.add_task("asking", total=1)

            def tell(so_far: esv_jax.Asked) -> None:
                bars.update(task, completed=so_far.done, total=so_far.wanted)

            return esv_jax.explain(*asked, key=key, archive=ARCHIVE.value, callback=tell)
    with _bar() as show:
        return esv_jax.explain_until(
            *asked,
            key=key,
            max_evaluations=MAX_EVALUATIONS.value,
            target_std_error=TARGET.value,
            archive=ARCHIVE.value,
            callback=show,
        )


def _pairs(estimator: Estimator, subject: ModelOfVideos, video: Any) -> tuple[np.ndarray, np.ndarray]:
    """Interactions and their standard errors [P, P, C]; exact where the values are."""
    whole = is_exact(estimator, subject.game, subject.game.num_players(video))
    found = esv_jax.interactions(
        subject.game,
        subject.params,
        video,
        max_evaluations=None if whole else MAX_EVALUATIONS.value,
        key=jax.random.key(SEED.value),
        archive=ARCHIVE.value,
    )
    return np.asarray(found.values, np.float64), np.asarray(found.std_error, np.float64)


def _certify(
    estimator: Estimator, subject: ModelOfVideos, video: Any, of_class: int | None, names: Sequence[int]
) -> tuple[Attribution, str]:
    """What the answer to --certify was found in, and the answer, which gives frames these names.

    Of a class, or of the predicted one. With a progress bar on stderr where coalitions are sampled.
    """
    question: Any = CERTIFY.value
    ask = functools.partial(
        esv_jax.certify,
        estimator,
        subject.game,
        subject.params,
        video,
        key=jax.random.key(SEED.value),
        max_evaluations=MAX_EVALUATIONS.value,
        question=question,
        class_index=of_class,
        level=LEVEL,
        archive=ARCHIVE.value,
    )
    if is_exact(estimator, subject.game, subject.game.num_players(video)):
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


def _title(subject: ModelOfVideos, frames: Frames, method: dict[str, Any]) -> str:
    how = ", ".join(f"{name} {value}" for name, value in method.items() if name != "estimator")
    how = f"{method['estimator']} ESVs" + (f" ({how})" if how else "")
    times = ", 25 a second" if Path(VIDEO.value).is_dir() else ""
    shown = f"{len(frames.indices)} of {frames.num_frames_in_video} frames{times}"
    return f"{cli.last_part(VIDEO.value)}, {shown}; {subject.name}; {how}"


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


def _provenance(subject: ModelOfVideos, frames: Frames, method: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": cli.command("explain_video", *sys.argv[1:]),
        "video": {
            "name": cli.last_part(VIDEO.value),
            "sha256": None if Path(VIDEO.value).is_dir() else files.digest(VIDEO.value),
            "num_frames": frames.num_frames_in_video,
        },
        "model": subject.provenance,
        "method": method,
        "versions": cli.versions("av", "pillow"),
    }


if __name__ == "__main__":
    cli.run(main)

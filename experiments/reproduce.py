"""All of RESULTS.md by one command: makes the clips, trains, explains, analyses, and writes the page.

    esv-jax reproduce --out=out/reproduce
    esv-jax reproduce --data=clips --clips=DIR --labels=DIR/labels.csv --hold_out=person=ido,ira,lena \\
        --mobilenet_weights=FILE.npz --out=out/weizmann --page=docs/results/weizmann.md --title="Weizmann actions"
    esv-jax reproduce --data=tracks --tracks=FILE.csv --class_names=stop,clockwise,counter,move \\
        --out=out/tracks --page=docs/results/tracks.md

Without --data it is the procedural set: RESULTS.md is made of results.template.md, with pictures in docs/results.
Of other data only the numbers are written, to --page, and RESULTS.md includes what pages there are. Every step is a
script of its own, printed as it is run. Run again after an interruption, it goes on where it stopped, and does nothing
twice.
"""

import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags

from esv_jax import files
from esv_jax.analyses import report
from esv_jax.checks import InputError
from esv_jax.saved import model_folder

from . import cli

TEMPLATE = Path(__file__).with_name("results.template.md")
KINDS = ("tsn", "multiscale_trn")
_MARKS = "steps.json"

DATA = flags.DEFINE_enum("data", "procedural", ["procedural", "clips", "tracks"], "What to work on.")
CLIPS_PER_CLASS = flags.DEFINE_integer(
    "clips_per_class", 100, "Procedural: clips of each class, 8 in 10 to train on.", 10
)
TEST_CLIPS = flags.DEFINE_integer("test_clips_per_class", 20, "Procedural: held-out clips of each class.", 1)
CLIPS = cli.DEFINE_path("clips", None, "clips: as for extract_features.")
LABELS = cli.DEFINE_path("labels", None, "clips: as for extract_features.")
HOLD_OUT = flags.DEFINE_string("hold_out", None, "clips: as for extract_features.")
MOBILENET_WEIGHTS = cli.DEFINE_path("mobilenet_weights", None, "clips: as for extract_features.")
TRACKS = cli.DEFINE_path("tracks", None, "tracks: as for track_features.")
CLASS_NAMES = flags.DEFINE_string("class_names", None, "tracks: as for track_features.")
EPOCHS = flags.DEFINE_integer("epochs", 30, "Of training.", lower_bound=1)
MOST_FRAMES = flags.DEFINE_integer("most_frames", 16, "Values are computed for every number of frames up to this.", 12)
SEED = flags.DEFINE_integer("seed", 1, "Of the procedural set; the demo's backbone has seen seed 0.", 0, 2**63 - 1)
OUT = cli.DEFINE_path("out", "out/reproduce", "Folder for clips, features, models, values and analyses.")
PAGE = cli.DEFINE_path("page", "RESULTS.md", "The page to write; pictures go to docs/results beside it.")
TITLE = flags.DEFINE_string("title", None, "Heading of the page of other data; the name of the page by default.")


def main() -> None:
    out = cli.output_folder(OUT.value)
    if DATA.value != "procedural" and not flags.FLAGS["page"].present:
        raise InputError(f"--data={DATA.value} needs --page, or RESULTS.md would be of other data")
    with files.exclusive_lock(out, f"the run in {out}"):
        for name, arguments in _steps(out).items():
            _run(out, name, arguments)
    words = {path.stem: path.read_text(encoding="utf-8") for path in (out / "analysis").glob("*.md")}
    words |= {"commands": _commands(out), "models": _models(out), "cost": _cost(out), "frames": str(MOST_FRAMES.value)}
    target = Path(PAGE.value)
    if DATA.value == "procedural":
        pictures = cli.output_folder(str(target.parent / "docs" / "results"))
        for file in sorted((out / "analysis").iterdir()):
            if file.suffix in (".csv", ".png"):
                shutil.copy(file, pictures)
        words["other_data"] = "\n\n".join(p.read_text(encoding="utf-8").strip() for p in sorted(pictures.glob("*.md")))
        text = report.filled_in(TEMPLATE.read_text(encoding="utf-8"), words)
    else:
        text = f"### {TITLE.value or target.stem}\n\n{_numbers(words)}"
    cli.output_folder(str(target.parent))
    files.write_text(target, text)
    print(f"wrote {target}")


def _steps(out: Path) -> dict[str, list[str]]:
    """What is to be run, by name: a script and its flags."""
    features = out / "features"
    steps = {}
    if DATA.value == "procedural":
        videos = out / "videos"
        made = ["make_videos", f"--out={videos}", f"--seed={SEED.value}"]
        steps["videos"] = [*made, f"--clips_per_class={CLIPS_PER_CLASS.value}"]
        steps["test videos"] = [*made, "--split=test", f"--clips_per_class={TEST_CLIPS.value}"]
        steps["features"] = [
            "extract_features", f"--clips={videos}", f"--labels={videos / 'labels.csv'}", f"--out={features}"
        ]  # fmt: skip
    elif DATA.value == "clips":
        given = {"clips": CLIPS, "labels": LABELS, "hold_out": HOLD_OUT}
        optional = {"mobilenet_weights": MOBILENET_WEIGHTS} if MOBILENET_WEIGHTS.value else {}
        steps["features"] = ["extract_features", *_given(given | optional), f"--out={features}"]
    else:
        steps["features"] = [
            "track_features",
            *_given({"tracks": TRACKS, "class_names": CLASS_NAMES}),
            f"--out={features}",
        ]
    for kind in KINDS:
        # As the models were trained that the words of RESULTS.md are about.
        steps[f"train {kind}"] = [
            "train", f"--features={features}", f"--model={kind}", f"--epochs={EPOCHS.value}", "--nostandardise",
            "--validate_on=", f"--out={out / kind}",
        ]  # fmt: skip
    counts = [f"--num_frames={n}" for n in range(1, MOST_FRAMES.value + 1)]
    for kind in KINDS:
        steps[f"explain {kind}"] = [
            "compute_esvs", f"--features={features}", "--split=test", f"--model={out / kind}", *counts,
            "--estimator=exact", f"--out={out / kind}.zarr",
        ]  # fmt: skip
    compared = [flag for kind in KINDS for flag in (f"--store={out / kind}.zarr", f"--model={out / kind}")]
    evidence = [f"--evidence={out / 'videos' / 'evidence.json'}"] if DATA.value == "procedural" else []
    folder = {"procedural": out / "videos", "clips": CLIPS.value}.get(DATA.value)
    shown = [f"--clips={folder}"] if folder else []
    steps["analyse"] = ["analyse", *compared, f"--features={features}", *shown, *evidence, f"--out={out / 'analysis'}"]
    return steps


def _given(wanted: dict[str, Any]) -> list[str]:
    missing = [name for name, flag in wanted.items() if not flag.value]
    if missing:
        raise InputError(f"--data={DATA.value} needs --{missing[0]}")
    return [f"--{name}={flag.value}" for name, flag in wanted.items()]


def _run(out: Path, name: str, arguments: list[str]) -> None:
    """Runs a step, unless it was run to its end with these flags before."""
    marks = cli.read_marks(out / _MARKS)
    if name in marks and marks[name]["arguments"] == arguments:
        print(f"[{name}] done before")
        return
    if any(mark["arguments"] != _steps(out).get(step) for step, mark in marks.items()):
        raise InputError(f"{out} holds a run with other flags: choose another --out, or delete it")
    script, *rest = arguments
    print(f"[{name}] {cli.command(script, *rest)}", flush=True)
    before, started = _child_seconds(), time.monotonic()
    ended = subprocess.run([sys.executable, "-m", f"{__package__}.{script}", *rest], check=False)
    if ended.returncode != 0:
        raise InputError(f"the step {name!r} failed, see above; run the same command again to go on from there")
    seconds = {"seconds": round(time.monotonic() - started), "processor_seconds": round(_child_seconds() - before)}
    files.write_json(out / _MARKS, {**marks, name: {"arguments": arguments, **seconds}})


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _commands(out: Path) -> str:
    """The commands that were run, with the folder they wrote to as OUT."""
    inside = re.compile(f"={re.escape(str(out))}(?=/|$)")
    steps = [mark["arguments"] for mark in cli.read_marks(out / _MARKS).values()]
    return "\n".join(cli.command(*(inside.sub("=OUT", argument) for argument in step)) for step in steps)


def _models(out: Path) -> str:
    lines = []
    for kind in KINDS:
        figures = model_folder.read_card(out / kind).provenance["figures"]
        for split, accuracy in figures["accuracy"].items():
            lines.append((kind, split, figures["clips"][split], accuracy))
    return report.markdown(pd.DataFrame(lines, columns=["model", "clips", "how many", "accuracy, 8 frames"]))


def _cost(out: Path) -> str:
    rows = [(name, mark["processor_seconds"]) for name, mark in cli.read_marks(out / _MARKS).items()]
    rows.append(("all", sum(seconds for _, seconds in rows)))
    return report.markdown(pd.DataFrame(rows, columns=["step", "processor time, s"]))


def _numbers(words: dict[str, str]) -> str:
    """The page of other data: numbers only."""
    titles = {
        "models": "Models",
        "scales": "h. Accuracy for every number of frames",
        "supporting": "a. Share of frames with positive ESV for the true class",
        "lengths": "c. With the number of frames",
        "mistakes": "d. Misclassified clips",
        "areas": "e. Area under the accuracy as frames go, ranked for the true class",
        "dropped": "e. Dropping all frames of negative value",
        "agreement": "f. Agreement of ESVs with other methods",
        "closeness": "g. Correlation of approximate with exact ESVs, 12 frames",
        "shuffled": "Shuffled frames",
    }
    template = "\n\n".join(f"**{title}**\n\n{{{{{name}}}}}" for name, title in titles.items())
    return report.filled_in(template, words) + "\n"


if __name__ == "__main__":
    cli.run(main)

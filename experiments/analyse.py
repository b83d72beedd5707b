"""The analyses of the paper, for models side by side: tables as csv, and a picture for most of them.

    esv-jax analyse --store=out/tsn.zarr --model=out/tsn --store=out/trn.zarr --model=out/trn \\
        --features=out/features --evidence=out/videos/evidence.json --out=out/analysis

The stores are those of `compute_esvs`, exact and of held-out clips; the features, the ones that they were
made of. Without --evidence, what compares with recorded evidence is left out. Run again after an interruption, it goes
on where it stopped. What the tables hold is said in esv_jax/analyses.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from esv_jax import files
from esv_jax.analyses import (
    agreements,
    approximation,
    discarding,
    lengths,
    methods,
    mistakes,
    portraits,
    positions,
    recorded,
    repeats,
    report,
    sanity,
    scales,
    supporting,
)
from esv_jax.analyses.methods import Methods
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject, open_subjects
from esv_jax.analyses.tables import Table
from esv_jax.checks import InputError
from esv_jax.results import store

from . import cli

STORE = flags.DEFINE_multi_string("store", None, "Results store; once a model.", required=True)
MODEL = flags.DEFINE_multi_string("model", None, "Model folder of each store, in the same order.", required=True)
FEATURES = flags.DEFINE_string("features", None, "Feature store that the values were made of.", required=True)
EVIDENCE = flags.DEFINE_string("evidence", None, "evidence.json, as make_videos writes it.")
NUM_FRAMES = flags.DEFINE_integer("num_frames", 8, "Frames shown, wherever one number is meant.", lower_bound=2)
APPROXIMATED = flags.DEFINE_integer("approximated_frames", 12, "Frames shown where values are approximated.", 2)
FEW_VIDEOS = flags.DEFINE_integer("few_videos", 32, "Clips for what is slow: approximation, repeated frames.", 2)
SEED = flags.DEFINE_integer("seed", 0, "Decides what is drawn at random.")
OUT = flags.DEFINE_string("out", None, "Folder for the tables and pictures.", required=True)

_MARKS = "done.json"


def main() -> None:
    out = cli.output_folder(OUT.value)
    subjects = open_subjects(STORE.value, MODEL.value, FEATURES.value)
    evidence = recorded.read_evidence(EVIDENCE.value) if EVIDENCE.value else None
    _check_counts(subjects)
    settings = _settings(subjects)
    with files.exclusive_lock(out, f"the analyses in {out}"):
        marks = _marks(out)
        for name, step in _steps(subjects, evidence, out, settings).items():
            if marks.get(name) == settings:
                print(f"{name}: done before")
                continue
            made = step()
            report.save(out, made)
            marks[name] = settings
            files.write_json(out / _MARKS, marks)
            print(f"{name}: {', '.join(f'{table}.csv' for table in made.tables)}", flush=True)
    print(f"wrote {out}")


def _steps(
    subjects: list[Subject], evidence: dict[str, np.ndarray] | None, out: Path, settings: dict[str, object]
) -> dict[str, Callable[[], Report]]:
    """All analyses by name, in the order of the paper's."""
    count, few, seed = NUM_FRAMES.value, FEW_VIDEOS.value, SEED.value
    last = subjects[-1]

    def compared() -> list[Methods]:
        return [_attributions(subject, out, settings) for subject in subjects]

    steps: dict[str, Callable[[], Report]] = {
        "a supporting and distracting frames": lambda: supporting.analyse(subjects, count),
        "b position": lambda: positions.analyse(subjects, count),
        "c length": lambda: lengths.analyse(subjects, _clip_to_show(subjects)),
        "d mistakes": lambda: mistakes.analyse(subjects, count),
        "methods": lambda: _completeness(subjects, out, settings),
        "e discarding frames": lambda: discarding.analyse(subjects, compared(), count),
        "f agreement": lambda: agreements.analyse(subjects, compared()),
        "g approximation": lambda: approximation.analyse(subjects, APPROXIMATED.value, num_videos=few, seed=seed),
        "h scales": lambda: scales.analyse(subjects),
        "order": lambda: sanity.shuffled(subjects, count, seed=seed),
    }
    if methods.can_show_frames(last):
        if last.right(count).any():
            steps["a pictures"] = lambda: portraits.most_and_least(last, count)
        steps["d pictures"] = lambda: portraits.misled(last, count)
    if evidence is not None:
        steps["evidence"] = lambda: recorded.analyse(subjects, compared(), count, evidence)
        steps["random weights"] = lambda: sanity.random_weights(subjects, count, evidence, seed=seed)
        steps["repeated frames"] = lambda: repeats.analyse(subjects, count, evidence, num_videos=few)
    return steps


def _check_counts(subjects: list[Subject]) -> None:
    for subject in subjects:
        for flag, count in (("num_frames", NUM_FRAMES.value), ("approximated_frames", APPROXIMATED.value)):
            if count not in subject.values:
                raise InputError(
                    f"--{flag} should be one of the numbers of frames in the stores, {sorted(subject.values)}, "
                    f"found {count}"
                )


def _settings(subjects: list[Subject]) -> dict[str, object]:
    """What decides the results, apart from the code."""
    return {
        "values": [store.read_configuration(path) for path in STORE.value],
        "frames": [store.num_frames_stored(path) for path in STORE.value],
        "flags": [NUM_FRAMES.value, APPROXIMATED.value, FEW_VIDEOS.value, SEED.value],
        "evidence": EVIDENCE.value and files.digest(EVIDENCE.value),
        "with_frames": methods.can_show_frames(subjects[-1]),
    }


def _marks(out: Path) -> dict[str, object]:
    return files.read_json(out / _MARKS) if (out / _MARKS).exists() else {}


def _clip_to_show(subjects: list[Subject]) -> int:
    """The first clip that all models are right about, or the last of them is."""
    right = np.stack([subject.right(NUM_FRAMES.value) for subject in subjects])
    for chosen in (right.all(axis=0), right[-1]):
        if chosen.any():
            return int(chosen.argmax())
    return 0


def _attributions(subject: Subject, out: Path, settings: dict[str, object]) -> Methods:
    """The values of all methods, computed once and kept in a file."""
    path = out / f"attributions_{subject.model.card.kind}.npz"
    mark = json.dumps(settings, sort_keys=True)
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["settings"]) == mark:
                return {name: file[name] for name in file["methods"].tolist()}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # not there, or of an interrupted or another run: made anew
    found, incomplete = methods.attributions(subject, NUM_FRAMES.value, seed=SEED.value)
    arrays = {**found, **{f"error of {name}": np.float64(value) for name, value in incomplete.items()}}
    files.write_npz(path, {"settings": mark, "methods": list(found), **arrays})
    return found


def _completeness(subjects: list[Subject], out: Path, settings: dict[str, object]) -> Report:
    rows = []
    for subject in subjects:
        _attributions(subject, out, settings)
        with np.load(out / f"attributions_{subject.model.card.kind}.npz", allow_pickle=False) as file:
            rows += [(subject.name, name[9:], float(file[name])) for name in file.files if name.startswith("error of ")]
    return Report({"f_completeness": Table(("model", "method", "largest_error"), rows)})


if __name__ == "__main__":
    cli.run(main)

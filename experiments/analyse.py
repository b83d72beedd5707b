"""The analyses of the paper, for models side by side: tables as csv, and a picture for most of them.

    esv-jax analyse --store=out/tsn.zarr --model=out/tsn --store=out/trn.zarr --model=out/trn \\
        --features=out/features --clips=out/videos --evidence=out/videos/evidence.json --out=out/analysis
    esv-jax analyse --store=mine.zarr --model=my_models:over_features --classes=classes.csv --priors=priors.csv \\
        --features=out/features --evidence=evidence.csv --smooth=3 --out=out/analysis

The stores are those of `compute_esvs` or of `esv_jax.results.write`, of held-out clips; the features, the ones that
they were made of. Models are those of model folders, several of one kind if you like, or anyone's, which are asked what
they can answer: no gradients. Evidence is a csv uid,first,last (frames) or uid,start,end (seconds, with
--frames_per_second), or what make_videos writes. Without --evidence, what compares with recorded evidence is left out;
where the videos are not in --clips, what shows their frames is. Run again after an interruption, it goes on where it
stopped. What the tables hold is said in esv_jax/analyses.
"""

import functools
from pathlib import Path

import numpy as np
from absl import flags

from esv_jax import files, fingerprints
from esv_jax.analyses import comparison, methods, recorded, report
from esv_jax.analyses.methods import Attributions
from esv_jax.analyses.study import Study, every_analysis
from esv_jax.analyses.subject import Asked, Subject, asked_of_folder, open_subjects
from esv_jax.checks import InputError
from esv_jax.data.evidence import Evidence, read_evidence
from esv_jax.metrics import summary
from esv_jax.results import store

from . import cli, host_flags, models_of_features

STORE = cli.DEFINE_multi_path("store", None, "Results store; once a model.", required=True)
MODEL = cli.DEFINE_multi_path(
    "model", None, "Model folder of each store, in the same order; or module:function.", required=True
)
NAME = flags.DEFINE_multi_string("name", [], "What tables call each model, in the same order; by default its kind.")
PRIORS = cli.DEFINE_path("priors", None, "Anyone's model: csv or json of class priors.")
FEATURES = cli.DEFINE_path(
    "features", None, "Feature store, or HDF5 file of Play Fair, that the values were made of.", required=True
)
CLIPS = cli.DEFINE_path("clips", ".", "Folder that the videos' paths are relative to, as for extract_features.")
EVIDENCE = cli.DEFINE_path("evidence", None, "csv uid,first,last or uid,start,end; or what make_videos writes.")
RATE = flags.DEFINE_float("frames_per_second", None, "Of the clips, where the evidence is in seconds.", 0)
SMOOTH = flags.DEFINE_integer(
    "smooth", 3, "Compare means of values over so many frames with evidence too, an odd number; 1: only values.", 1
)
NUM_FRAMES = flags.DEFINE_integer(
    "num_frames", None, "Frames shown, wherever one number is meant; 8 by default, or the most there are.", 2
)
APPROXIMATED = flags.DEFINE_integer(
    "approximated_frames",
    None,
    "Frames shown where exact values are approximated; by default 12, if there are.",
    2,
)
FEW_VIDEOS = flags.DEFINE_integer("few_videos", 32, "Clips for what is slow: approximation, repeated frames.", 2)
SEED = flags.DEFINE_integer("seed", 0, "Decides what is drawn at random.", 0, 2**63 - 1)
OUT = cli.DEFINE_path("out", None, "Folder for the tables and pictures.", required=True)

_MARKS = "done.json"
_NUM_FRAMES, _APPROXIMATED = 8, 12  # as in the paper, where the stores have them


def main() -> None:
    out = cli.output_folder(OUT.value)
    summary.moving_mean(np.zeros(1), SMOOTH.value)  # an even number is told of before anything is computed
    models = _models()
    subjects = open_subjects(STORE.value, models, FEATURES.value, CLIPS.value)
    if NAME.value:
        subjects = [subject._replace(name=name) for subject, name in zip(subjects, NAME.value, strict=True)]
    num_frames, approximated = _counts(subjects)
    evidence = _evidence(subjects, num_frames)
    settings = _settings(subjects, [model.digest for model in models], num_frames, approximated)
    study = Study(
        subjects,
        attributions=functools.cache(
            lambda: [_attributions(i, subject, num_frames, out, settings) for i, subject in enumerate(subjects)]
        ),
        num_frames=num_frames,
        approximated_frames=approximated,
        slow_videos=FEW_VIDEOS.value,
        seed=SEED.value,
        evidence=evidence,
        smooth=SMOOTH.value,
    )
    with files.exclusive_lock(out, f"the analyses in {out}"):
        marks = cli.read_marks(out / _MARKS)
        for name, analyse in every_analysis().items():
            if marks.get(name) == settings:
                print(f"{name}: done before")
                continue
            made = analyse(study)
            report.save(out, made)
            marks[name] = settings
            files.write_json(out / _MARKS, marks)
            print(f"{name}: {', '.join(f'{table}.csv' for table in made.tables) or 'nothing'}", flush=True)
        _compare(out, evidence is not None)
    print(f"wrote {out}")


def _models() -> list[Asked]:
    """Those of --model, which are folders or anyone's."""
    if NAME.value and (len(NAME.value) != len(MODEL.value) or len(set(NAME.value)) < len(NAME.value)):
        raise InputError(f"--name should be given once a model, all different, found {NAME.value}")
    of_hosts = [host_flags.is_given(path) for path in MODEL.value]
    if not any(of_hosts):
        host_flags.refuse_all(PRIORS)
    found = []
    for path, is_host in zip(MODEL.value, of_hosts, strict=True):
        if is_host:
            model = models_of_features.load(path, PRIORS.value)
            found.append(Asked(model.name, model.game, model.params, model.described["model_digest"]))
        else:
            found.append(asked_of_folder(path))
    return found


def _counts(subjects: list[Subject]) -> tuple[int, int | None]:
    """Of frames shown: wherever one number is meant, and where values are approximated."""
    stored = sorted(set.intersection(*(set(subject.values) for subject in subjects)))
    for flag in (NUM_FRAMES, APPROXIMATED):
        if flag.value is not None and flag.value not in stored:
            raise InputError(
                f"--{flag.name} should be one of the numbers of frames in the stores, {stored}, found {flag.value}"
            )
    if not stored or stored[-1] < 2:
        raise InputError(f"the stores should all hold values of one number of frames, 2 or more, found {stored}")
    approximated = APPROXIMATED.value or (_APPROXIMATED if _APPROXIMATED in stored else None)
    return NUM_FRAMES.value or (_NUM_FRAMES if _NUM_FRAMES in stored else stored[-1]), approximated


def _evidence(subjects: list[Subject], num_frames: int) -> Evidence | None:
    """That of --evidence, shown to be of all videos before anything is computed."""
    if EVIDENCE.value is None:
        return None
    found = read_evidence(EVIDENCE.value, RATE.value)
    recorded.evidence_masks(subjects[0], num_frames, found)
    return found


def _settings(
    subjects: list[Subject], models: list[str], num_frames: int, approximated: int | None
) -> dict[str, object]:
    """What decides the results, apart from the code. Stores of `results.write` do not say what they were made of."""
    return {
        "models": models,
        "arrays": [
            fingerprints.of_arrays([s.label, *(part for n in s.values for part in (*s.values[n], s.features[n]))])
            for s in subjects
        ],
        "values": [store.read_configuration(path) for path in STORE.value],
        "frames": [store.num_frames_stored(path) for path in STORE.value],
        "flags": [num_frames, approximated, FEW_VIDEOS.value, SEED.value, SMOOTH.value, RATE.value],
        "names": [subject.name for subject in subjects],
        "evidence": EVIDENCE.value and files.digest(EVIDENCE.value),
        "with_frames": subjects[-1].can_show_frames(),
    }


def _attributions(i: int, subject: Subject, num_frames: int, out: Path, settings: dict[str, object]) -> Attributions:
    path = out / f"attributions_{i + 1}.npz"
    return methods.attributions_in(path, settings, subject, num_frames, seed=SEED.value)


def _compare(out: Path, with_evidence: bool) -> None:
    """One table a model of what other analyses found, where all of them have been made."""
    needed = comparison.NEEDED if with_evidence else comparison.NEEDED[:-1]
    if all((out / f"{name}.csv").exists() for name in needed):
        report.save(out, comparison.compared({name: report.read(out / f"{name}.csv") for name in needed}))


if __name__ == "__main__":
    cli.run(main)

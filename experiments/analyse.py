"""The analyses of the paper, for models side by side: tables as csv, and a picture for most of them.

    esv-jax analyse --store=out/tsn.zarr --model=out/tsn --store=out/trn.zarr --model=out/trn \\
        --features=out/features --clips=out/videos --evidence=out/videos/evidence.json --out=out/analysis

The stores are those of `compute_esvs`, exact and of held-out clips; the features, the ones that they were
made of. Without --evidence, what compares with recorded evidence is left out; where the videos are not in --clips, what
shows their frames is. Run again after an interruption, it goes on where it stopped. What the tables hold is said in
esv_jax/analyses.
"""

import functools
from pathlib import Path

from absl import flags

from esv_jax import files
from esv_jax.analyses import methods, recorded, report
from esv_jax.analyses.methods import Attributions
from esv_jax.analyses.study import Study, every_analysis
from esv_jax.analyses.subject import Subject, open_subjects
from esv_jax.checks import InputError
from esv_jax.results import store

from . import cli

STORE = cli.DEFINE_multi_path("store", None, "Results store; once a model.", required=True)
MODEL = cli.DEFINE_multi_path("model", None, "Model folder of each store, in the same order.", required=True)
FEATURES = cli.DEFINE_path("features", None, "Feature store that the values were made of.", required=True)
CLIPS = cli.DEFINE_path("clips", ".", "Folder that the videos' paths are relative to, as for extract_features.")
EVIDENCE = cli.DEFINE_path("evidence", None, "evidence.json, as make_videos writes it.")
NUM_FRAMES = flags.DEFINE_integer("num_frames", 8, "Frames shown, wherever one number is meant.", lower_bound=2)
APPROXIMATED = flags.DEFINE_integer("approximated_frames", 12, "Frames shown where values are approximated.", 2)
FEW_VIDEOS = flags.DEFINE_integer("few_videos", 32, "Clips for what is slow: approximation, repeated frames.", 2)
SEED = flags.DEFINE_integer("seed", 0, "Decides what is drawn at random.", 0, 2**63 - 1)
OUT = cli.DEFINE_path("out", None, "Folder for the tables and pictures.", required=True)

_MARKS = "done.json"


def main() -> None:
    out = cli.output_folder(OUT.value)
    subjects = open_subjects(STORE.value, MODEL.value, FEATURES.value, CLIPS.value)
    _check_counts(subjects)
    settings = _settings(subjects)
    study = Study(
        subjects,
        attributions=functools.cache(lambda: [_attributions(subject, out, settings) for subject in subjects]),
        num_frames=NUM_FRAMES.value,
        approximated_frames=APPROXIMATED.value,
        slow_videos=FEW_VIDEOS.value,
        seed=SEED.value,
        evidence=recorded.read_evidence(EVIDENCE.value) if EVIDENCE.value else None,
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
    print(f"wrote {out}")


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
        "with_frames": subjects[-1].can_show_frames(),
    }


def _attributions(subject: Subject, out: Path, settings: dict[str, object]) -> Attributions:
    path = out / f"attributions_{subject.model.card.kind}.npz"
    return methods.attributions_in(path, settings, subject, NUM_FRAMES.value, seed=SEED.value)


if __name__ == "__main__":
    cli.run(main)

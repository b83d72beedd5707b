"""Writes the class priors of a training set, the worth of no frames: a csv class,prior of all classes.

    esv-jax class_priors --labels=something-something-v2-train.json \\
        --classes=something-something-v2-labels.json --out=class-priors.csv
    esv-jax class_priors --labels=EPIC_100_train.csv --head=noun --classes=EPIC_100_noun_classes.csv \\
        --out=noun-priors.csv
    esv-jax class_priors --counts=counts.csv --num_classes=174 --out=class-priors.csv

Classes that never occur are written with 0, and their number is printed. Labels of a csv path,label that all are
numbers (0, 1, ...) are class ids: without --classes there are as many classes as the largest of them says.
"""

import numpy as np
from absl import flags

from esv_jax.checks import InputError
from esv_jax.data.annotations import EPIC_HEADS, read_labelled_clips
from esv_jax.data.priors import describe, priors_from_labels, read_priors, write_priors

from . import cli

LABELS = cli.DEFINE_path("labels", None, "Annotations of the training set, as for extract_features.")
CLASSES = cli.DEFINE_path("classes", None, "Class names: Something-Something's labels json, or a csv name,id.")
HEAD = flags.DEFINE_enum("head", None, EPIC_HEADS, "EPIC-KITCHENS: of which of its two labels.")
COUNTS = cli.DEFINE_path("counts", None, "Instead of --labels: csv class,count (class numbers), in any order.")
NUM_CLASSES = flags.DEFINE_integer("num_classes", None, "With --counts: how many classes there are.", lower_bound=1)
OUT = cli.DEFINE_path("out", None, "The csv to write.", required=True)


def main() -> None:
    if LABELS.value and not COUNTS.value:
        priors = _of_labels(LABELS.value)
    elif COUNTS.value and not LABELS.value:
        if NUM_CLASSES.value is None:
            raise InputError("--counts needs --num_classes: a class that never occurs need not be in the file")
        priors = read_priors(COUNTS.value, NUM_CLASSES.value)
    else:
        raise InputError("give either --labels or --counts")
    write_priors(OUT.value, priors)
    print(f"{OUT.value}: {describe(priors)}")


def _of_labels(path: str) -> np.ndarray:
    clips, classes = read_labelled_clips(path, ".", classes=CLASSES.value, head=HEAD.value)
    number = {name: i for i, name in enumerate(classes)}
    near = next((clip.split for clip in clips if _may_be_train(clip.split)), None)
    if near is not None:
        raise InputError(f"the priors are those of the split 'train', but {path} has the split {near!r:.80}: rename it")
    training = [number[clip.label] for clip in clips if clip.split == "train"]
    if not training:
        raise InputError(f"{path} has no clips of the split 'train'")
    return priors_from_labels(np.array(training), len(classes))


def _may_be_train(split: str) -> bool:
    return split != "train" and split.casefold().startswith("train")


if __name__ == "__main__":
    cli.run(main)

"""Turns the weights of a PyTorch checkpoint into a model folder. Needs the extra `torch`; nothing else does.

    esv-jax import_torch --kind=tsn --checkpoint=tsn.pth --priors=class-priors.csv --out=out/tsn
    esv-jax import_torch --kind=multiscale_trn --checkpoint=trn_1.pth,trn_2.pth,trn_3.pth --out=out/trn

    esv-jax import_torch --kind=resnet50 --checkpoint=resnet50-0676ba61.pth --out=out/resnet50

The state dict is the file itself or its entry `state_dict` or `model`. Heads are Play Fair's; class names and priors
are not in them: without --classes a class is called by its number, and without --priors whoever explains with the model
has to give the priors. Backbones are Play Fair's, pretrainedmodels' or torchvision's.
"""

import re
import sys
from pathlib import Path

import numpy as np
from absl import flags

from esv_jax.checks import InputError
from esv_jax.data.annotations import read_class_names
from esv_jax.data.priors import describe, read_priors
from esv_jax.interop import backbones, heads, torch_file
from esv_jax.interop.rules import Imported
from esv_jax.saved import model_folder
from esv_jax.saved.model_folder import Model, ModelCard

from . import cli

BACKBONES = {
    "bninception": (backbones.bn_inception_of, backbones.BN_INCEPTION_PREPROCESS),
    "resnet50": (backbones.resnet50_of, backbones.RESNET50_PREPROCESS),
}

KIND = flags.DEFINE_enum("kind", None, [*BACKBONES, *model_folder.HEADS], "What the checkpoint is.", required=True)
CHECKPOINT = cli.DEFINE_path_list(
    "checkpoint",
    None,
    "The file; for multiscale_trn those of scales 1..M, in order, separated by commas.",
    required=True,
)
CLASSES = cli.DEFINE_path("classes", None, "Class names: Something-Something's labels json, or a csv name,id.")
NUM_CLASSES = flags.DEFINE_integer("num_classes", None, "How many classes there should be.", lower_bound=1)
PRIORS = cli.DEFINE_path("priors", None, "Class priors, csv or json (`esv_jax.data.priors.read_priors`).")
NUM_FRAMES = flags.DEFINE_integer("num_frames", None, "trn, multiscale_trn: how many frames it is for.", lower_bound=1)
FEATURE_DIM = flags.DEFINE_integer("feature_dim", None, "Length of the features that the head should read.", 1)
INPUT_RELU = flags.DEFINE_bool("input_relu", True, "tsn: the features go through a ReLU first, as Play Fair's do.")
BACKBONE = cli.DEFINE_path("backbone", None, "Folder of the imported backbone that the head's features come from.")
OUT = cli.DEFINE_path("out", None, "Model folder to write.", required=True)


def main() -> None:
    if KIND.value != "multiscale_trn" and len(CHECKPOINT.value) != 1:
        raise InputError(f"a model of kind {KIND.value} is one file, found {len(CHECKPOINT.value)} in --checkpoint")
    imported = _imported([torch_file.read_state_dict(path) for path in CHECKPOINT.value])
    _check_flags(imported)
    backbone = model_folder.load_model(BACKBONE.value) if BACKBONE.value else None
    card = _card(imported, backbone)
    model_folder.save_model(OUT.value, card, imported.variables, backbone=backbone)
    options = ", ".join(f"{name} {value}" for name, value in imported.options.items())
    print(f"{OUT.value}: {imported.kind} ({options}) on features [{imported.feature_dim}]")
    if card.kind in model_folder.HEADS:
        print("no priors: give them when you explain" if card.prior is None else f"priors: {describe(card.prior)}")


def _imported(states: list[dict[str, np.ndarray]]) -> Imported:
    where = CHECKPOINT.value
    if KIND.value in BACKBONES:
        return BACKBONES[KIND.value][0](states[0], where[0])
    match KIND.value:
        case "tsn":
            return heads.tsn(states[0], where[0], input_relu=INPUT_RELU.value)
        case "trn":
            num_frames = NUM_FRAMES.value or (None if FEATURE_DIM.value else _frames_in_name(where[0]))
            return heads.trn(states[0], where[0], num_frames=num_frames, feature_dim=FEATURE_DIM.value)
    return heads.multiscale_trn(states, where)


def _frames_in_name(path: str) -> int | None:
    """k of trn_k_frames.pth, as Play Fair calls its files: their tensors do not tell it from the feature dimension."""
    found = re.search(r"trn_(\d+)_frames", Path(path).name)
    return int(found.group(1)) if found else None


def _check_flags(imported: Imported) -> None:
    """Raises InputError unless the checkpoint is what the flags say it is."""
    options, where = imported.options, ",".join(CHECKPOINT.value)
    named = _frames_in_name(where) if KIND.value == "trn" else None
    if named is not None and named != options["num_frames"]:
        raise InputError(f"--num_frames is {options['num_frames']}, but {where} is for {named}")
    found = {
        "num_classes": (NUM_CLASSES.value, options.get("num_classes")),
        "num_frames": (NUM_FRAMES.value, options.get("num_frames", options.get("num_scales"))),
        "feature_dim": (FEATURE_DIM.value, imported.feature_dim),
        "classes": (CLASSES.value, CLASSES.value if KIND.value not in BACKBONES else None),
        "priors": (PRIORS.value, PRIORS.value if KIND.value not in BACKBONES else None),
        "backbone": (BACKBONE.value, BACKBONE.value if KIND.value not in BACKBONES else None),
    }
    for name, (wanted, is_) in found.items():
        if wanted is not None and is_ is None:
            raise InputError(f"--{name} does not apply to a model of kind {KIND.value}")
        if wanted != is_ and wanted is not None:
            raise InputError(f"--{name} is {wanted}, but {where} has {name} {is_}")


def _card(imported: Imported, backbone: Model | None) -> ModelCard:
    made_by = {
        "command": cli.command("import_torch", *sys.argv[1:]),
        "weights": [Path(path).name for path in CHECKPOINT.value],
        "versions": cli.versions(),
    }
    card = ModelCard(imported.kind, imported.options, imported.feature_dim, provenance=made_by)
    if KIND.value in BACKBONES:
        return card._replace(preprocess=BACKBONES[KIND.value][1])
    num_classes = imported.options["num_classes"]
    names = read_class_names(CLASSES.value) if CLASSES.value else tuple(map(str, range(num_classes)))
    if len(names) != num_classes:
        raise InputError(f"{CLASSES.value} names {len(names)} classes, but the checkpoint has {num_classes}")
    if backbone is not None and backbone.card.feature_dim != imported.feature_dim:
        raise InputError(
            f"{BACKBONE.value} makes features of dimension {backbone.card.feature_dim}, but the checkpoint reads "
            f"{imported.feature_dim}"
        )
    return card._replace(
        classes=names,
        prior=read_priors(PRIORS.value, num_classes) if PRIORS.value else None,
        backbone=backbone and model_folder.identity(backbone),
    )


if __name__ == "__main__":
    cli.run(main)

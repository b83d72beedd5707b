"""Trains a head (TSN or multi-scale TRN) on the features of labelled clips.

    esv-jax train --features=out/features --out=out/trn
    esv-jax train --features=out/features --model=tsn --out=out/tsn

Clips of the splits in --train_on are trained on, those in --hold_out are not; a clip of another split is refused. Those
in --validate_on, held out too, say which epoch is kept: the one whose scores are best for 1 to --num_frames frames. On
them temperatures are fitted, one for every number of frames, and kept in the model if they make it better calibrated.
Of more than 8 frames (or scales), 8 random ones are taken for that, as in training.
The accuracy on all is printed and kept in the model folder --out, which holds all that `explain_video --model` needs.
Killed and started again, it goes on.
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags

from esv_jax import files
from esv_jax.checks import InputError, listed
from esv_jax.data import feature_store
from esv_jax.data.feature_store import FeatureStore
from esv_jax.data.priors import priors_from_labels
from esv_jax.saved import model_folder
from esv_jax.saved.model_folder import Model, ModelCard
from esv_jax.training import heads, loop, validation
from esv_jax.training.heads import Clips, Head

from . import cli

SPLITS = ("train", "validation", "test")
LEARNING_RATES = {"tsn": 1e-2, "multiscale_trn": 3e-3}
# As was better on clips of all sets tried (docs/training.md).
STANDARDISED = {"tsn": True, "multiscale_trn": False}

FEATURES = cli.DEFINE_path("features", None, "Feature store, as extract_features writes it.", required=True)
MODEL = flags.DEFINE_enum("model", "multiscale_trn", list(LEARNING_RATES), "What to train.")
NUM_FRAMES = flags.DEFINE_integer("num_frames", 8, "Frames sampled of every clip.", lower_bound=1)
NUM_SCALES = flags.DEFINE_integer("num_scales", None, "TRN: heads for 1..num_scales frames; num_frames, at most 8.", 1)
HIDDEN_DIM = flags.DEFINE_integer("hidden_dim", 128, "TRN: hidden units of every head.", lower_bound=1)
HIDDEN_LAYERS = flags.DEFINE_integer("num_hidden_layers", 1, "TRN: hidden layers of every head.", lower_bound=1)
BATCH_NORM = flags.DEFINE_bool("batch_norm", False, "TRN: normalise hidden layers.")
INPUT_RELU = flags.DEFINE_bool("input_relu", False, "Apply a ReLU to the features first.")
DROPOUT = flags.DEFINE_float("dropout", 0.5, "TSN: of features; TRN: of hidden units.", 0.0, 0.99)
EPOCHS = flags.DEFINE_integer("epochs", 60, "Passes over the clips.", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Clips a step.", lower_bound=1)
LEARNING_RATE = flags.DEFINE_float("learning_rate", None, f"Of AdamW; by default {LEARNING_RATES}.")
WEIGHT_DECAY = flags.DEFINE_float("weight_decay", 1e-2, "Of AdamW.")
SEED = flags.DEFINE_integer("seed", 0, "Decides the initial weights, the shuffling, the frames sampled and dropout.")
TRAIN_ON = flags.DEFINE_list("train_on", ["train"], "Splits that are trained on.")
HOLD_OUT = flags.DEFINE_list("hold_out", ["validation", "test"], "Splits that are not trained on.")
VALIDATE_ON = flags.DEFINE_list(
    "validate_on", None, "Splits to select the epoch by; by default validation, where it is held out. '': none."
)
VALIDATE_EVERY = flags.DEFINE_integer("validate_every", 1, "Epochs from one validation to the next.", 1)
PATIENCE = flags.DEFINE_integer("patience", None, "Stop after so many epochs without a better; by default never.", 1)
STANDARDISE = flags.DEFINE_bool(
    "standardise", None, "Train on features of mean 0 and variance 1; by default a TSN is, a TRN is not."
)
LABEL_SMOOTHING = flags.DEFINE_float("label_smoothing", 0.0, "Share of every label spread over all classes.", 0.0, 0.99)
WEIGH_CLASSES = flags.DEFINE_bool(
    "weigh_classes", True, "Count rare classes more, where the rarest has less than a fifth of the median's clips."
)
CALIBRATE = flags.DEFINE_bool("calibrate", True, "Keep temperatures in the model where validation finds them better.")
SAVE_EVERY = flags.DEFINE_float("save_every", 30.0, "Seconds between checkpoints.", 0.0)
OUT = cli.DEFINE_path("out", None, "Model folder to write.", required=True)


def main() -> None:
    store = feature_store.open_store(FEATURES.value)
    training, held_out = _splits(store)
    validated_on = _validated_on(store, held_out)
    out = cli.output_folder(OUT.value)
    with files.exclusive_lock(out, f"the model folder {out}"):
        files.remove_leftovers(out)
        _check_replaceable(out, store.header.classes)
        _train(store, training, held_out, validated_on, out)


def _train(
    store: FeatureStore, train_clips: Clips, held_out: dict[str, Clips], validated_on: set[str], out: Path
) -> None:
    classes = store.header.classes
    backbone = _backbone(store)
    card = ModelCard(
        kind=MODEL.value,
        options=_options(len(classes)),
        feature_dim=store.header.feature_dim,
        classes=classes,
        prior=priors_from_labels(train_clips.label, len(classes)),
        backbone=store.header.backbone,
    )
    module: Any = model_folder.build(card)
    schedule = loop.Schedule(
        epochs=EPOCHS.value,
        batch_size=BATCH_SIZE.value,
        learning_rate=LEARNING_RATES[MODEL.value] if LEARNING_RATE.value is None else LEARNING_RATE.value,
        weight_decay=WEIGHT_DECAY.value,
        seed=SEED.value,
    )
    settings = {"model": MODEL.value, **card.options, "num_frames": NUM_FRAMES.value}
    recipe = heads.Recipe(
        STANDARDISED[MODEL.value] if STANDARDISE.value is None else STANDARDISE.value,
        LABEL_SMOOTHING.value,
        WEIGH_CLASSES.value,
        VALIDATE_EVERY.value,
        PATIENCE.value,
        CALIBRATE.value,
    )
    head = heads.train_head(
        module,
        train_clips,
        NUM_FRAMES.value,
        schedule,
        validated_on=_clips_of(store, validated_on) if validated_on else None,
        recipe=recipe,
        checkpoints=out / "checkpoints",
        settings={**settings, "data": files.short_digest(train_clips)},
        save_every_s=SAVE_EVERY.value,
    )

    splits = {"train" if "train" not in held_out else "trained on": train_clips, **held_out}
    figures = {
        "accuracy": {split: _accuracy(head, clips) for split, clips in splits.items()},
        "clips": {split: len(clips.label) for split, clips in splits.items()},
        "loss": float(head.history["loss"][head.epoch - 1]),
        "by_frames": {split: _by_frames(head, clips) for split, clips in held_out.items()},
    }
    training = _training(head, recipe, validated_on, classes)
    made_by = {
        "command": cli.command("train", *sys.argv[1:]),
        "seed": SEED.value,
        "num_frames": NUM_FRAMES.value,
        "schedule": schedule._asdict(),
        "training": training,
        "versions": cli.versions(),
        "figures": figures,
    }
    if head.model.num_temperatures:
        card = card._replace(options={**card.options, "num_temperatures": head.model.num_temperatures})
    model_folder.save_model(out, card._replace(provenance=made_by), head.variables, backbone=backbone)
    files.remove(out / "checkpoints")
    _report_training(training)
    _report(out, figures, held_out, backbone)


def _backbone(store: FeatureStore) -> Model | None:
    """The backbone that the store holds, shown to be the one that its features come from."""
    folder = Path(FEATURES.value) / "backbone"
    if not folder.exists():
        return None
    model = model_folder.load_model(folder)
    found = model_folder.identity(model)
    if found != store.header.backbone:
        raise InputError(f"{folder} is the backbone {found}, but the features are of {store.header.backbone}")
    return model


def _splits(store: FeatureStore) -> tuple[Clips, dict[str, Clips]]:
    """The clips to train on, and the held-out clips of every split."""
    present = {clip.split for clip in store.clips}
    given = {flag.name: set(flag.value) for flag in (TRAIN_ON, HOLD_OUT) if flags.FLAGS[flag.name].present}
    for flag, splits in given.items():
        absent = sorted(splits - present)
        if absent:
            raise InputError(
                f"--{flag} names the split {absent[0]!r:.80}, but {FEATURES.value} has {listed(sorted(present))}"
            )
    # What is said counts more than the other flag's default.
    training = set(TRAIN_ON.value) - (set() if "train_on" in given else given.get("hold_out", set()))
    held_out = set(HOLD_OUT.value) - (set() if "hold_out" in given else training)
    both, neither = sorted(training & held_out), sorted(present - training - held_out)
    if both:
        raise InputError(f"the split {both[0]!r} is in --train_on and in --hold_out")
    if neither:
        raise InputError(_told_of_split(neither[0], present & training, present & held_out))
    if not present & training:
        raise InputError(
            f"{FEATURES.value} has no clip to train on: its splits are {listed(sorted(present))}, all held out"
        )

    return _clips_of(store, training), {split: _clips_of(store, {split}) for split in sorted(present & held_out)}


def _clips_of(store: FeatureStore, splits: set[str]) -> Clips:
    which = [i for i, clip in enumerate(store.clips) if clip.split in splits]
    return heads.read_clips(store, which, NUM_FRAMES.value, FEATURES.value)


def _validated_on(store: FeatureStore, held_out: dict[str, Clips]) -> set[str]:
    """The splits to select by, which are held out. Figures on "test" would be too good if it were one of them."""
    if VALIDATE_ON.value is None:
        return {"validation"} & set(held_out)
    wanted = set(VALIDATE_ON.value) - {""}
    if "test" in wanted:
        raise InputError("--validate_on names the split 'test': what is selected by it says nothing of new clips")
    strange = sorted(wanted - set(held_out))
    if strange:
        raise InputError(
            f"--validate_on names the split {strange[0]!r:.80}, but held out of {FEATURES.value} are "
            f"{listed(sorted(held_out)) or 'none'}"
        )
    return wanted


def _told_of_split(split: str, training: set[str], held_out: set[str]) -> str:
    """That it is not known what clips of a split are for, which name may be meant, and what to say."""
    start = split.strip().casefold()[:3]
    near = next((name for name in SPLITS if start and name.startswith(start) and name != split), None)
    ways = [
        f"--{flag}={','.join([*sorted(splits), split])}"
        for flag, splits in (("hold_out", held_out), ("train_on", training))
    ]
    return (
        f"the split {split!r} in {FEATURES.value} is neither trained on nor held out"
        f"{f'; did you mean {near!r}?' if near else ':'} say {' or '.join(ways)}"
    )


def _check_replaceable(out: Path, classes: tuple[str, ...]) -> None:
    """A model in the folder may be trained anew, but not lost to labels that it does not know."""
    if not (out / model_folder.CARD_FILE).exists():
        return
    found = model_folder.read_card(out).classes
    if found != classes:
        raise InputError(
            f"{out} holds a model of {_told(found)}, but the labels in {FEATURES.value} are of {_told(classes)}: "
            f"choose another --out"
        )


def _told(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''})"


def _options(num_classes: int) -> dict[str, Any]:
    """Of the head that the flags ask for."""
    options = {"num_classes": num_classes, "dropout": DROPOUT.value, "input_relu": INPUT_RELU.value}
    if MODEL.value == "tsn":
        return options
    return options | {
        "num_scales": min(NUM_FRAMES.value, 8) if NUM_SCALES.value is None else NUM_SCALES.value,
        "hidden_dim": HIDDEN_DIM.value,
        "num_hidden_layers": HIDDEN_LAYERS.value,
        "batch_norm": BATCH_NORM.value,
    }


def _accuracy(head: Head, clips: Clips) -> float:
    logits = heads.predict(head.model, head.variables, clips, NUM_FRAMES.value)
    return float((logits.argmax(axis=1) == clips.label).mean())


def _by_frames(head: Head, clips: Clips) -> dict[str, list[float]]:
    """How good and how well calibrated scores are when shown 1, 2, ... frames."""
    frames = heads.validation_frames(head.model, clips, NUM_FRAMES.value)
    asked = validation.questions(head.model, frames, clips.label)
    state = {name: value for name, value in head.variables.items() if name != "params"}
    figures = validation.figures(asked.logits(head.variables["params"], state), asked.size, clips.label)
    return {name: [round(float(value), 4) for value in values] for name, values in figures._asdict().items()}


def _training(head: Head, recipe: heads.Recipe, validated_on: set[str], classes: tuple[str, ...]) -> dict[str, Any]:
    """What became of the recipe, for the card."""
    weight, found = head.class_weight, head.calibration
    return {
        "recipe": recipe._asdict(),
        "validated_on": sorted(validated_on),
        "epochs": len(head.history["loss"]),
        "epoch": head.epoch,
        "validation_loss": float(head.history[loop.VALIDATION_LOSS][head.epoch - 1]) if validated_on else None,
        "class_weight": None if weight is None else dict(zip(classes, weight.round(3).tolist(), strict=True)),
        "temperature": found
        and {
            "fitted": found.temperature.round(4).tolist(),
            "calibration_error_before": found.error_before,
            "calibration_error_after": found.error_after,
            "kept": found.helps,
        },
    }


def _report_training(training: dict[str, Any]) -> None:
    if training["class_weight"] is not None:
        least, most = (f(training["class_weight"].values()) for f in (min, max))
        print(f"some classes are rare: clips count {least:g} to {most:g} times by their class")
    if not training["validated_on"]:
        print(f"no clips to validate on: the model is that of the last of {training['epochs']} epochs, not calibrated")
        return
    splits = " and ".join(training["validated_on"])
    print(
        f"epoch {training['epoch']} of {training['epochs']} is kept, the best on {splits}: surprise "
        f"{training['validation_loss']:.3f}, mean over numbers of frames"
    )
    if found := training["temperature"]:
        errors = f"{found['calibration_error_before']:.3f} to {found['calibration_error_after']:.3f}"
        told = " ".join(f"{t:.2f}" for t in found["fitted"])
        kept = "kept in the model" if found["kept"] else "not kept, as not both it and the surprise fall"
        print(f"temperatures for 1, 2, ... frames: {told}; calibration error on {splits} {errors}: {kept}")


def _report(out: Path, figures: dict[str, Any], held_out: dict[str, Clips], backbone: Model | None) -> None:
    for split, accuracy in figures["accuracy"].items():
        kept = " (held out)" if split in held_out else ""
        print(f"accuracy on {split}{kept}: {accuracy:.1%} of {figures['clips'][split]} clips")
    if not held_out:
        print("no clips were held out, so how well the model does on new ones is unknown")
    if backbone is None:
        print("the features came without a backbone, so the model can explain stored features but no video files")
    print(f"wrote the model to {out}")


if __name__ == "__main__":
    cli.run(main)

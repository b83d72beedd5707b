"""Model folders: all that is needed to use a trained model again, in open formats.

model.json   the card: kind, options, classes, prior, preprocessing, provenance; written last
params/      the Flax variables (orbax)
backbone/    the model folder of the frame backbone whose features the model reads (optional)
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from esv_jax import checks, files, models, temperature, trees
from esv_jax.checks import InputError
from esv_jax.interop import backbones, keras_file
from esv_jax.models import options, weights
from esv_jax.models.backbones import bn_inception, frame_cnn, mobilenet_v1, resnet50
from esv_jax.video.preprocess import Preprocess, preprocess_from_json

FORMAT_VERSION = 2  # 1 had no digest of the card
CARD_FILE = "model.json"
HEADS = {"tsn": models.TSN, "trn": models.TRN, "multiscale_trn": models.MultiscaleTRN}
BACKBONES = {
    "frame_cnn": frame_cnn.FrameCNN,
    "mobilenet_v1": mobilenet_v1.MobileNetV1,
    "bn_inception": bn_inception.BNInception,
    "resnet50": resnet50.ResNet50,
}
MODULES: dict[str, Callable[..., nn.Module]] = {**HEADS, **BACKBONES}


class ModelCard(NamedTuple):
    """What a model is, apart from its numbers.

    Attributes:
      kind: "tsn", "trn" (of one scale) or "multiscale_trn" (heads); one of `BACKBONES`.
      options: keyword arguments of the Flax module.
      feature_dim: D; of the features that a head reads or a backbone makes.
      classes: names of the C classes, in the order of the scores; () for backbones.
      prior: share of every class in the training set, float32 [C], the worth of no frames; None for backbones, and for
        heads from elsewhere, whose training set is not known.
      backbone: name and digest of the backbone that a head's features come from, or None where unknown.
      preprocess: what a backbone expects of its images; None for heads.
      provenance: how the model was made: command, seed, versions, figures; any json.
    """

    kind: str
    options: dict[str, Any]
    feature_dim: int
    classes: tuple[str, ...] = ()
    prior: np.ndarray | None = None
    backbone: dict[str, str] | None = None
    preprocess: Preprocess | None = None
    provenance: dict[str, Any] = {}  # noqa: RUF012 (never written to)


class Model(NamedTuple):
    """A model ready for use: module.apply(variables, frames [T, D] or images uint8 [N, H, W, 3])."""

    card: ModelCard
    module: nn.Module
    variables: Any
    backbone: "Model | None" = None


def save_model(folder: str | os.PathLike, card: ModelCard, variables: Any, *, backbone: Model | None = None) -> None:
    """Writes a model folder, in place of the one that may be there; a write cut short leaves no valid folder.

    Raises:
      InputError: the card contradicts itself, the variables are not those of the card's module or not finite, the
        backbone is not the one that the card names, or the folder cannot be written.
    """
    folder = Path(folder).absolute()
    variables = jax.tree.map(np.asarray, variables)
    module = build(card)
    _check_card(card, f"the card of {folder}")
    _check_variables(_tensors(module, card), variables, f"the variables for {folder}")
    if backbone is not None:
        _check_backbone(card, backbone, str(folder))
    with files.disk_errors(f"the model folder {folder} cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_leftovers(folder)
        with files.atomic(folder / "params") as partial:
            digests = trees.write(partial, variables)
            # What was there is given up when the new weights are safe.
            (folder / CARD_FILE).unlink(missing_ok=True)
            for old in ("params", "backbone"):
                shutil.rmtree(folder / old, ignore_errors=True)
        if backbone is not None:
            save_model(folder / "backbone", backbone.card, backbone.variables)
        files.write_json(folder / CARD_FILE, _to_json(card, digests))


def load_model(folder: str | os.PathLike) -> Model:
    """Reads a model folder, and its backbone's where it has one. Variables are NumPy arrays.

    Raises:
      InputError: there is no such folder, it is not a model folder, is damaged, or is of a newer version.
    """
    folder = Path(folder).absolute()
    card, digests = _read_card(folder)
    module, params = build(card), folder / "params"
    where = f"the weights in {params}"
    trees.check(params, digests, where)
    # Before they are read: a small file can say that it holds much.
    expected = _tensors(module, card)
    weights.check_same_tensors(where, expected, trees.shapes(params))
    variables = trees.read(params)
    _check_variables(expected, variables, where)
    backbone = load_model(folder / "backbone") if (folder / "backbone").is_dir() else None
    if backbone is not None:
        _check_backbone(card, backbone, str(folder))
    return Model(card, module, variables, backbone)


def read_card(folder: str | os.PathLike) -> ModelCard:
    """The card of a model folder.

    Raises:
      InputError: as `load_model`.
    """
    return _read_card(Path(folder))[0]


def _read_card(folder: Path) -> tuple[ModelCard, Any]:
    """The card, and the digests of the files of the weights."""
    path = folder / CARD_FILE
    fields = files.read_card(
        folder,
        CARD_FILE,
        "model folder",
        format_version=FORMAT_VERSION,
        fields=[*ModelCard._fields, "files"],
        optional=["digest"],
    )
    written = files.read_json(path, files.LARGEST_CARD)
    said = written.pop("digest", None)
    if said not in (None, _digest_of(written)):
        raise InputError(
            f"{path} is damaged, or was changed after it was written: write it anew, or, if you changed it, delete "
            f'its "digest"'
        )
    digests = fields.pop("files")
    if isinstance(fields["classes"], list):
        fields["classes"] = tuple(fields["classes"])
    if fields["prior"] is not None:
        fields["prior"] = _prior_from_json(fields["prior"], f"the prior in {path}")
    try:
        if fields["preprocess"] is not None:
            fields["preprocess"] = preprocess_from_json(fields["preprocess"])
        card = ModelCard(**fields)
        build(card)
    except InputError as error:
        raise InputError(f"{path} does not describe a model: {error}") from error
    _check_card(card, str(path))
    return card, digests


def build(card: ModelCard) -> nn.Module:
    """The Flax module of a card.

    Raises:
      InputError: unknown kind or options, or options that are not of their types or too large.
    """
    if not isinstance(card.kind, str) or card.kind not in MODULES:
        raise InputError(f"a model's kind should be one of {list(MODULES)}, found {options.shown(card.kind)}")
    module = MODULES[card.kind]
    options.check(module, card.options, f"the options of a model of kind {card.kind}")
    return module(**card.options)


def import_mobilenet_v1(path: str | os.PathLike) -> Model:
    """MobileNetV1 with the weights that Keras publishes (*.h5), or an npz file of the same tensors.

    Raises:
      InputError: the file cannot be read, or its tensors are not exactly those of the network.
      MissingExtraError: it is HDF5 and h5py is not installed.
    """
    imported = backbones.mobilenet_v1_of(keras_file.read_arrays(path), f"the weights in {path}")
    card = ModelCard(
        kind=imported.kind,
        options=imported.options,
        feature_dim=imported.feature_dim,
        preprocess=backbones.MOBILENET_V1_PREPROCESS,
        provenance={"weights": Path(path).name},
    )
    return Model(card, build(card), imported.variables)


def digest(model: Model) -> str:
    """16 hex digits that tell models apart: of kind, options, preprocessing and every number."""
    card = model.card
    preprocess = card.preprocess and card.preprocess._asdict()
    parts: list[Any] = [json.dumps([card.kind, card.options, preprocess], sort_keys=True)]
    for name, value in weights.flatten(model.variables).items():
        value = np.asarray(value)
        parts += [f"{name} {value.dtype} {value.shape}", value]
    return files.short_digest(parts)


def identity(model: Model) -> dict[str, str]:
    """Name and digest, by which heads and features know their backbone."""
    return {"name": model.card.kind, "digest": digest(model)}


def _to_json(card: ModelCard, digests: dict[str, str]) -> dict[str, Any]:
    fields = {"format_version": FORMAT_VERSION, **card._asdict(), "files": digests}
    # By way of text, so that 0.1 is not written 0.10000000149011612.
    fields["prior"] = None if card.prior is None else [float(str(p)) for p in np.asarray(card.prior, np.float32)]
    fields["preprocess"] = card.preprocess and card.preprocess._asdict()
    return {**fields, "digest": _digest_of(fields)}


def _digest_of(fields: Any) -> str:
    """Of all that a card says, the digests of the weights' files included, as json has it."""
    return files.short_digest([json.dumps(json.loads(json.dumps(fields)), sort_keys=True)])


def _prior_from_json(values: Any, where: str) -> np.ndarray:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise InputError(f"{where} should be a list of numbers, found {options.shown(values)}")
    try:
        with np.errstate(over="ignore"):  # an infinity, which is refused
            return np.asarray(values, np.float64).astype(np.float32)
    except OverflowError as error:  # of integers
        raise InputError(f"{where} should be numbers that float32 holds, found one beyond") from error


def _check_card(card: ModelCard, where: str) -> None:
    """Raises InputError if a card contradicts itself or has fields of other types; its module can be built."""
    for name, kind in {"classes": tuple, "provenance": dict}.items():
        if not isinstance(getattr(card, name), kind):
            raise InputError(
                f"{where} has {name} that are a {type(getattr(card, name)).__name__}, not a {kind.__name__}"
            )
    if not options.is_count(card.feature_dim):
        raise InputError(
            f"{where} should have a feature_dim in 1..{options.MAX_WIDTH}, found {options.shown(card.feature_dim)}"
        )
    below = card.backbone
    if below is not None and not (isinstance(below, dict) and all(isinstance(v, str) for v in below.values())):
        raise InputError(f"{where} should name its backbone by name and digest, found {options.shown(below)}")
    if card.kind in BACKBONES:
        if card.preprocess is None:
            raise InputError(f"{where} should say the preprocess of the backbone, found none")
        return
    if card.preprocess is not None:
        raise InputError(f"{where} has a preprocess, which a model of kind {card.kind} has not")
    strange = [name for name in card.classes if not isinstance(name, str) or not files.is_one_line(name)]
    if strange:
        raise InputError(f"{where} should name its classes by texts of one line, found {options.shown(strange[0])}")
    num_classes = card.options["num_classes"]
    num_priors = num_classes if card.prior is None else len(card.prior)
    if not num_classes == len(card.classes) == num_priors:
        raise InputError(
            f"{where} disagrees with itself: {num_classes} classes in options, {len(card.classes)} class names, "
            f"{num_priors} values in prior"
        )
    twice = checks.repeated(card.classes)
    if twice:
        raise InputError(f"{where} names a class twice: {checks.listed(twice)}")
    if card.prior is not None:
        checks.scores(f"the prior in {where}", card.prior, probabilities=True)


def _check_backbone(card: ModelCard, backbone: Model, where: str) -> None:
    found = identity(backbone)
    if card.backbone != found:
        raise InputError(f"{where} belongs to the backbone {card.backbone!s:.80}, but holds {found}")


def _check_variables(expected: Mapping[str, tuple[int, ...]], variables: Any, where: str) -> None:
    found = weights.flatten(variables)
    weights.check_same_tensors(where, expected, found)
    for name, value in found.items():
        checks.check_finite(f"{name} in {where}", value)
        if name == f"{temperature.COLLECTION}/{temperature.NAME}" and not (np.asarray(value) > 0).all():
            raise InputError(f"{name} in {where} should be above 0, found {np.min(value):g}")


def _tensors(module: nn.Module, card: ModelCard) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays that the module of a card has."""
    if card.preprocess is not None:
        example = jax.ShapeDtypeStruct((1, card.preprocess.size, card.preprocess.size, 3), np.uint8)
    else:
        frames = (1, card.options["num_frames"]) if card.kind == "trn" else (1,)
        example = jax.ShapeDtypeStruct((*frames, card.feature_dim), np.float32)
    return weights.shapes(module, example)

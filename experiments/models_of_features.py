"""Models that are asked about features of frames: of a model folder, or anyone's.

What `compute_esvs` and `check_model` share.
"""

from typing import Any, NamedTuple

import numpy as np

from esv_jax.base import Game
from esv_jax.checks import InputError
from esv_jax.data import priors
from esv_jax.data.labelled_features import LabelledFeatures, open_labelled
from esv_jax.saved import kept_check, model_folder
from esv_jax.saved.game import game_of

from . import host_flags


class ModelOfFeatures(NamedTuple):
    """What is asked: a game and its params, the worth of nobody [C], and what a store says of them.

    Attributes:
      feature_dim, backbone: of the features that a model folder is for; None: not known.
      name: for titles and errors.
      warning: what to say of a model folder whose check is absent or not good.
    """

    game: Game
    params: Any
    prior: np.ndarray
    class_names: tuple[str, ...]
    feature_dim: int | None
    backbone: Any
    described: dict[str, Any]
    name: str
    warning: str | None


def load(model: str | None, priors: str | None) -> ModelOfFeatures:
    """The model of --model or --onnx.

    Args:
      model, priors: what these flags say.

    Raises:
      InputError: there is none, or flags that say nothing of it are given.
    """
    return _of_host(model, priors) if host_flags.is_given(model) else _of_folder(model, priors)


def _of_folder(path: str | None, given: str | None) -> ModelOfFeatures:
    if not path:
        raise InputError("--model should be a model folder or module:function, or --onnx a file; found none")
    host_flags.refuse_all()
    model = model_folder.load_model(path)
    card, digest = model.card, model_folder.digest(model)
    game = game_of(model, prior=priors.read_priors(given, len(card.classes)) if given else None, name=path)
    described = {"model_kind": card.kind, "model_digest": digest}
    return ModelOfFeatures(
        game,
        model.variables,
        np.asarray(game.empty),
        card.classes,
        card.feature_dim,
        card.backbone,
        described,
        path,
        kept_check.warning(path, digest),
    )


def _of_host(model: str | None, given: str | None) -> ModelOfFeatures:
    if given is None:
        raise InputError("--priors should be given, one worth of no frames for all videos")
    host = host_flags.load(model, given, "BTD")
    prior = np.asarray(host.game.empty)
    described = {f"model_{name}": told for name, told in host_flags.described(host).items()}
    names = host_flags.class_names(len(prior))
    return ModelOfFeatures(host.game, host.model, prior, names, None, None, described, host.name, None)


def open_features(path: str, subject: ModelOfFeatures, split: str | None) -> LabelledFeatures:
    """The features, shown to be such as the model reads.

    Args:
      path, split: what the flags --features and --split say.

    Raises:
      InputError: as `open_labelled`, or they are of another dimension or backbone.
    """
    features = open_labelled(path, subject.class_names, split)
    found = features.header
    if subject.feature_dim not in (None, found.feature_dim):
        raise InputError(
            f"{subject.name} reads features of dimension {subject.feature_dim}, but those in {path} are of dimension "
            f"{found.feature_dim}"
        )
    if found.backbone and subject.backbone and found.backbone != subject.backbone:
        raise InputError(
            f"{subject.name} reads features of {subject.backbone}, but those in {path} are of {found.backbone}"
        )
    return features

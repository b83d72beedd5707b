"""The game of a model folder, for everything that explains loaded models."""

import esv_jax.games as games
from esv_jax.base import Array, Game
from esv_jax.checks import InputError, check_shape
from esv_jax.saved.model_folder import HEADS, Model


def game_of(model: Model, *, prior: Array | None = None, all_subsets: bool = True, name: str = "the model") -> Game:
    """The game of a head, for `explain(estimator, game, model.variables, frames)` with frames float [T, D].

    Args:
      model: of `model_folder.load_model`.
      prior: float [C], the worth of no frames; that of the model's card by default.
      all_subsets: for multi-scale models, as for `trn_game`; False for the paper's approximation.
      name: what to call the model in errors.

    Raises:
      InputError: the model is a backbone, there is no prior, or it has another number of classes.
    """
    card = model.card
    if card.kind not in HEADS:
        raise InputError(f"{name} is a backbone ({card.kind}), which knows no classes: give a model trained on it")
    prior = card.prior if prior is None else prior
    if prior is None:
        raise InputError(f"{name} was imported without class priors, the worth of no frames: give them with --priors")
    check_shape("prior", prior, (len(card.classes),))
    if card.kind == "tsn":
        return games.tsn_game(model.module, empty=prior)
    if card.kind == "multiscale_trn":
        return games.trn_game(model.module, empty=prior, all_subsets=all_subsets)
    raise InputError(f"{name} should be of the kind tsn or multiscale_trn to be explained, found {card.kind}")

"""Grad-CAM (Selvaraju et al., 2017) over the last activation of a frame backbone, averaged over space."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Game
from esv_jax.baselines.call import Baseline, ScoredVideo


def grad_cam() -> Baseline:
    """values[i, c] = mean over space of relu(sum over channels k of alpha[i, k, c] * A[i, ..., k]), never negative.

    alpha[i, k, c] is the mean over space of the gradient of class c's logit by the activation A[i, ..., k]. The video
    that it explains is the activation, float [T, H, W, K]; `activation_game` makes the game for it.
    """
    return Baseline(_grad_cam)


def activation_game(game: Game, to_features: Callable[[Any, jax.Array], jax.Array]) -> Game:
    """The game of a model that reads a backbone's activations, out of the game of a head that reads features.

    Its params are {"head": those of `game`, "backbone": those of `to_features`}, its video the activations.

    Args:
      game: of a head, its video float [T, D].
      to_features: (backbone's params, activations [T, H, W, K]) -> features [T, D].
    """
    checks.check_pure("to_features", to_features)
    return game._replace(prepare=_prepare(game.prepare, to_features), exact=None)


@functools.lru_cache(maxsize=16)
def _prepare(prepare: Any, to_features: Any):
    def prepare_activation(params: Any, activation: jax.Array) -> Any:
        return prepare(params["head"], to_features(params["backbone"], activation))

    return prepare_activation


def _grad_cam(scored: ScoredVideo, arrays: tuple[()], key: None) -> tuple[jax.Array, jax.Array]:
    activation = scored.video
    checks.check_shape("the activation", activation, ("T", "H", "W", "K"))
    gradient = jax.jacrev(scored.full_logits)(activation)
    alpha = gradient.mean(axis=(2, 3))
    maps = jnp.einsum("ctk,thwk->cthw", alpha, activation, precision=jax.lax.Precision.HIGHEST)
    return jax.nn.relu(maps).mean(axis=(2, 3)).T, scored.empty

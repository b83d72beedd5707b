"""Many videos of one length at once: the same values as `explain`, one program and one plan for all of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array, Attribution, Estimator, Game, Plan
from esv_jax.explain import explain


def explain_batch(
    estimator: Estimator, game: Game, params: Any, videos: Array, *, plan: Plan | None = None
) -> Attribution:
    """`explain` of every video of a batch, on the device.

    Compiled on first use for the shapes at hand; other weights, videos and plans of the same shapes reuse the program,
    so fill up a last, smaller batch rather than compile for it. Returns before the device is done.

    Args:
      estimator: of `esv_jax.estimators`.
      game: of `esv_jax.games`.
      params: what the game's functions take first, any pytree.
      videos: [B, T, D].
      plan: the coalitions to evaluate, for estimators that sample. All videos then share its sampling error: their
        errors are correlated, and a mean over videos has an error that more videos do not lessen.

    Returns:
      Attribution(values [B, T, C], std_error [B, T, C], full [B, C], empty [B, C]).

    Raises:
      InputError: as `explain`.
    """
    checks.check_shape("videos", videos, ("B", "T", "D"))
    no_array: Any = None
    return _explain_all(estimator, game._replace(empty=no_array), game.empty, params, videos, plan)


@functools.partial(jax.jit, static_argnames=("estimator", "functions"))
def _explain_all(
    estimator: Estimator, functions: Game, empty: Array, params: Any, videos: Array, plan: Plan | None
) -> Attribution:
    game = functions._replace(empty=jnp.asarray(empty))
    return jax.vmap(lambda video: explain(estimator, game, params, video, plan=plan))(videos)

"""Many videos of one length at once: the same values as `explain`, one program and one plan for all of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from esv_jax import checks, threads
from esv_jax.base import Array, Attribution, Estimator, Game, Host, Plan
from esv_jax.explaining.explain import explain, on_device
from esv_jax.explaining.worths import without_empty

# Of coalitions' scores: what stays in a processor's cache; what keeps an accelerator busy.
BYTES_AT_ONCE = 2**23
BYTES_AT_ONCE_ELSEWHERE = 2**28
LARGEST_BATCH = 256


def explain_batch(
    estimator: Estimator, game: Game, params: Any, videos: Any, *, plan: Plan | None = None
) -> Attribution:
    """`explain` of every video of a batch, on the device.

    Compiled on first use for the shapes at hand; other weights, videos and plans of the same shapes reuse the program,
    so fill up a last, smaller batch rather than compile for it. Waits for the device as `explain` does.

    Args:
      estimator: of `esv_jax.estimators`.
      game: of `esv_jax.games`.
      params: what the game's functions take first, any pytree.
      videos: [B, T, ...], B >= 1 of what `explain` takes.
      plan: the coalitions to evaluate, for estimators that sample. All videos then share its sampling error: their
        errors are correlated, and a mean over videos has an error that more videos do not lessen.

    Returns:
      Attribution(values [B, P, C], std_error [B, P, C], full [B, C], empty [B, C], num_evaluations [B], sampled [B]).

    Raises:
      InputError: as `explain`.
    """
    videos = checks.own_video("videos", videos)
    shape = jnp.shape(jax.tree.leaves(videos)[0])
    if len(shape) < 2 or shape[0] < 1:
        raise checks.InputError(f"videos should have shape [B, T, ...], at least one of them, found {list(shape)}")
    if isinstance(game.form, Host):
        found = [explain(estimator, game, params, video, plan=plan) for video in videos]
        return jax.tree.map(lambda *of_each: jnp.stack(of_each), *found)
    game = game._replace(empty=checks.own("empty", game.empty))
    params = checks.own("params", params)
    arguments = estimator, without_empty(game), game.empty, params, videos, on_device(plan)
    return _explain_all(*arguments) if plan is None else threads.run(_explain_all, *arguments)


def fitting_batch(num_floats: int, platform: str | None = None) -> int:
    """How many videos to have on the device at once, a power of two, where each takes about `num_floats` floats.

    Args:
      platform: the device's; that of this process by default.
    """
    limit = BYTES_AT_ONCE if (platform or jax.default_backend()) == "cpu" else BYTES_AT_ONCE_ELSEWHERE
    fitting = max(1, limit // (4 * num_floats))
    return min(LARGEST_BATCH, 2 ** (fitting.bit_length() - 1))


@functools.partial(jax.jit, static_argnames=("estimator", "functions"))
def _explain_all(
    estimator: Estimator, functions: Game, empty: Array, params: Any, videos: Any, plan: Plan | None
) -> Attribution:
    game = functions._replace(empty=jnp.asarray(empty))
    return jax.vmap(lambda video: explain(estimator, game, params, video, plan=plan))(videos)

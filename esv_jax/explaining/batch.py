"""Many videos of one length at once: the same values as `explain`, one program and one plan for all of them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array, Attribution, Estimator, Game, Plan, exact_weights
from esv_jax.explaining.explain import explain

# Of coalitions' scores: what stays in a processor's cache; what keeps an accelerator busy.
BYTES_AT_ONCE = 2**23
BYTES_AT_ONCE_ELSEWHERE = 2**28
LARGEST_BATCH = 256


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


def explain_in_parts(
    estimator: Estimator, game: Game, params: Any, videos: np.ndarray, *, at_once: int, plan: Plan | None = None
) -> list[Attribution]:
    """`explain_batch` of any number of videos, `at_once` at a time: their parts in order, all started, none waited for.

    The last part is filled up with zeros rather than compiled for, so its last rows may be of no video.

    Args:
      estimator, game, params, plan: as for `explain_batch`.
      videos: float [n, T, D] on the host, n >= 1.
      at_once: B.

    Raises:
      InputError: as `explain`.
    """
    missing = -len(videos) % at_once
    videos = np.concatenate([videos, np.zeros((missing, *videos.shape[1:]), videos.dtype)])
    parts = [videos[start : start + at_once] for start in range(0, len(videos), at_once)]
    return [explain_batch(estimator, game, params, part, plan=plan) for part in parts]


def fitting_batch(num_floats: int) -> int:
    """How many videos to have on the device at once, a power of two, where each takes about `num_floats` floats."""
    limit = BYTES_AT_ONCE if jax.default_backend() == "cpu" else BYTES_AT_ONCE_ELSEWHERE
    fitting = max(1, limit // (4 * num_floats))
    return min(LARGEST_BATCH, 2 ** (fitting.bit_length() - 1))


@functools.partial(jax.jit, static_argnames=("estimator", "functions"))
def _explain_all(
    estimator: Estimator, functions: Game, empty: Array, params: Any, videos: Array, plan: Plan | None
) -> Attribution:
    game = functions._replace(empty=jnp.asarray(empty))

    def explain_all(game: Game) -> Attribution:
        return jax.vmap(lambda video: explain(estimator, game, params, video, plan=plan))(videos)

    weights = exact_weights(estimator, jnp.shape(videos)[1])
    sum_over_all = game.sum_over_all
    if plan is not None or weights is None or sum_over_all is None:
        return explain_all(game)

    prepared = jax.vmap(functools.partial(game.prepare_for_all or game.prepare, params))(jnp.asarray(videos))

    def trusted(of_one: Any) -> Any:
        return sum_over_all(of_one, *weights)[2]

    if trusted(jax.tree.map(lambda of_all: of_all[0], prepared)) is True:
        return explain_all(game)
    # Decided for every video on its own, vmap would take both ways: the shortcut, and visiting all coalitions.
    return jax.lax.cond(
        jax.vmap(trusted)(prepared).all(),
        lambda: explain_all(game._replace(sum_over_all=_trusting(sum_over_all))),
        lambda: explain_all(game._replace(sum_over_all=None)),
    )


@functools.lru_cache(maxsize=64)
def _trusting(sum_over_all: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: (*sum_over_all(*arguments)[:2], True)

"""What a baseline is, and the call that they share with Element Shapley Values."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array, Attribution, Game, Host
from esv_jax.batches import in_chunks
from esv_jax.explaining import worths as asking
from esv_jax.games import groups

# Videos worked on at a time: a multi-scale game holds the logits of all subsets of each, and their gradients.
VIDEOS_AT_ONCE = 16


class ScoredVideo(NamedTuple):
    """A model and a video, as a baseline may ask about them.

    Attributes:
      video: float [T, ...].
      empty: float [C], the worth of no frames, of the classes asked about, as all that follows.
      full_logits: (video [T, ...]) -> logits [C] of a whole video like this one; differentiable.
      full: the same, its scores [C].
      worths: (video [T, ...], mask, NumPy bool [N, T]) -> scores [N, C] of coalitions of its frames; differentiable.
    """

    video: jax.Array
    empty: jax.Array
    full_logits: Callable[[jax.Array], jax.Array]
    full: Callable[[jax.Array], jax.Array]
    worths: Callable[[jax.Array, np.ndarray], jax.Array]


class Baseline(NamedTuple):
    """A way to attribute scores to frames. Made by a factory of `esv_jax.baselines`.

    Attributes:
      values: (scored, arrays, key) -> (values [T, C], start [C]); `start` is what the values are counted from, for
        methods that have such a thing, else the worth of no frames.
      arrays: what `values` is given besides, any pytree; an argument of the compiled program.
    """

    values: Callable[[ScoredVideo, Any, Any], tuple[jax.Array, jax.Array]]
    arrays: Any = ()


def explain(
    baseline: Baseline, game: Game, params: Any, video: Array, *, key: Any = None, classes: Array | None = None
) -> Attribution:
    """Attributes the model's scores for a video to its frames, as `esv_jax.explain` does with an estimator.

    Compiled on first use for the shapes at hand; works under jax.jit and jax.vmap.

    Args:
      baseline: of `esv_jax.baselines`, for example leave_one_out().
      game: of any form, its players the frames; of the form `Host` for baselines that ask for coalitions alone.
      params: what the game's functions take first, any pytree.
      video: float [T, D] (or [T, ...] where the game takes it), T >= 1.
      key: PRNG key, for `random` alone.
      classes: int [K], explain these classes alone, and give K in the place of C; gradients cost so much for each.

    Returns:
      Attribution(values [T, C], std_error [T, C] of zeros, full [C], empty [C]); for Integrated Gradients `empty` is
      the score of the reference, so that values.sum(0) = full - empty up to the error of integration.

    Raises:
      InputError: shapes or dtypes do not fit, the key is missing, or gradients are asked of a host game.
    """
    if isinstance(game.form, Host):
        return _explain_host(baseline, game, params, video, key, classes)
    game = game._replace(empty=checks.own("empty", game.empty))
    params, video = checks.own("params", params), checks.own_video("video", video)
    _check_players(game, video)
    checks.check_floating("video", video)
    functions, classes = asking.without_empty(game), _own_classes(classes, game)
    return _explain(baseline.values, functions, baseline.arrays, game.empty, params, video, key, classes)


def explain_batch(
    baseline: Baseline, game: Game, params: Any, videos: Array, *, key: Any = None, classes: Array | None = None
) -> Attribution:
    """`explain` of every video of videos [B, T, ...], a few at a time; the key is split among them.

    `classes` are those of every video, int [B, K].

    Returns:
      Attribution(values [B, T, C], std_error [B, T, C], full [B, C], empty [B, C]).
    """
    if isinstance(game.form, Host):
        keys = [None] * len(videos) if key is None else list(jax.random.split(key, len(videos)))
        of_each = [None] * len(videos) if classes is None else np.asarray(classes)
        found = [_explain_host(baseline, game, params, *each) for each in zip(videos, keys, of_each, strict=True)]
        return jax.tree.map(lambda *arrays: jnp.stack(arrays), *found)
    game = game._replace(empty=checks.own("empty", game.empty))
    params, videos = checks.own("params", params), checks.own_video("videos", videos)
    functions, classes = asking.without_empty(game), _own_classes(classes, game)
    return _explain_batch(baseline.values, functions, baseline.arrays, game.empty, params, videos, key, classes)


def _own_classes(classes: Array | None, game: Game) -> Array | None:
    classes = checks.own("classes", classes)
    if classes is None or isinstance(classes, jax.core.Tracer):
        return classes
    num_classes, found = len(game.empty), np.asarray(classes)
    if found.dtype.kind not in "iu" or (found < 0).any() or (found >= num_classes).any():
        raise checks.InputError(f"classes should be integers, 0..{num_classes - 1}, found {found.ravel()[:3].tolist()}")
    return classes


def _check_players(game: Game, video: Any) -> None:
    if game.num_players(video) != jnp.shape(video)[0] or groups.is_grouped(game):
        raise checks.InputError(f"baselines are for games of frames, found one of {game.num_players(video)} players")


def _explain_host(baseline: Baseline, game: Game, params: Any, video: Any, key: Any, classes: Any) -> Attribution:
    """Nothing is compiled: the model is asked as `explaining.worths` asks it."""
    _check_players(game, video)
    num_frames = game.num_players(video)
    ends = np.stack([np.zeros(num_frames, bool), np.ones(num_frames, bool)])
    empty, full = asking.worths(game, params, video, ends)
    classes = _own_classes(classes, game._replace(empty=empty))

    def chosen(scores: jax.Array) -> jax.Array:
        return scores if classes is None else scores[..., classes]

    def no_gradients(clip: Any) -> jax.Array:
        raise checks.InputError("this baseline differentiates the model: game should be of JAX, found a host game")

    def worths(clip: Any, mask: np.ndarray) -> jax.Array:
        return chosen(asking.worths(game, params, clip, mask))

    def whole(clip: Any) -> jax.Array:
        return chosen(full) if clip is video else no_gradients(clip)

    scored = ScoredVideo(video, chosen(empty), no_gradients, whole, worths)
    values, start = baseline.values(scored, baseline.arrays, key)
    return Attribution(values, jnp.zeros_like(values), chosen(full), start, middle=values)


@functools.partial(jax.jit, static_argnames=("values_of", "functions"))
def _explain_batch(
    values_of: Any, functions: Game, arrays: Any, empty: Array, params: Any, videos: Array, key: Any, classes: Any
) -> Attribution:
    baseline, game = Baseline(values_of, arrays), functions._replace(empty=empty)
    keys = None if key is None else jax.random.split(key, len(videos))

    def of_one(video: jax.Array, key: Any, classes: Any) -> Attribution:
        return explain(baseline, game, params, video, key=key, classes=classes)

    at_once = min(VIDEOS_AT_ONCE, len(videos))
    return in_chunks(lambda batch: jax.vmap(of_one)(*batch), (videos, keys, classes), at_once)


@functools.partial(jax.jit, static_argnames=("values_of", "functions"))
def _explain(
    values_of: Any, functions: Game, arrays: Any, empty: Array, params: Any, video: Array, key: Any, classes: Any
) -> Attribution:
    def chosen(scores: jax.Array) -> jax.Array:
        return scores if classes is None else scores[..., classes]

    def everyone(clip: jax.Array) -> jax.Array:
        return asking.logits_of_everyone(functions, functions.prepare(params, clip), clip.shape[0])

    def scores(logits: jax.Array, num_coalitions: int = 1) -> jax.Array:
        found = functions.link(logits)
        asking.check_worths(found, empty, num_coalitions)
        return chosen(found)

    def worths(clip: jax.Array, mask: np.ndarray) -> jax.Array:
        return scores(asking.logits_of_masks(functions, functions.prepare(params, clip), mask), len(mask))

    video = jnp.asarray(video)
    full = scores(everyone(video))[0]
    scored = ScoredVideo(
        video,
        chosen(jnp.asarray(empty, full.dtype)),
        lambda clip: chosen(everyone(clip))[0],
        lambda clip: scores(everyone(clip))[0],
        worths,
    )
    values, start = values_of(scored, arrays, key)
    return Attribution(values, jnp.zeros_like(values), full, start, middle=values)

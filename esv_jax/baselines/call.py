"""What a baseline is, and the call that they share with Element Shapley Values."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array, Attribution, Game, Level

# Videos worked on at a time: a multi-scale game holds the logits of all subsets of each, and their gradients.
VIDEOS_AT_ONCE = 16


class Asked(NamedTuple):
    """A model and a video, as a baseline may ask about them.

    Attributes:
      video: float [T, ...].
      empty: float [C], the worth of no frames, of the classes asked about, as all that follows.
      logits: (video [T, ...], members int32 [N, k]) -> logits [N, C] of coalitions of that video; differentiable.
      worths: the same, their scores [N, C].
    """

    video: jax.Array
    empty: jax.Array
    logits: Callable[[jax.Array, Array], jax.Array]
    worths: Callable[[jax.Array, Array], jax.Array]

    def full_logits(self, video: jax.Array) -> jax.Array:
        """Logits [C] of a whole video like this one."""
        return self.logits(video, np.arange(video.shape[0], dtype=np.int32)[None])[0]

    def full(self, video: jax.Array) -> jax.Array:
        """Scores [C] of a whole video like this one."""
        return self.worths(video, np.arange(video.shape[0], dtype=np.int32)[None])[0]


class Baseline(NamedTuple):
    """A way to attribute scores to frames. Made by a factory of `esv_jax.baselines`.

    Attributes:
      values: (asked, arrays, key) -> (values [T, C], start [C]); `start` is what the values are counted from, for
        methods that have such a thing, else the worth of no frames.
      arrays: what `values` is given besides, any pytree; an argument of the compiled program.
    """

    values: Callable[[Asked, Any, Any], tuple[jax.Array, jax.Array]]
    arrays: Any = ()


def explain(
    baseline: Baseline, game: Game, params: Any, video: Array, *, key: Any = None, classes: Array | None = None
) -> Attribution:
    """Attributes the model's scores for a video to its frames, as `esv_jax.explain` does with an estimator.

    Compiled on first use for the shapes at hand; works under jax.jit and jax.vmap.

    Args:
      baseline: of `esv_jax.baselines`, for example leave_one_out().
      game: one that takes single coalitions: of multi-scale models, one made with all_subsets=True.
      params: what the game's functions take first, any pytree.
      video: float [T, D] (or [T, ...] where the game takes it), T >= 1.
      key: PRNG key, for `random` alone.
      classes: int [K], explain these classes alone, and give K in the place of C; gradients cost so much for each.

    Returns:
      Attribution(values [T, C], std_error [T, C] of zeros, full [C], empty [C]); for Integrated Gradients `empty` is
      the score of the reference, so that values.sum(0) = full - empty up to the error of integration.

    Raises:
      InputError: shapes or dtypes do not fit, the game cannot take single coalitions, or the key is missing.
    """
    shape = jnp.shape(video)
    if not shape or shape[0] < 1:
        raise checks.InputError(f"video should have shape [T, ...] with at least one frame, found {list(shape)}")
    checks.check_floating("video", video)
    if game.own_program is not None and game.own_program > 0:
        raise checks.InputError(
            "baselines ask about single coalitions, which this game makes of smaller ones: make it with "
            "all_subsets=True"
        )
    no_array: Any = None
    functions = game._replace(empty=no_array)
    return _explain(baseline.values, functions, baseline.arrays, game.empty, params, video, key, classes)


def explain_batch(
    baseline: Baseline, game: Game, params: Any, videos: Array, *, key: Any = None, classes: Array | None = None
) -> Attribution:
    """`explain` of every video of videos [B, T, ...], a few at a time; the key is split among them.

    `classes` are those of every video, int [B, K].

    Returns:
      Attribution(values [B, T, C], std_error [B, T, C], full [B, C], empty [B, C]).
    """
    no_array: Any = None
    functions = game._replace(empty=no_array)
    return _explain_batch(baseline.values, functions, baseline.arrays, game.empty, params, videos, key, classes)


@functools.partial(jax.jit, static_argnames=("values_of", "functions"))
def _explain_batch(
    values_of: Any, functions: Game, arrays: Any, empty: Array, params: Any, videos: Array, key: Any, classes: Any
) -> Attribution:
    baseline, game = Baseline(values_of, arrays), functions._replace(empty=empty)
    num_videos = videos.shape[0]
    keys = None if key is None else jax.random.split(key, num_videos)

    def of_one(one: tuple[jax.Array, Any, Any]) -> Attribution:
        video, its_key, its_classes = one
        return explain(baseline, game, params, video, key=its_key, classes=its_classes)

    every = (jnp.asarray(videos), keys, None if classes is None else jnp.asarray(classes))
    # The last batch is filled up, or a program of its own would be compiled for it.
    batch = min(VIDEOS_AT_ONCE, num_videos)
    rows = np.minimum(np.arange(-(-num_videos // batch) * batch), num_videos - 1)
    out = jax.lax.map(of_one, jax.tree.map(lambda x: x[rows], every), batch_size=batch)
    return jax.tree.map(lambda x: x[:num_videos], out)


@functools.partial(jax.jit, static_argnames=("values_of", "functions"))
def _explain(
    values_of: Any, functions: Game, arrays: Any, empty: Array, params: Any, video: Array, key: Any, classes: Any
) -> Attribution:
    def chosen(scores: jax.Array) -> jax.Array:
        return scores if classes is None else scores[..., classes]

    def all_logits(clip: jax.Array, members: Array) -> jax.Array:
        # No children: a level that says so, as plans drawn without regard to them.
        level = Level(members, np.zeros((members.shape[0], 0), np.int32))
        return functions.logits(functions.prepare(params, clip), level, None)[0]

    def logits(clip: jax.Array, members: Array) -> jax.Array:
        return chosen(all_logits(clip, members))

    def worths(clip: jax.Array, members: Array) -> jax.Array:
        found = functions.link(all_logits(clip, members))
        checks.check_shape("the game's worths", found, ("N", empty.shape[0]))
        return chosen(found)

    clip = jnp.asarray(video)
    full = worths(clip, np.arange(clip.shape[0], dtype=np.int32)[None])[0]
    asked = Asked(clip, chosen(jnp.asarray(empty, full.dtype)), logits, worths)
    values, start = values_of(asked, arrays, key)
    return Attribution(values, jnp.zeros_like(values), full, start)

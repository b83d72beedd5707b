"""What a game says of chosen coalitions: the only place that asks it, whatever its form."""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array, Game, Host, Plan, Scales, Subsets
from esv_jax.batches import in_chunks
from esv_jax.coalitions import joint, masks, walk
from esv_jax.coalitions.weights import Coefficients
from esv_jax.explaining.answers import asking

# Coalitions of the form `Masks` asked for at a time: enough to keep matrix products busy, few enough to stay in cache.
ROWS_AT_ONCE = 2048
# Videos worked on at a time: a multi-scale game holds the logits of all subsets of each.
VIDEOS_AT_ONCE = 16


def worths(game: Game, params: Any, video: Any, mask: Array, *, archive: str | os.PathLike | None = None) -> jax.Array:
    """v(S) of any coalitions of one video, float [N, C]; the game's `empty` for those of nobody.

    Compiled once for the shapes at hand, and for games of the form `Subsets` for how many coalitions there are of which
    size. Works under jax.jit and jax.vmap; games of the form `Subsets` need a NumPy mask, those of `Host` do not work.

    Args:
      game: of `esv_jax.games`, of any form.
      params: what the game's functions take first, any pytree (a host game's model, whatever it is).
      video: [T, D], or what the game takes.
      mask: bool or int [N, P], which players are in each coalition, N >= 1.
      archive: for host games, as for `explain`.

    Raises:
      InputError: the shapes do not fit, or what should be concrete is traced.
    """
    video = checks.own_modalities(video) if isinstance(game.form, Host) else checks.own_video("video", video)
    mask = checks.own_video("mask", mask)
    checks.check_shape("mask", mask, ("N", game.num_players(video)))
    checks.check_positive("number of coalitions", len(mask))
    game = game._replace(empty=checks.own("empty", game.empty))
    if isinstance(game.form, Host):
        return _of_host(game, params, video, np.asarray(mask, bool), archive)
    checks.check_for_host(archive=archive)
    params = checks.own("params", params)
    if isinstance(game.form, Subsets):
        checks.check_concrete("mask", mask, "this game is compiled for every size of coalitions; give it in NumPy")
        return _sorted_by_size(game, params, video, np.asarray(mask, bool))
    return _of_any(without_empty(game), game.empty, params, video, mask)


def worths_of_batch(game: Game, params: Any, videos: Any, mask: Array) -> jax.Array:
    """`worths` of N coalitions of every video, float [B, N, C], for videos [B, T, ...] and mask [B, N, P]."""
    mask, videos = np.array(mask, bool), checks.own_video("videos", videos)
    num_videos = len(mask)
    if isinstance(game.form, Host | Subsets):
        return jnp.stack([worths(game, params, video, rows) for video, rows in zip(videos, mask, strict=True)])
    checks.check_shape("mask", mask, (len(videos), "N", game.num_players(videos[0])))
    game = game._replace(empty=checks.own("empty", game.empty))
    params = checks.own("params", params)
    at_once = min(VIDEOS_AT_ONCE, num_videos)
    return _of_batch(without_empty(game), game.empty, params, videos, mask, at_once)


def without_empty(game: Game) -> Game:
    """The game without its array, so that it can be the key of a compiled program."""
    no_array: Any = None
    return game._replace(empty=no_array)


def logits_of_masks(functions: Game, prepared: Any, mask: Array) -> jax.Array:
    """Logits [N, C] of any coalitions, none empty; for games of the form `Subsets` in NumPy. Traceable; not `Host`."""
    if isinstance(functions.form, Subsets):
        order, sizes = _by_increasing_size(np.asarray(mask, bool))
        return _by_size(functions, prepared, jnp.asarray(mask[order]), sizes[1:])[np.argsort(order)]
    logits = functools.partial(functions.logits, prepared)
    if isinstance(functions.form, Scales):
        joined = joint.of_masks(logits, functions.form.num_scales, jnp.asarray(mask))
        return joint.tempered(functions.form, prepared, joined, jnp.asarray(mask))
    return in_chunks(logits, jnp.asarray(mask), ROWS_AT_ONCE)


def logits_of_plan(functions: Game, prepared: Any, plan: Plan) -> jax.Array:
    """Logits [N, C] of a plan's coalitions. Traceable; not of the form `Host`."""
    form = functions.form
    if isinstance(form, Subsets):
        return _by_size(functions, prepared, jnp.asarray(plan.mask), plan.sizes)
    if isinstance(form, Scales) and plan.lineage and not form.all_subsets:
        return _by_lineage(functions, prepared, plan)
    return logits_of_masks(functions, prepared, plan.mask)


def logits_of_coalitions(game: Game, params: Any, video: Any, mask: np.ndarray, sizes: tuple[int, ...]) -> jax.Array:
    """Logits [N, C] of coalitions, by increasing size, so many of each. Not of the form `Host`."""
    return _logits_of_coalitions(without_empty(game), params, video, jax.device_put(mask), sizes)


@functools.partial(jax.jit, static_argnames=("functions", "sizes"))
def _logits_of_coalitions(
    functions: Game, params: Any, video: Any, mask: jax.Array, sizes: tuple[int, ...]
) -> jax.Array:
    return logits_of_plan(functions, functions.prepare(params, video), Plan(mask, (), sizes, ""))


def logits_of_everyone(functions: Game, prepared: Any, num_players: int) -> jax.Array:
    """Logits [1, C] of the coalition of all players: the model's own. Traceable; not of the form `Host`."""
    if isinstance(functions.form, Scales):
        logits = functools.partial(functions.logits, prepared)
        joined = joint.of_everyone(logits, functions.form.num_scales, num_players)
        return joint.tempered(functions.form, prepared, joined, masks.everyone(num_players))
    if isinstance(functions.form, Subsets):
        return functions.logits(prepared, np.arange(num_players, dtype=np.int32)[None])
    return functions.logits(prepared, masks.everyone(num_players))


def sum_over_all(functions: Game, params: Any, video: Any, coefficients: Coefficients) -> walk.Sums:
    """(sums [Q, C], full [C]): `walk.sum_over_all` of a game, and so not of the form `Host`. Traceable."""
    prepared, form = functions.prepare(params, video), functions.form
    logits = functools.partial(functions.logits, prepared)
    temperature = joint.temperatures(form, prepared)
    return walk.sum_over_all(form, logits, functions.link, functions.num_players(video), coefficients, temperature)


def logits_of_heads(functions: Game, prepared: Any, plan: Plan) -> jax.Array:
    """f_s [N, C] of a plan of coalitions of at most M players, and behind them the joint logits of everyone.

    Raises:
      InputError: the game is not one of averaged scores, or of other scales than the plan.
    """
    form, num_players = functions.form, plan.mask.shape[1]
    if not isinstance(form, Scales) or not form.averages_scores:
        raise checks.InputError(
            f'{plan.made_by} is for games of multiscale_game(..., average="scores"), found another game'
        )
    of_heads = (*plan.sizes[:-1], plan.sizes[-1] - 1)
    scales = sum(count > 0 for count in of_heads)
    if scales != min(form.num_scales, num_players):
        raise checks.InputError(f"num_scales should be that of the game, {form.num_scales}, found {scales}")
    heads = _by_size(functions, prepared, jnp.asarray(plan.mask), of_heads)
    return jnp.concatenate([heads, logits_of_everyone(functions, prepared, num_players)])


def check_worths(worths: jax.Array, empty: Array, num_coalitions: int) -> None:
    """Raises InputError unless worths are floating [N, C] with the C of `empty`. Static."""
    checks.check_shape("the game's worths", worths, (num_coalitions, empty.shape[0]))
    checks.check_floating("the game's worths", worths)


def _by_size(functions: Game, prepared: Any, mask: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    found, row = [], 0
    for size, count in enumerate(sizes, start=1):
        if count:
            found.append(functions.logits(prepared, masks.members_of(mask[row : row + count], size)))
            row += count
    return jnp.concatenate(found)


def _by_lineage(functions: Game, prepared: Any, plan: Plan) -> jax.Array:
    """Joint logits by the recurrence over the children that the plan holds; equal sizes share a compiled loop."""
    scale_logits = functools.partial(functions.logits, prepared)
    num_scales = functions.form.num_scales  # type: ignore[union-attr]
    mask = jnp.asarray(plan.mask)
    found: list[jax.Array] = []
    size = row = 0
    below: Any = None

    def one_larger(below: jax.Array, children: jax.Array) -> tuple[jax.Array, jax.Array]:
        joined = joint.from_children(scale_logits, num_scales, num_scales + 1, children, children, below)
        return joined, joined

    for children in plan.lineage:
        length, count, width = children.shape
        own = min(length, max(1, num_scales - size))
        for position in range(own):
            size += 1
            members = masks.members_of(mask[row : row + count], size)
            below = joint.from_children(
                scale_logits, num_scales, size, members, jnp.asarray(children[position])[:, :size], below
            )
            found.append(below)
            row += count
        if own < length:
            below, stacked = jax.lax.scan(one_larger, below, jnp.asarray(children)[own:])
            found.append(stacked.reshape(-1, stacked.shape[2]))
            size, row = width, row + (length - own) * count
    return joint.tempered(functions.form, prepared, jnp.concatenate(found), mask)


def _of_host(game: Game, model: Any, video: Any, mask: np.ndarray, archive: str | os.PathLike | None) -> jax.Array:
    somebody = mask.any(axis=1)
    with asking(game, model, video, archive=archive) as answers:
        if not somebody.any():
            return jnp.tile(jnp.asarray(answers.game.empty)[None], (len(mask), 1))
        found = game.link(jnp.asarray(answers.of(mask[somebody])))
        rows = np.cumsum(somebody) - 1
        empty = jnp.asarray(answers.game.empty, found.dtype)
        return jnp.where(jnp.asarray(somebody)[:, None], found[np.maximum(rows, 0)], empty[None])


def _sorted_by_size(game: Game, params: Any, video: Any, mask: np.ndarray) -> jax.Array:
    order, sizes = _by_increasing_size(mask)
    return _of_sizes(without_empty(game), game.empty, params, video, mask[order], sizes)[np.argsort(order)]


def _by_increasing_size(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """The order of the rows, and how many there are of each size 0..P."""
    size = mask.sum(axis=1)
    return np.argsort(size, kind="stable"), tuple(np.bincount(size, minlength=mask.shape[1] + 1).tolist())


@functools.partial(jax.jit, static_argnames=("functions", "sizes"))
def _of_sizes(
    functions: Game, empty: Array, params: Any, video: Any, mask: jax.Array, sizes: tuple[int, ...]
) -> jax.Array:
    nobody = jnp.tile(jnp.asarray(empty)[None], (sizes[0], 1))
    if sizes[0] == len(mask):
        return nobody
    logits = _by_size(functions, functions.prepare(params, video), mask[sizes[0] :], sizes[1:])
    found = functions.link(logits)
    check_worths(found, empty, len(mask) - sizes[0])
    return jnp.concatenate([nobody.astype(found.dtype), found])


@functools.partial(jax.jit, static_argnames=("functions",))
def _of_any(functions: Game, empty: Array, params: Any, video: Any, mask: jax.Array) -> jax.Array:
    mask = mask.astype(bool)
    nobody = jnp.logical_not(mask.any(axis=1, keepdims=True))
    found = functions.link(logits_of_masks(functions, functions.prepare(params, video), mask | nobody))
    check_worths(found, empty, len(mask))
    return jnp.where(nobody, jnp.asarray(empty, found.dtype)[None], found)


@functools.partial(jax.jit, static_argnames=("functions", "at_once"))
def _of_batch(functions: Game, empty: Array, params: Any, videos: Any, mask: jax.Array, at_once: int) -> jax.Array:
    of_one = jax.vmap(functools.partial(_of_any, functions, empty, params))
    return in_chunks(lambda batch: of_one(*batch), (videos, mask), at_once)

"""Groups first, then what is within the largest of them: Owen values, which add up at every level.

The Owen value (Owen 1977, "Values of games with a priori unions") of entry i of group B is its mean marginal
contribution over all orderings in which no group is torn apart; within B it divides what B has in the game of groups:

    owen[i] = sum over sets R of other groups of w(|R|, G) times the Shapley value of i in S -> v(R and S), S within B
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import CERTAIN, Array, Attribution, Estimator, Game, Host, Player
from esv_jax.coalitions import masks, plans, weights
from esv_jax.explaining.answers import Temporary
from esv_jax.explaining.explain import explain, is_exact
from esv_jax.explaining.worths import worths
from esv_jax.games import players as of_players
from esv_jax.games.groups import grouped

# All subsets of an opened group are asked about.
LARGEST_GROUP = 10
# Pairs of sets of other groups, for a standard error.
LEAST_PAIRS = 4


class CoarseToFine(NamedTuple):
    """What the groups are worth, and what the entries of the largest are.

    Attributes:
      groups: values [G, C] of the groups, as `explain` gives them for `grouped(game, groups)`.
      opened: which groups were opened, the largest first.
      players: P of them, in the order of the groups: an opened one's entries, and those that stayed whole.
      attribution: values [P, C] of the players. Of every opened group they add up to its value. Its `degrees` are the
        least of all, so that intervals may be wider than those of `groups`.
    """

    groups: Attribution
    opened: tuple[int, ...]
    players: tuple[Player, ...]
    attribution: Attribution


def coarse_to_fine(
    estimator: Estimator,
    game: Game,
    params: Any,
    video: Any,
    groups: Iterable[Any],
    *,
    key: Any = None,
    top: int = 2,
    max_evaluations: int = 4096,
    class_index: int | None = None,
    archive: Any = None,
) -> CoarseToFine:
    """Explains groups of frames, then opens those with the largest values, whichever their sign.

    Of an opened group all subsets are asked about, beside all sets of other groups; beside random pairs of these, a set
    and its complement, where max_evaluations do not suffice. What sampling leaves is shared by the entries, so that
    they always add up to their group.

    Args:
      estimator, game, params, video, archive: as for `explain`; the estimator is that of the groups.
      groups: of `esv_jax.players`, as for `grouped`.
      key: PRNG key, where something is sampled.
      top: how many groups are opened: those of at least two entries.
      max_evaluations: coalitions for each of them.
      class_index: the class whose values are compared; None: that with the highest score of the whole video.

    Raises:
      InputError: as `explain` and `grouped`; a group that has more than 10 entries; too few evaluations to open one.
    """
    checks.check_positive("top", top)
    checks.check_budget("max_evaluations", max_evaluations)
    wholes = of_players.checked(groups)
    coarse_game = grouped(game, wholes)
    singles = [of_players.opened(player) for player in wholes]
    fine_game = grouped(game, [single for of_group in singles for single in of_group])
    # Which of the entries each group has, [G, E].
    sizes = [len(of_group) for of_group in singles]
    members = np.repeat(np.eye(len(wholes), dtype=bool), sizes, axis=1)
    for whole, size in zip(wholes, sizes, strict=True):
        if size > 1:
            _check_group(whole, size, max_evaluations, len(wholes), key)
    with tempfile.TemporaryDirectory() as folder:
        # The answers about groups serve those about entries.
        if isinstance(game.form, Host) and archive is None:
            archive = Temporary(Path(folder) / "answers")
        coarse = explain(estimator, coarse_game, params, video, key=key, archive=archive)
        if class_index is None:
            class_index = int(np.argmax(coarse.full))
        elif not 0 <= class_index < coarse.full.shape[0]:
            raise checks.InputError(f"class_index should be within 0..{coarse.full.shape[0] - 1}, found {class_index}")
        largest = np.argsort(-np.abs(np.asarray(coarse.values)[:, class_index]), kind="stable").tolist()
        opened = [group for group in largest if sizes[group] > 1][:top]
        sampled = [_contexts(len(wholes) - 1, max_evaluations >> sizes[group], key, group) for group in opened]
        asked = [_masks(members, group, of_others.mask) for group, of_others in zip(opened, sampled, strict=True)]
        known = [worths(fine_game, params, video, mask, archive=archive) for mask in asked]
    values, std_error = [_rows(coarse.values)], [_rows(coarse.std_error)]
    middle = [_rows(coarse.values if coarse.middle is None else coarse.middle)]
    place = {group: slice(group, group + 1) for group in range(len(wholes))}
    degrees = float(coarse.degrees)
    for group, of_others, found in zip(opened, sampled, known, strict=True):
        divided = _divided(np.asarray(found, np.float64), sizes[group], of_others)
        whole, whole_error = values[0][group], std_error[0][group]
        start = sum(map(len, values))
        place[group] = slice(start, start + sizes[group])
        values.append(divided.values + (whole - divided.values.sum(axis=0)) / sizes[group])
        middle.append(values[-1])
        std_error.append(np.sqrt(divided.std_error**2 + (whole_error / sizes[group]) ** 2))
        degrees = min(degrees, divided.degrees)
    order = np.concatenate([np.arange(place[group].start, place[group].stop) for group in range(len(wholes))])
    dtype = coarse.values.dtype
    attribution = coarse._replace(
        values=jnp.asarray(np.concatenate(values)[order], dtype),
        std_error=jnp.asarray(np.concatenate(std_error)[order], dtype),
        num_evaluations=jnp.asarray(_distinct([_asked_of_groups(estimator, coarse_game, members, key), *asked])),
        sampled=coarse.sampled | any(not of_others.all_of_them for of_others in sampled),
        middle=jnp.asarray(np.concatenate(middle)[order], dtype),
        degrees=jnp.asarray(degrees, dtype),
    )
    shown = [single if g in opened else (wholes[g],) for g, single in enumerate(singles)]
    return CoarseToFine(coarse, tuple(opened), tuple(player for part in shown for player in part), attribution)


class _Contexts(NamedTuple):
    """Sets of other groups: bool [R, G - 1], their weights [R] of sum 1, and whether these are all of them; else each
    is followed by its complement."""

    mask: np.ndarray
    weight: np.ndarray
    all_of_them: bool


class _Divided(NamedTuple):
    """Values and standard errors [b, C] of the entries of a group."""

    values: np.ndarray
    std_error: np.ndarray
    degrees: float


def _check_group(player: Player, size: int, max_evaluations: int, num_groups: int, key: Any) -> None:
    if size > LARGEST_GROUP:
        raise checks.InputError(
            f"groups should have at most {LARGEST_GROUP} entries to be opened, found {size} in "
            f"{checks.shown(player.name)!r}: make more groups of them"
        )
    needed = 2 ** (num_groups - 1 + size)
    least = min(needed, 2 * LEAST_PAIRS << size)
    if max_evaluations < least:
        raise checks.InputError(
            f"max_evaluations should be at least {least} to open a group of {size} entries, found {max_evaluations}"
        )
    if max_evaluations < needed and key is None:
        raise checks.InputError(
            f"key should be given, as max_evaluations={max_evaluations} are fewer than the {needed} coalitions of "
            f"{checks.shown(player.name)!r} and other groups"
        )


def _contexts(num_others: int, most: int, key: Any, group: int) -> _Contexts:
    """All sets of other groups, or as many pairs of them as there may be."""
    if 2**num_others <= most:
        mask = masks.every(num_others)
        size = mask.sum(axis=1)
        return _Contexts(mask, 1 / (num_others + 1) / weights.binomial_row(num_others)[size], True)
    rng = plans.host_generator(key)
    rng = np.random.default_rng([*rng.integers(2**32, size=4).tolist(), group])
    pairs = most // 2
    # Sizes are uniform in the Owen value; here they are spread evenly over all of them.
    size = ((np.arange(pairs) + rng.random()) / pairs * (num_others + 1)).astype(int)
    rank = np.argsort(np.argsort(rng.random((pairs, num_others)), axis=1), axis=1)
    mask = rank < rng.permutation(size)[:, None]
    both = np.stack([mask, np.logical_not(mask)], axis=1).reshape(2 * pairs, num_others)
    return _Contexts(both, np.full(2 * pairs, 0.5 / pairs), False)


def _masks(members: np.ndarray, group: int, of_others: np.ndarray) -> np.ndarray:
    """Entries bool [R 2^b, E]: every set of other groups with every subset of the group, by turns."""
    around = of_others @ np.delete(members, group, axis=0)
    own = np.flatnonzero(members[group])
    within = np.zeros((2 ** len(own), members.shape[1]), bool)
    within[:, own] = masks.every(len(own))
    return (around[:, None] | within[None]).reshape(-1, members.shape[1])


def _divided(found: np.ndarray, size: int, contexts: _Contexts) -> _Divided:
    """The group's entries, from worths [R 2^b, C]."""
    within = masks.every(size)
    shares = weights.of_players(weights.shapley(size))(within, np.float64)
    of_each = np.einsum("sb,rsc->rbc", shares, found.reshape(len(contexts.mask), len(within), -1))
    values = np.einsum("r,rbc->bc", contexts.weight, of_each)
    if contexts.all_of_them:
        return _Divided(values, np.zeros_like(values), CERTAIN)
    pairs = of_each.reshape(-1, 2, *values.shape).mean(axis=1)
    # What is left to the group's own value is shared out: of the sum nothing is sampled.
    pairs = pairs - pairs.mean(axis=1, keepdims=True)
    return _Divided(values, pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs)), len(pairs) - 1)


def _asked_of_groups(estimator: Estimator, game: Game, members: np.ndarray, key: Any) -> np.ndarray:
    num_groups = len(members)
    if is_exact(estimator, game, num_groups):
        return masks.every(num_groups)[1:] @ members
    return np.asarray(estimator.plan(num_groups, key=key).mask) @ members


def _distinct(asked: list[np.ndarray]) -> int:
    """How many coalitions there are in them, that of nobody not counted."""
    packed = np.unique(np.packbits(np.concatenate(asked), axis=1), axis=0)
    return int(packed.any(axis=1).sum())


def _rows(values: Array) -> np.ndarray:
    return np.asarray(values, np.float64)

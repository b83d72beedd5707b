"""How two players act together: interactions of order 2, of all pairs and classes at once."""

import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks, threads
from esv_jax.base import Array, Game, Host, Link, Plan
from esv_jax.coalitions import interaction_weights, masks, paired, plans
from esv_jax.coalitions.interaction_weights import Index
from esv_jax.estimators import completion, least_squares
from esv_jax.estimators.exact import MAX_PLAYERS, MAX_PLAYERS_OF_A_PLAN
from esv_jax.estimators.game_model import Evaluated
from esv_jax.estimators.surrogate import MOST_EVALUATIONS
from esv_jax.explaining import worths as asking
from esv_jax.explaining.answers import asking as asking_host
from esv_jax.precise import matmul

# The model of a sample is asked about all coalitions.
MAX_PLAYERS_SAMPLED = 20
LEAST_FOR_EACH = 3
NAME = "interactions()"


class Interactions(NamedTuple):
    """How a score divides over players and their pairs.

    Attributes:
      values: float [P, P, C], symmetrical: [i, j] what i and j add together beyond what they add apart, below 0 where
        they stand in for one another; [i, i] what is left to player i alone.
      std_error: float [P, P, C], standard error from sampling coalitions; 0 where all were evaluated.
      full: float [C], the model's own score of the whole video.
      empty: float [C], the score of nobody. But for "banzhaf" the sum of values over i <= j is full - empty.
      num_evaluations: int32 [], how many coalitions were evaluated.
      sampled: bool [], whether that was not all of them.
    """

    values: jax.Array
    std_error: jax.Array
    full: jax.Array
    empty: jax.Array
    num_evaluations: Any = 0
    sampled: Any = False


def interactions(
    game: Game,
    params: Any,
    video: Any,
    *,
    index: Index = "k-sii",
    max_evaluations: int | None = None,
    key: Any = None,
    archive: str | os.PathLike | None = None,
) -> Interactions:
    """Which two frames (or whatever the game's players are) carry a relation: interactions, by pair and class.

    A pair has an interaction where what one frame adds to a score depends on whether the other is there: a change has
    to be seen before and after. It is no better a sign of which frames are evidence than single frames' values are.

    Indices (`coalitions.interaction_weights` has the definitions and sources):
      "k-sii": Shapley interactions; on the diagonal the Shapley value less half of a player's interactions.
      "shapley-taylor": each gets the interactions of all orders above 2; on the diagonal v(i) - v(nobody).
      "banzhaf": means over all coalitions of others; on the diagonal Banzhaf values. The sum is not full - empty.

    Exact where all coalitions are evaluated; they are streamed, as `explain` does, and `jax.jit` and `jax.vmap` work.
    Of a sample (pairs of complements) a model of the game is fitted, as for `surrogate`, that says what all others are
    worth (`estimators.completion`).

    Args:
      game, params, video: as for `explain`; games of any form.
      index: which one.
      max_evaluations: how many coalitions to evaluate at most, at least 3 P; None: all of them.
      key: PRNG key, where they are fewer than all.
      archive: for host games, as for `explain`: a file that keeps what the model says.

    Raises:
      InputError: shapes or dtypes do not fit, no such index, too small a budget or no key for it; more than 20 players
        where coalitions are sampled or the game is a host's, or else than 30.
    """
    interaction_weights.check_index(index)
    is_host = isinstance(game.form, Host)
    if not is_host:
        checks.check_for_host(archive=archive)
        params = checks.own("params", params)
    video = checks.own_modalities(video) if is_host else checks.own_video("video", video)
    game = game._replace(empty=checks.own("empty", game.empty))
    num_players = game.num_players(video)
    plan, strata = _planned(num_players, max_evaluations, key, is_host)
    functions = asking.without_empty(game)
    if plan is None:
        return _of_all(index, functions, game.empty, params, video)
    if is_host:
        with asking_host(game, params, video, archive=archive) as answers:
            said: Array = answers.of(plan.mask)
            game = answers.game
    else:
        said = asking.logits_of_coalitions(functions, params, video, np.asarray(plan.mask), plan.sizes)
    mask, logits, empty = jax.device_put((plan.mask, said, game.empty))
    return threads.run(_of_logits, index, game.link, strata, empty, mask, logits)


class _Drawn(NamedTuple):
    """`paired.Strata` that can be static."""

    drawn: tuple[int, ...]
    population: tuple[float, ...]


def _planned(
    num_players: int, max_evaluations: int | None, key: Any, is_host: bool
) -> tuple[Plan | None, _Drawn | None]:
    """The plan, where one is needed, and how many pairs it holds, where it is a sample."""
    everything = 2**num_players - 1
    if max_evaluations is not None:
        checks.check_budget("max_evaluations", max_evaluations)
    budget = everything if max_evaluations is None else max_evaluations
    sampled = budget < everything
    limit = MAX_PLAYERS_SAMPLED if sampled else MAX_PLAYERS_OF_A_PLAN if is_host else MAX_PLAYERS
    if num_players > limit:
        raise checks.InputError(
            f"interactions should be asked of at most {limit} players here, found {num_players}: show fewer frames, or "
            "let shots or segments be the players (esv_jax.grouped)"
        )
    if not sampled:
        return (plans.exhaustive(num_players, NAME) if is_host else None), None
    checks.check_budget("max_evaluations", budget, MOST_EVALUATIONS)
    paired.check_budget(num_players, budget, LEAST_FOR_EACH * num_players)
    strata = least_squares.strata(num_players, budget)
    plan = least_squares.plan(num_players, budget, key, NAME)
    return plan, _Drawn(tuple(strata.drawn.tolist()), tuple(strata.population.tolist()))


@functools.partial(jax.jit, static_argnames=("index", "functions"))
def _of_all(index: Index, functions: Game, empty: Array, params: Any, video: Any) -> Interactions:
    """All coalitions, streamed without a plan."""
    num_players = functions.num_players(video)
    coefficients = interaction_weights.coefficients(index, num_players)
    sums, full = asking.sum_over_all(functions, params, video, coefficients)
    asking.check_worths(full[None], empty, 1)
    empty = jnp.asarray(empty, full.dtype)
    nobody = coefficients(np.zeros((1, num_players), bool), full.dtype)
    sums = sums + jnp.asarray(nobody).T * empty[None]
    return _told(sums, jnp.zeros_like(sums), full, empty, num_players, 2**num_players - 1, False)


@functools.partial(jax.jit, static_argnames=("index", "link", "strata"))
def _of_logits(
    index: Index, link: Link, strata: _Drawn | None, empty: Array, mask: Array, logits: jax.Array
) -> Interactions:
    """What the logits [N, C] of a plan's coalitions say; without `strata` these are all there are."""
    worths = link(logits)
    asking.check_worths(worths, empty, len(mask))
    empty, num_players = jnp.asarray(empty, worths.dtype), mask.shape[1]
    coefficients = interaction_weights.coefficients(index, num_players)
    if strata is None:
        every = jnp.concatenate([jnp.zeros((1, num_players), bool), mask])
        sums = matmul(coefficients(every, worths.dtype).T, jnp.concatenate([empty[None], worths]))
        std_error = jnp.zeros_like(sums)
    else:
        state = Evaluated(masks.as_float(mask, worths.dtype), worths, logits)
        drawn = paired.Strata(np.array(strata.drawn), np.array(strata.population))
        sums, std_error = completion.complete(state, drawn, empty, link, coefficients)
    return _told(sums, std_error, worths[-1], empty, num_players, len(mask), strata is not None)


def _told(
    sums: jax.Array, std_error: jax.Array, full: jax.Array, empty: Any, num_players: int, count: int, sampled: bool
) -> Interactions:
    values, errors = (interaction_weights.as_matrix(a, num_players) for a in (sums, std_error))
    return Interactions(values, errors, full, empty, jnp.asarray(count, jnp.int32), jnp.asarray(sampled))

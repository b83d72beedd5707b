"""The four things that everything else is made of. Read this first; there is no maths here.

The alphabet, everywhere: B videos, T frames, D features, C classes, N coalitions, k coalition size, M scales.

    video [T, D] --game.prepare--> prepared
    plan (levels k = 1..T)  --game.worths--> worths [N_k, C] --estimator--> Attribution
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray


class Level(NamedTuple):
    """The coalitions of one size k that a plan evaluates.

    Attributes:
      members: int32 [N_k, k], frame indices of each coalition, increasing along the row.
      children: int32 [N_k, k], the row in level k-1 of the coalition without its p-th member; -1 where level k-1 does
        not hold it. Level 1's only child, the empty coalition, is row 0.
      inside: int [N, T], the indicator of the same coalitions where it is known anyway, else None.
    """

    members: Array
    children: Array
    inside: Array | None = None


class Plan(NamedTuple):
    """Which coalitions to evaluate, for every size k = 1..T.

    Depends on the number of frames, the budget and a key, never on a video: one plan serves any number of videos (which
    then share its sampling error). A pytree of int32 arrays: passed to a jitted function, another plan of the same
    sizes does not retrace. Made by `estimator.plan`, or of levels by `coalitions.plans.pack`.

    Attributes:
      levels: one for each size, in this order; to read.
      runs: the same for the machine: neighbouring sizes with equally many rows stacked, so that one compiled loop
        serves them all: members and children int32 [L, N, w], w the last size of the run. Rows are filled up with -1,
        and children hold those in the plan first, so a column no longer says which member is left out. A plan whose
        coalitions were drawn without regard to children is one run of all sizes, [1, N, T], with children [1, N, 0].
    """

    levels: tuple[Level, ...]
    runs: tuple[Level, ...]


class Game(NamedTuple):
    """Worths of coalitions of frames: v(S) = link(logits(S)), v(empty) = `empty`. Made by a factory of `esv_jax.games`.

    Attributes:
      empty: float [C], the worth of no frames (the class prior).
      prepare: (params, video [T, D]) -> prepared; what all coalitions of one video share, computed once.
      logits: (prepared, level, carry) -> (logits [N, C], carry); `carry` is what this game hands from a level to the
        next (None below level 1, and for games that need nothing).
      link: logits [N, C] -> worths [N, C], row by row: softmax, or nothing for games that give worths themselves.
      own_program: sizes 1..own_program come to `logits` with members [N_k, k] and are compiled each on its own. Larger
        ones come as in a plan's runs, filled up with -1; with 0, rows of different sizes may also come together.
        None: all sizes need a program of their own.
      sum_over_all: a shortcut for exact estimators, where the game has one: (prepared, with_frame, without_frame) ->
        (values [T, C], full [C], trusted: bool [] or True), as `whole_lattice.sum_over_all`; if not trusted, all are
        visited.
      subset_scores: of games that are means over subsets of at most own_program frames (`games.score_average`):
        (prepared, level) -> what is averaged, [N, C]. Else None.
      prepare_for_all: takes the place of `prepare` where every coalition will be asked for, or None.
    """

    empty: Array
    prepare: Callable[[Any, jax.Array], Any]
    logits: Callable[[Any, Level, Any], tuple[jax.Array, Any]]
    link: Callable[[jax.Array], jax.Array]
    own_program: int | None
    sum_over_all: Callable[..., tuple[jax.Array, jax.Array, Any]] | None = None
    subset_scores: Callable[[Any, Level], jax.Array] | None = None
    prepare_for_all: Callable[[Any, jax.Array], Any] | None = None


class Estimator(NamedTuple):
    """Turns the worths of a plan's coalitions into values. Made by a factory of `esv_jax.estimators`.

    Attributes:
      plan: (num_frames, *, key=None) -> Plan, made on the host.
      init: (num_frames, empty [C]) -> state.
      update: (state, members [N, w], worths [N, C], logits [N, C]) -> state, called for levels or runs in turn.
      finish: (state, empty [C], full [C], link) -> (values [T, C], std_error [T, C]).
      weights: for exact estimators: num_frames -> (with_frame [T + 1], without_frame [T + 1]), the weights of v(S) by
        |S| in the value of the frames in S and of those not in S; `explain` then needs no plan. None, for all or for
        this number of frames, if it samples.
      of_subsets: for estimators that ask for a game's `subset_scores` in place of worths: (num_frames, levels,
        scores [N_s, C] of sizes 1.., empty [C], own_program) -> Attribution. Else None.
    """

    plan: Callable[..., Plan]
    init: Callable[[int, jax.Array], Any]
    update: Callable[[Any, Array, jax.Array, jax.Array], Any]
    finish: Callable[[Any, jax.Array, jax.Array, Callable[[jax.Array], jax.Array]], tuple[jax.Array, jax.Array]]
    weights: Callable[[int], tuple[np.ndarray, np.ndarray] | None] | None = None
    of_subsets: Callable[..., "Attribution"] | None = None


def exact_weights(estimator: Estimator, num_frames: int) -> tuple[np.ndarray, np.ndarray] | None:
    """`estimator.weights` for so many frames; None where it samples, and so needs a plan."""
    return None if estimator.weights is None else estimator.weights(num_frames)


class Attribution(NamedTuple):
    """How a score divides over the frames.

    Attributes:
      values: float [T, C], the Element Shapley Value of every frame for every class.
      std_error: float [T, C], standard error of `values` from sampling coalitions; 0 for exact estimators.
      full: float [C], the score of the whole video.
      empty: float [C], the score of no frames. For estimators with efficiency, values.sum(0) = full - empty.
    """

    values: jax.Array
    std_error: jax.Array
    full: jax.Array
    empty: jax.Array

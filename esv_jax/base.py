"""The four things that everything else is made of. Read this first; there is no maths here.

The alphabet, everywhere: B videos, T frames, P players, D features, C classes, N coalitions, k coalition size, M
scales. Players are what a score is divided over: the T frames of a video, unless a game says otherwise.

    plan      which coalitions to ask about     host, NumPy    estimator.plan(P, key=key) -> Plan, masks [N, P]
    worths    what the game says of them        device, host   game.prepare, .logits, .link -> worths [N, C]
    estimate  worths -> values and their errors device         estimator.estimate -> Estimate, of values [P, C]

`explaining.explain` takes the three steps. Where all 2^P coalitions are asked for, the first two are one: they are made
and summed on the device (`Game.exact`), never held.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks, student

Array = jax.Array | np.ndarray
Link = Callable[[jax.Array], jax.Array]
# Weights of v(S) by |S| = 0..P, float64 [P + 1] each: in the value of a player in S, and of one not in S.
WeightsBySize = tuple[np.ndarray, np.ndarray]


# Forms are told apart by their types; NamedTuples of equal fields would be equal.
@dataclasses.dataclass(frozen=True)
class Masks:
    """`Game.logits`: (prepared, mask bool [N, P]) -> logits [N, C]. Coalitions of any sizes at once, none empty."""


@dataclasses.dataclass(frozen=True)
class Subsets:
    """`Game.logits`: (prepared, members int32 [N, k]) -> logits [N, C]. Coalitions of one size k = 1..P a call, the
    members increasing along a row; compiled anew for every k."""


@dataclasses.dataclass(frozen=True)
class Scales:
    """`Game.logits`: (prepared, members int32 [N, s]) -> f_s [N, C], as for `Subsets` but for s = 1..M only. The logits
    of a coalition S are joined out of these by esv_jax (`coalitions.joint`), never by the game:

        A(S) = mean over sizes s <= min(|S|, M) of the mean of f_s over the size-s subsets of S

    Attributes:
      num_scales: M.
      all_subsets: True: A(S) is what it says, whatever coalitions a plan holds. Where there are more than 2^20 subsets
        of at most M players, the means are those of random ones, the same for the same S. False: as in the paper, a
        plan that holds lineages (those of `stratified` and `orderings`) has A(S) joined from the children of S that it
        holds, which is an estimate, and a biased one where a link follows.
      averages_scores: whether f_s are scores and `link` is `identity`, so that worths are linear in them.
      temperature: prepared -> float [T], what A(S) is divided by, by the number of frames in S (1..T); None: by 1.
    """

    num_scales: int
    all_subsets: bool = True
    averages_scores: bool = False
    temperature: Callable[[Any], jax.Array] | None = None


class Player(NamedTuple):
    """What is shown or removed together: a frame, a shot, a window of the sound, a word. Made by `games.players`.

    Attributes:
      name: for tables and pictures.
      parts: (modality, indices) each: which entries along the first axis of the video, "frames", or of one of its
        modalities where it is a mapping of several.
    """

    name: str
    parts: tuple[tuple[str, tuple[int, ...]], ...]


@dataclasses.dataclass(frozen=True)
class Host:
    """`Game.logits`: (prepared, mask, NumPy bool [N, E]) -> logits, NumPy floating [N, C]. As `Masks`, on the host: JAX
    neither traces nor compiles it, nor `prepare`, which is given `params` and `video` as the user gave them.

    Attributes:
      players: which of the E entries of a video are shown together; None: every entry is a player of its own. Set by
        `grouped`, with `num_entries`: video -> E.
      batch_size: coalitions in a call. workers: calls at a time, each in a thread.
      retries: how often a call is repeated after errors of the connection.
      check: whether everyone is asked about twice, to refuse a model that does not say the same.
      about: what else decides the answers, in words: they are not taken for those of another game.
      code: a digest of the functions that decide them; where it changes, it is warned of.
    """

    batch_size: int = 2048
    workers: int = 1
    retries: int = 0
    check: bool = False
    about: str = ""
    code: str = ""
    players: tuple[Player, ...] | None = None
    num_entries: Callable[[Any], int] | None = None


Form = Masks | Subsets | Scales | Host


def one_player_a_frame(video: Any) -> int:
    """The number of frames T of a video [T, ...].

    Raises:
      InputError: it has no first axis.
    """
    shape = np.shape(video)
    if not shape or shape[0] < 1:
        raise checks.InputError(f"video should have shape [T, ...] with at least one frame, found {list(shape)}")
    return shape[0]


class Game(NamedTuple):
    """Worths of coalitions of players: v(S) = link(logits(S)), v(nobody) = `empty`. Made by a factory of `games`.

    The functions are static: they must compare equal when the game is made again (put `functools.lru_cache` on what
    makes them), or every game compiles anew; and they must not hold arrays, which a compiled program would keep.
    Functions that compare equal are taken for the same.

    Attributes:
      empty: float [C], the worth of nobody (the class prior); None for a game of the form `Host` that can be asked.
      prepare: (params, video) -> prepared, any pytree: what all coalitions of one video share, computed once.
      logits: what it is given is said by `form`; float [N, C], row by row.
      link: logits [N, C] -> worths [N, C], row by row: `jax.nn.softmax`, or `identity` where logits are worths.
      form: how `logits` is to be asked: `Masks()`, `Subsets()`, `Scales(M)` or `Host()`.
      num_players: video -> P, by its shape alone; as a rule its number of frames.
      exact: only for a game that can sum over all coalitions for far less than an evaluation each: (params, video,
        with_player, without_player), weights float64 [P + 1] by |S| -> (values [P, C], full [C]): of every player i the
        sum over S, but nobody, of v(S) times the one weight where i is in S and the other where not; and v(everyone).
    """

    empty: Array
    prepare: Callable[[Any, Any], Any]
    logits: Callable[[Any, Any], Any]
    link: Link
    form: Form
    num_players: Callable[[Any], int] = one_player_a_frame
    exact: Callable[[Any, Any, np.ndarray, np.ndarray], tuple[jax.Array, jax.Array]] | None = None


def identity(logits: jax.Array) -> jax.Array:
    """The link of games whose logits are worths."""
    return logits


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Plan:
    """Which coalitions to evaluate. Depends on the number of players, a budget and a key, never on a video: one plan
    serves any number of videos, which then share its sampling error.

    A pytree of arrays: passed to a jitted function, another plan of the same sizes does not trace again. Made by
    `estimator.plan`, or of masks by `coalitions.plans`.

    Attributes:
      mask: bool [N, P], who is in each coalition; rows by increasing size, none empty, the last one everyone.
      lineage: for plans in which coalitions grow out of one another: which coalitions of the size below are children
        (the coalition less one player), by runs of sizes with equally many coalitions, int32 [L, n, w] each, w the last
        size of the run. Rows number the coalitions of the size below and are filled up with -1 behind the children.
        Else ().
      sizes: static; how many coalitions of each size 1..P.
      made_by: static; the `name` of the estimator that it is for.
    """

    mask: Array
    lineage: tuple[Array, ...]
    sizes: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    made_by: str = dataclasses.field(metadata={"static": True})

    def made_for(self, name: str) -> "Plan":
        """The same plan for the estimator of this name, which leaves its work to the one that made it."""
        return dataclasses.replace(self, made_by=name)


# Degrees of freedom of intervals by the normal distribution, and of values that no sampling went into. A number:
# infinities stop those who look for their model's own (jax_debug_infs).
CERTAIN = 2.0**30


class Estimate(NamedTuple):
    """What an estimator says of the players, and how sure it is.

    Attributes:
      values: float [P, C].
      std_error: float [P, C], of `middle`, from sampling coalitions; 0 where all were evaluated.
      middle: float [P, C], what intervals lie around; `values`, unless these lean on a model that errs to one side.
      degrees: float [], of Student's t in intervals; `CERTAIN` where all were evaluated, 0 where the samples are too
        few for an interval, which is then infinite.
      influence, deviation: float [P, R] and [R, C], the errors of the middle as independent ones of R samples: the
        variance of sum over i of a_i middle[i] is sum over r of (sum over i of a_i influence[i, r])^2 deviation[r]^2.
        None where an estimator does not know them.
    """

    values: jax.Array
    std_error: jax.Array
    middle: jax.Array
    degrees: Any
    influence: jax.Array | None = None
    deviation: jax.Array | None = None


def exactly(values: jax.Array) -> Estimate:
    """The estimate of values that no sampling went into."""
    return Estimate(values, jnp.zeros_like(values), values, jnp.asarray(CERTAIN, values.dtype))


class Estimator(NamedTuple):
    """Turns the worths of a plan's coalitions into values. Made by a factory of `esv_jax.estimators`.

    Attributes:
      name: says which it is and with what options: "regression(max_evaluations=64)".
      plan: (num_players, *, key=None) -> Plan, made on the host.
      estimate: (plan, worths [N, C], logits [N, C], empty [C], link) -> Estimate, of all coalitions of the plan in its
        order, worths[-1] the score of everyone. Refuses the plan of another estimator.
      weights: for estimators that are exact: (num_players, sums) -> the weights of v(S) by |S| in the values, or None
        where it samples; `sums` says whether the game has an `exact` of its own, whose cost is not that of 2^P
        evaluations. `explain` then needs no plan.
      of_scales: whether worths and logits should be those of the heads, p_s(R) = link(f_s(R)), in place of the joint
        ones (everyone's alone are joint): for games of the form `Scales` that average scores.
      grown: for estimators that can go on: (num_players, max_evaluations) -> the same one with the largest plan of at
        most so many coalitions. Plans of one key hold those of fewer coalitions.
    """

    name: str
    plan: Callable[..., Plan]
    estimate: Callable[[Plan, jax.Array, jax.Array, jax.Array, Link], Estimate]
    weights: Callable[[int, bool], WeightsBySize | None]
    of_scales: bool = False
    grown: Callable[[int, int], "Estimator"] | None = None


def samples(num_players: int, sums: bool) -> None:
    """`Estimator.weights` of those that always sample."""


def check_maker(plan: Plan, name: str) -> None:
    """Raises InputError unless `plan` was made by the estimator of this name. Static."""
    if not isinstance(plan, Plan):
        raise checks.InputError(f"plan should be what {name}.plan(P, key=key) gives, found {type(plan).__name__}")
    if plan.made_by != name:
        raise checks.InputError(f"plan should be made by this estimator, {name}, found one made by {plan.made_by}")


class Attribution(NamedTuple):
    """How a score divides over the players.

    Attributes:
      values: float [P, C], the Element Shapley Value of every player for every class.
      std_error: float [P, C], standard error from sampling coalitions, of `middle`; 0 where all were evaluated.
      full: float [C], the model's own score of the whole video (see `Scales` for what that is where there are too many
        subsets of its frames).
      empty: float [C], the score of nobody. For estimators with efficiency, values.sum(0) = full - empty.
      num_evaluations: int32 [], how many coalitions were evaluated; 0 for methods that ask for no worths.
      sampled: bool [], whether that was not all of them.
      middle: float [P, C], what intervals lie around; None: `values`.
      degrees: float [], of Student's t in intervals.
      widened: float [], how much wider intervals are than of values looked at once: above 1 where it depended on them
        whether more was sampled (`explain_until`).
    """

    values: jax.Array
    std_error: jax.Array
    full: jax.Array
    empty: jax.Array
    num_evaluations: Any = 0
    sampled: Any = False
    middle: jax.Array | None = None
    degrees: Any = CERTAIN
    widened: Any = 1.0

    def interval(self, level: float = 0.95) -> tuple[jax.Array, jax.Array]:
        """(low, high), float [..., P, C] each, that are to hold the true values with a chance of `level`.

        Student's t around `middle`, stretched on one side where that is needed to hold `values`.
        """
        if not 0 < level < 1:
            raise checks.InputError(f"level should be between 0 and 1, found {level}")
        middle = jnp.asarray(self.values if self.middle is None else self.middle)
        reach = (student.quantile((1 + level) / 2, self.degrees) * self.widened)[..., None, None].astype(middle.dtype)
        # Of too few samples some agree by chance: they have no interval either.
        half = jnp.where(self.std_error > 0, reach * self.std_error, jnp.where(jnp.isinf(reach), reach, 0))
        return jnp.minimum(self.values, middle - half), jnp.maximum(self.values, middle + half)

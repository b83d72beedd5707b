"""Values of a regression model of the scores, corrected by the worths that were evaluated."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Estimate, Estimator, Link, Plan, check_maker, samples
from esv_jax.batches import in_chunks
from esv_jax.coalitions import masks, paired
from esv_jax.estimators import cross_fit, game_model, least_squares, logit_fit, odd_ridge, surrogate_samples
from esv_jax.estimators.game_model import Evaluated, Model

# How many coalitions the fitted model is asked about in a round: all of them up to 16 players.
SURROGATE_SAMPLES = 2**16
LEAST_SAMPLES = 4
# Rounds go on until their sampling error is small beside that of the evaluated coalitions; the linear model costs less.
MAX_ROUNDS, MAX_ROUNDS_OF_LINEAR = 3, 8
NEGLIGIBLE = 0.1
FOLDS = 5
# From so many coalitions (63 pairs and everyone) on the cross-fitted values are good enough to lean on.
ROWS_TO_LEAN = 127
# With fewer the squares of their errors are taken for so many times larger.
DOUBT = 4.0
# What a model that explains less than half of the worths' variance says is halved, at 2 evaluations a player.
UNEXPLAINED = 0.5
# Models that leave out a fold are compared on so many coalitions, and have so many centres at most.
SAMPLES_OF_FOLDS = 2**11
CENTRES_OF_FOLDS = 256
# Scores of coalitions that are held in a round: 1 GB.
MOST_SCORES = 2**28
ROUNDING = 4
# Beyond, a fit takes gigabytes.
MOST_EVALUATIONS = 2**18


@functools.lru_cache(maxsize=64, typed=True)
def surrogate(*, max_evaluations: int) -> Estimator:
    """A model of the game is fitted to the evaluated coalitions, and what it misses is estimated.

    What estimators that see only a scalar game cannot do:

    1. Fit the game, all classes at once, by ridge regression on functions of the coalition (`logit_fit`): linear in the
       frames, or of its similarity to others in frames and their order, in a metric learned from the fit. Fitted are
       logits and worths; where worths are probabilities that a game tells without their logits, their logarithms and
       worths. The model is the mean of these fits by their leave-one-out errors of worths; with enough coalitions to
       learn a metric from, the best fit alone.
    2. Take the model's values from very many coalitions (all of them up to 16 players, rounds of 65 000 beyond), which
       cost no evaluation of the game.
    3. Add the values of the worths' residuals: by least squares, with what depends on sizes alone under control where
       that leaves less. With less than 5 evaluations a player by ridge regression (`odd_ridge`); and as far as the
       model explains little, take the mean with what that says without it.
    4. Fit the same without a fold of the pairs, for every fold: what these models say of the pairs that they have not
       seen gives intervals, and as a rule from 128 evaluations on better values (`cross_fit`).

    Efficient. Exact where the budget holds all coalitions; a game whose logits are a mean over frames (TSN) is fitted
    exactly by about 3 coalitions a player. Not linear in the worths: the data choose the fit. Gradients with
    respect to worths take the metric as given.

    Intervals lie around a middle that leans on the model only as far as pairs it has not seen confirm it.

    Args:
      max_evaluations: how many coalitions to evaluate at most, the whole video among them; at least P + 1.
    """
    checks.check_budget("max_evaluations", max_evaluations, MOST_EVALUATIONS)
    name = f"surrogate(max_evaluations={max_evaluations})"

    def plan(num_players: int, *, key: Any = None) -> Plan:
        paired.check_budget(num_players, max_evaluations, num_players + 1)
        return least_squares.plan(num_players, max_evaluations, key, name)

    def estimate(plan: Plan, worths: jax.Array, logits: jax.Array, empty: jax.Array, link: Link) -> Estimate:
        check_maker(plan, name)
        strata = least_squares.strata(plan.mask.shape[1], max_evaluations)
        evaluated = Evaluated(masks.as_float(plan.mask, worths.dtype), worths, logits)
        without_model = least_squares.regress(plan, worths, empty, strata)
        if (strata.drawn == strata.population).all():
            return without_model
        # A fit that failed numerically is not NaN's excuse: what needs no fit stands in for it.
        found = _estimate(evaluated, strata, empty, link)
        sound = jnp.isfinite(found.values).all() & jnp.isfinite(found.std_error).all()
        return jax.tree.map(lambda a, b: jnp.where(sound, a, b), found, without_model)

    return Estimator(name, plan, estimate, samples, grown=_grown)


def _grown(num_players: int, max_evaluations: int) -> Estimator:
    return surrogate(max_evaluations=max_evaluations)


def _estimate(state: Evaluated, strata: paired.Strata, empty: jax.Array, link: Link) -> Estimate:
    num_rows, num_players = state.mask.shape
    dtype = state.worths.dtype
    weight, fpc = least_squares.pair_weights(num_players, strata)
    num_pairs = len(weight)
    links, targets = game_model.targets(state, link)
    # Leave-one-out errors count where coalitions were left out, as much as those weigh in the values.
    counts = jnp.asarray(np.concatenate([weight * fpc, (weight * fpc)[::-1], [0]]), dtype)
    fit = functools.partial(game_model.fit, state, links, targets, counts)
    total = state.worths[-1] - empty
    odd = paired.odd_parts(state.worths, strata)
    # Behind the barrier the compiler cannot try to work out in advance what depends on these alone.
    sample, asked = jax.lax.optimization_barrier(
        jax.tree.map(lambda a: jnp.asarray(a, dtype), _fixed_sample(num_players, num_rows, len(total)))
    )

    def say(model: Model) -> tuple[jax.Array, jax.Array]:
        """The model's odd parts [pairs, C], and its values [P, C] by a fixed sample: the models differ smoothly."""
        of_pairs = jnp.concatenate([small, 1 - small, sample, 1 - sample])
        found = game_model.worths(model, links, of_pairs)
        by_pair, by_sample = _odd(found[: 2 * num_pairs]), _odd(found[2 * num_pairs :])
        return by_pair, least_squares.values(asked, by_sample, jnp.zeros_like(total))[0]

    small = state.mask[:num_pairs]
    designs = (
        least_squares.design(small, jnp.asarray(weight, dtype)),
        least_squares.design(small, jnp.asarray(weight, dtype), strata),
    )

    fold = cross_fit.folds(fpc, FOLDS)
    count = int(fold.max()) + 1
    # Which rows the model sees: all of them; then, for every fold, the others.
    held_out = np.arange(count)[:, None] == fold[None]
    others = ~np.concatenate([held_out, held_out[:, ::-1], np.zeros((count, 1), bool)], axis=1)
    kept = jnp.asarray(np.concatenate([np.ones((1, num_rows)), others]), dtype)
    if num_rows <= CENTRES_OF_FOLDS:
        # One program for all of them; of models, which are large where there are many classes, the first one is kept.
        of_rows = functools.partial(fit, most_centres=num_rows)

        def one(first: Model, given: tuple[jax.Array, jax.Array]) -> tuple[Model, tuple[jax.Array, jax.Array]]:
            rows, is_first = given
            found = of_rows(rows)
            return jax.tree.map(lambda a, b: jnp.where(is_first, a, b), found, first), say(found)

        nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(of_rows, kept[0]))
        model, (said, of_sample) = jax.lax.scan(one, nothing, (kept, np.arange(count + 1) == 0))
    else:
        model = fit(kept[0], most_centres=logit_fit.MAX_CENTRES)
        of_folds = jax.lax.map(lambda rows: say(fit(rows, most_centres=CENTRES_OF_FOLDS)), kept[1:])
        said, of_sample = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), say(model), of_folds)
    modelled, differ = said[0], of_sample[1:].mean(axis=0) - of_sample[0]
    # What the models say that have not seen a pair; of pairs that all have seen, what they say on average.
    predicted = jnp.where(
        jnp.asarray(fold >= 0)[:, None],
        said[jnp.asarray(fold + 1), jnp.arange(num_pairs)],
        said[1:].mean(axis=0),
    )

    # How much can be gained by asking the model about more coalitions: the errors of the evaluated ones say.
    crossed = cross_fit.around(designs, odd, predicted, total, weight, fpc)
    missed = odd - modelled
    values, noise = _values_of_model(
        model,
        links,
        total,
        _asked(num_players, num_rows, len(total)),
        surrogate_samples.key_of(state.mask),
        NEGLIGIBLE * (crossed.std_error**2).sum(),
    )
    middle = crossed.alone + crossed.beta * (values + differ)
    if num_rows < game_model.ROWS_FOR_LEAST_SQUARES * num_players:
        ridge = functools.partial(odd_ridge.values, small, counts=jnp.asarray(weight * fpc, dtype))
        # As far as the model explains little, its mean with what there is without it.
        doubtful = num_players / num_rows * jnp.clip(model.unexplained / UNEXPLAINED, 0, 1)
        left, alone = jax.vmap(ridge)(jnp.stack([missed, odd]), jnp.stack([jnp.zeros_like(total), total]))
        reported = (1 - doubtful) * (values + left) + doubtful * alone
    else:
        reported = values + cross_fit.best_fit(designs, missed, jnp.zeros_like(total), weight, fpc)
    reported = cross_fit.lean(reported, middle, crossed, 1.0 if num_rows >= ROWS_TO_LEAN else DOUBT)
    # Where a fit is exact its errors are those of floating-point numbers.
    rounding = ROUNDING * jnp.finfo(dtype).eps * jnp.abs(state.worths).max()
    return Estimate(
        reported,
        jnp.sqrt(crossed.std_error**2 + noise + rounding**2),
        middle,
        crossed.degrees,
        crossed.influence,
        crossed.deviation,
    )


def _odd(worths: jax.Array) -> jax.Array:
    """(v(S) - v(the rest)) / 2 of worths [2 n, C], first of all S, then of what they leave."""
    small, large = jnp.split(worths, 2)
    return (small - large) / 2


def _values_of_model(
    model: Model,
    links: tuple[Link, Link],
    total: jax.Array,
    asked: paired.Strata,
    key: jax.Array,
    negligible: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Values [P, C] of the model, and their squared standard errors: rounds until the sum of these is `negligible`."""
    num_players, at_once = model.centres.shape[1], game_model.rows_at_once(model)

    def odd(rows: jax.Array) -> jax.Array:
        return _odd(game_model.worths(model, links, jnp.concatenate([rows, 1 - rows])))

    if (asked.drawn == asked.population).all():
        mask = surrogate_samples.pairs(num_players, asked, key, total.dtype)
        values = least_squares.solve_all(mask, odd, total, at_once)
        return values, jnp.zeros_like(values)

    def one_round(turn: jax.Array) -> tuple[jax.Array, jax.Array]:
        mask = surrogate_samples.pairs(num_players, asked, jax.random.fold_in(key, turn), total.dtype)
        found = least_squares.solve(mask, in_chunks(odd, mask, at_once), total, asked)
        return found.values, found.std_error**2

    is_linear = (model.of_smooth == 0).all()
    most = jnp.where(is_linear, jnp.uint32(MAX_ROUNDS_OF_LINEAR), jnp.uint32(MAX_ROUNDS))

    def goes_on(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        turn, _, noise = state
        so_far = noise.sum() / jnp.maximum(turn, 1).astype(noise.dtype) ** 2
        return (turn == 0) | ((turn < most) & (so_far > negligible))

    def step(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        turn, values, noise = state
        more = one_round(turn)
        return turn + 1, values + more[0], noise + more[1]

    nothing = jnp.zeros((num_players, len(total)), total.dtype)
    rounds, values, noise = jax.lax.while_loop(goes_on, step, (jnp.uint32(0), nothing, nothing))
    count = rounds.astype(total.dtype)
    return values / count, noise / count**2


def _asked(num_players: int, num_rows: int, num_classes: int) -> paired.Strata:
    """How many coalitions of every size the model is asked about: all where these are few, else what memory holds."""
    everything = least_squares.strata(num_players, SURROGATE_SAMPLES)
    if (everything.drawn == everything.population).all():
        return everything
    wanted = max(SURROGATE_SAMPLES, LEAST_SAMPLES * num_rows)
    return least_squares.strata(num_players, min(wanted, max(SAMPLES_OF_FOLDS, MOST_SCORES // num_classes)))


@functools.lru_cache(maxsize=64)
def _fixed_sample(num_players: int, num_rows: int, num_classes: int) -> tuple[np.ndarray, least_squares.Design]:
    """The smaller parts of some pairs, and what `least_squares.design` gives for them, on the host in float64."""
    most = min(SAMPLES_OF_FOLDS, game_model.SCORES_AT_ONCE // num_classes)
    strata = least_squares.strata(num_players, max(most, 2 * num_rows))
    mask = paired.draw(num_players, strata, np.random.default_rng(0)).astype(np.float64)
    weight, _ = least_squares.pair_weights(num_players, strata)
    size = mask.sum(axis=1, keepdims=True)
    centred = mask - size / num_players
    gram = centred.T @ (weight[:, None] * centred)
    influence = np.linalg.solve(gram + np.trace(gram) / num_players**2, (weight[:, None] * centred).T)
    leverage = (influence.T * centred).sum(axis=1)
    return mask, least_squares.Design(size, centred, influence, leverage, np.zeros((len(mask), 0)))

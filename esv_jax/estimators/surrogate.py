"""Values of a regression model of the scores, corrected by the worths that were evaluated."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Estimate, Estimator, Link, Plan, check_maker, identity, samples
from esv_jax.batches import in_chunks
from esv_jax.coalitions import masks, paired
from esv_jax.estimators import cross_fit, least_squares, logit_fit, odd_ridge, surrogate_samples

# How many coalitions the fitted model is asked about in a round: all of them up to 16 players.
SURROGATE_SAMPLES = 2**16
LEAST_SAMPLES = 4
# Rounds go on until their sampling error is small beside that of the evaluated coalitions; the linear model costs less.
MAX_ROUNDS, MAX_ROUNDS_OF_LINEAR = 3, 8
NEGLIGIBLE = 0.1
# The metric of the kernel is learned from gradients of the scores of so many classes, at so many coalitions.
GRADIENT_CLASSES, GRADIENT_ROWS = 16, 512
# With fewer coalitions a frame the metric fits their noise.
ROWS_TO_LEARN = 32
FOLDS = 5
# With fewer coalitions a frame what the model misses is estimated by ridge regression, not by least squares.
ROWS_FOR_LEAST_SQUARES = 5
# From so many coalitions (63 pairs and everyone) on the cross-fitted values are good enough to lean on.
ROWS_TO_LEAN = 127
# With fewer the squares of their errors are taken for so many times larger.
DOUBT = 4.0
# Models weigh by their leave-one-out errors to this power, and not at all below this weight: a model more is asked
# about every coalition, and little gained by it where there are rows enough for least squares.
POWER, LEAST_WEIGHT, LEAST_WEIGHT_OF_FEW = 3, 0.1, 0.02
# What a model that explains less than half of the worths' variance says is halved, at 2 evaluations a player.
UNEXPLAINED = 0.5
# Models that leave out a fold are compared on so many coalitions, and have so many centres at most.
SAMPLES_OF_FOLDS = 2**11
CENTRES_OF_FOLDS = 256
# Scores of coalitions that are held at a time: 64 MB while they are made, 1 GB in a round.
SCORES_AT_ONCE, MOST_SCORES = 2**24, 2**28
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


class Evaluated(NamedTuple):
    """Coalitions in the plan's order: mask float [N, P], worths float [N, C], logits float [N, C]."""

    mask: jax.Array
    worths: jax.Array
    logits: jax.Array


class Model(NamedTuple):
    """What was fitted to a game: a mean of fits to K kernels and two targets.

    Attributes:
      linear: in the frames; of each target [2, ...]. smooth: in similarities to `centres` [K', P]; [K, 2, ...].
      kernel: those of `smooth` [K, ...].
      of_linear, of_smooth: float [2] and [K, 2], how much each counts; sum to 1 together.
      unexplained: float [], mean squared leave-one-out error over the variance of worths.
    """

    linear: logit_fit.Fit
    smooth: logit_fit.Fit
    kernel: logit_fit.Kernel
    centres: jax.Array
    of_linear: jax.Array
    of_smooth: jax.Array
    unexplained: jax.Array


def _estimate(state: Evaluated, strata: paired.Strata, empty: jax.Array, link: Link) -> Estimate:
    num_rows, num_players = state.mask.shape
    dtype = state.worths.dtype
    weight, fpc = least_squares.pair_weights(num_players, strata)
    num_pairs = len(weight)
    links, targets = _targets(state, link)
    # Leave-one-out errors count where coalitions were left out, as much as those weigh in the values.
    counts = jnp.asarray(np.concatenate([weight * fpc, (weight * fpc)[::-1], [0]]), dtype)
    fit = functools.partial(_fit, state, links, targets, counts)
    total = state.worths[-1] - empty
    odd = paired.odd_parts(state.worths, strata)
    # Behind the barrier the compiler cannot try to work out in advance what depends on these alone.
    sample, asked = jax.lax.optimization_barrier(
        jax.tree.map(lambda a: jnp.asarray(a, dtype), _fixed_sample(num_players, num_rows, len(total)))
    )

    def say(model: Model) -> tuple[jax.Array, jax.Array]:
        """The model's odd parts [pairs, C], and its values [P, C] by a fixed sample: the models differ smoothly."""
        of_pairs = jnp.concatenate([small, 1 - small, sample, 1 - sample])
        found = _worths(model, links, of_pairs)
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
    if num_rows < ROWS_FOR_LEAST_SQUARES * num_players:
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


def _targets(state: Evaluated, link: Link) -> tuple[tuple[Link, Link], jax.Array]:
    """What is fitted, float [2, N, C], and the links from there to worths."""
    if link is not identity:
        return (link, identity), jnp.stack([state.logits, state.worths])
    probable = (state.worths > 0).all() & (jnp.abs(state.worths.sum(axis=1) - 1) < 1e-3).all()
    logs = jnp.where(probable, jnp.log(jnp.where(probable, state.worths, 1)), state.worths)
    return (jax.nn.softmax, identity), jnp.stack([logs, state.worths])


def _fit(
    state: Evaluated,
    links: tuple[Link, Link],
    targets: jax.Array,
    counts: jax.Array,
    kept: jax.Array,
    most_centres: int,
) -> Model:
    """The mean of models of the rows `kept` float [N], 1 or 0, by their leave-one-out errors."""
    num_rows, num_players = state.mask.shape
    centres = state.mask[_some(num_rows, most_centres)]
    varied = jnp.argsort(-state.worths.var(axis=0))[:GRADIENT_CLASSES]
    some = state.mask[_some(num_rows, GRADIENT_ROWS)]

    def fits(basis: logit_fit.Basis) -> logit_fit.Fit:
        found = [logit_fit.fit(basis, t, link, state.worths, counts) for link, t in zip(links, targets, strict=True)]
        return jax.tree.map(lambda *a: jnp.stack(a), *found)

    def candidate(learned: jax.Array, given: tuple[logit_fit.Kernel, jax.Array]) -> tuple[jax.Array, Any]:
        kernel, learns = given
        kernel = kernel._replace(metric=jnp.where(learns, learned, kernel.metric))
        found = fits(logit_fit.kernel_basis(kernel, centres, state.mask, kept))
        if again:
            coefficients = found.coefficients[jnp.argmin(found.error)]
            learned = logit_fit.learned_metric(kernel, centres, coefficients[: len(centres), varied], some)
        return learned, (kernel, found)

    # The last kernel twice more, each time in the metric learned from the fit before.
    again = 2 if num_rows >= ROWS_TO_LEARN * num_players else 0
    order, learns = np.array([0, 1, 2] + [2] * again), np.array([False] * 3 + [True] * again)
    given = jax.tree.map(lambda a: a[order], logit_fit.kernels(num_players, state.worths.dtype))
    _, (kernel, smooth) = jax.lax.scan(candidate, given.metric[0], (given, jnp.asarray(learns)))
    linear = fits(logit_fit.linear_basis(logit_fit.linear_functions(state.mask), kept))
    errors = jnp.concatenate([linear.error[None], smooth.error])
    # A learned metric is worth more than a mean, and of many models one is cheaper.
    least = LEAST_WEIGHT_OF_FEW if num_rows < ROWS_FOR_LEAST_SQUARES * num_players else LEAST_WEIGHT
    weights = jnp.where(errors == errors.min(), 1.0, 0.0) if again else _weights(errors, least)
    weights = weights / weights.sum()
    share = (counts * kept)[:, None] / (counts * kept).sum()
    variance = (share * (state.worths - (share * state.worths).sum(axis=0)[None]) ** 2).sum()
    error = jnp.where(weights > 0, weights * errors, 0).sum()
    unexplained = error / jnp.where(variance > 0, variance, 1)
    return Model(linear, smooth, kernel, centres, weights[0], weights[1:], unexplained)


def _weights(errors: jax.Array, least: float) -> jax.Array:
    """How much models of such errors count, up to a factor; nothing below the share `least`."""
    logs = jnp.log(jnp.maximum(errors, jnp.finfo(errors.dtype).tiny))
    weights = jnp.exp(POWER * (logs.min() - logs))
    return jnp.where(weights < least * weights.sum(), 0, weights)


def _some(num_rows: int, most: int) -> np.ndarray:
    """At most so many rows, evenly."""
    return np.unique(np.linspace(0, num_rows - 1, min(num_rows, most)).astype(int))


def _worths(model: Model, links: tuple[Link, Link], mask: jax.Array) -> jax.Array:
    """Worths [N, C] by the model for coalitions [N, P]."""

    def mean(fits: logit_fit.Fit, weights: jax.Array, functions: jax.Array) -> jax.Array:
        total = jnp.zeros((len(functions), fits.offset.shape[-1]), functions.dtype)
        for i, link in enumerate(links):
            fitted = jax.tree.map(lambda a, i=i: a[i], fits)
            said = jax.lax.cond(
                weights[i] > 0,
                lambda fitted=fitted, link=link: link(logit_fit.predict(fitted, functions)),
                lambda total=total: jnp.zeros_like(total),
            )
            total = total + jnp.where(weights[i] > 0, weights[i] * said, 0)
        return total

    def some(rows: jax.Array) -> jax.Array:
        def add(total: jax.Array, of: tuple[logit_fit.Kernel, logit_fit.Fit, jax.Array]) -> tuple[jax.Array, None]:
            kernel, fits, weights = of
            return total + jax.lax.cond(
                (weights > 0).any(),
                lambda: mean(fits, weights, logit_fit.kernel_functions(kernel, model.centres, rows)),
                lambda: jnp.zeros_like(total),
            ), None

        linear = mean(model.linear, model.of_linear, logit_fit.linear_functions(rows))
        return jax.lax.scan(add, linear, (model.kernel, model.smooth, model.of_smooth))[0]

    return in_chunks(some, mask, _rows_at_once(model))


def _rows_at_once(model: Model) -> int:
    return max(1, min(2048, SCORES_AT_ONCE // model.linear.offset.shape[-1]))


def _values_of_model(
    model: Model,
    links: tuple[Link, Link],
    total: jax.Array,
    asked: paired.Strata,
    key: jax.Array,
    negligible: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Values [P, C] of the model, and their squared standard errors: rounds until the sum of these is `negligible`."""
    num_players, at_once = model.centres.shape[1], _rows_at_once(model)

    def odd(rows: jax.Array) -> jax.Array:
        return _odd(_worths(model, links, jnp.concatenate([rows, 1 - rows])))

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
    most = min(SAMPLES_OF_FOLDS, SCORES_AT_ONCE // num_classes)
    strata = least_squares.strata(num_players, max(most, 2 * num_rows))
    mask = paired.draw(num_players, strata, np.random.default_rng(0)).astype(np.float64)
    weight, _ = least_squares.pair_weights(num_players, strata)
    size = mask.sum(axis=1, keepdims=True)
    centred = mask - size / num_players
    gram = centred.T @ (weight[:, None] * centred)
    influence = np.linalg.solve(gram + np.trace(gram) / num_players**2, (weight[:, None] * centred).T)
    leverage = (influence.T * centred).sum(axis=1)
    return mask, least_squares.Design(size, centred, influence, leverage, np.zeros((len(mask), 0)))

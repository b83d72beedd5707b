"""Values of a regression model of the logits, corrected by the worths that were evaluated."""

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Estimate, Estimator, Link, Plan, check_maker, samples
from esv_jax.batches import in_chunks
from esv_jax.coalitions import masks, paired
from esv_jax.estimators import least_squares, logit_fit, surrogate_samples

with warnings.catch_warnings():  # SciPy adds a filter of its own to the user's
    from scipy.special import ndtri, stdtrit

# How many coalitions the fitted model is asked about in a round: all of them up to 16 players.
SURROGATE_SAMPLES = 2**16
LEAST_SAMPLES = 4
# Rounds go on until their sampling error is small beside that of the evaluated coalitions; the linear model costs less.
MAX_ROUNDS, MAX_ROUNDS_OF_LINEAR = 3, 8
NEGLIGIBLE = 0.1
GROUPS = 10
# The metric of the kernel is learned from gradients of the logits of so many classes, at so many coalitions.
GRADIENT_CLASSES, GRADIENT_ROWS = 16, 512
# With fewer coalitions a frame the metric fits their noise, and standard errors that do not know of it are too small.
ROWS_TO_LEARN = 32
# Coalitions on which models that leave out a group of pairs are compared.
SAMPLES_OF_GROUPS = 2**11
ROWS_AT_ONCE = 2048
# Scores of coalitions that are held at a time: 1 GB.
MOST_SCORES = 2**28
# Beyond, a fit takes gigabytes.
MOST_EVALUATIONS = 2**18


@functools.lru_cache(maxsize=64, typed=True)
def surrogate(*, max_evaluations: int) -> Estimator:
    """A model of the logits is fitted to the evaluated coalitions, and what it misses is estimated.

    What estimators that see only a scalar game cannot do:

    1. Fit the game's logits, all classes at once, by ridge regression on functions of the coalition (`logit_fit`):
       linear in the frames, or of its similarity to others in frames and their order, in a metric learned from the
       fit. Basis, metric and ridge are those with the least leave-one-out error of worths.
    2. Push the fit through the link and take its values from very many coalitions (all of them up to 16 players, rounds
       of 65 000 beyond), which cost no evaluation of the model.
    3. Add the values of the worths' residuals, by `regression` on the evaluated pairs.

    Efficient. Exact where the budget holds all coalitions; a game whose logits are a mean over frames (TSN) is fitted
    exactly by a few more coalitions than players. Like any regression estimator it has a bias, which vanishes as the
    fit or the sample becomes complete. Not linear in the worths: the data choose the fit.

    `std_error` has two parts: the sample of step 2, and the change when a tenth of the drawn pairs is left out of fit
    and residual (delete-a-group jackknife of ten groups; exhausted sizes are kept), widened so that 1.96 of it covers
    95 % as Student's interval would. With less than about 16 pairs of a size it is too small: 1.96 of it covered 73 to
    76 % of the cells at 4 to 8 evaluations a player (an order-sensitive game of 10 frames), 94 % at 32; where intervals
    count more than errors and evaluations are few, take `regression`.

    Takes some seconds from 1024 evaluations on: for models that take longer than that to evaluate.

    Args:
      max_evaluations: how many coalitions to evaluate at most, the whole video among them; at least 4 P.
    """
    checks.check_budget("max_evaluations", max_evaluations, MOST_EVALUATIONS)
    name = f"surrogate(max_evaluations={max_evaluations})"

    def plan(num_players: int, *, key: Any = None) -> Plan:
        paired.check_budget(num_players, max_evaluations, 4 * num_players)
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
        sound = jnp.isfinite(jnp.stack(found)).all()
        values, std_error = (jnp.where(sound, a, b) for a, b in zip(found, without_model[:2], strict=True))
        return Estimate(values, std_error, values, jnp.asarray(jnp.inf, values.dtype))

    return Estimator(name, plan, estimate, samples)


class Evaluated(NamedTuple):
    """Coalitions in the plan's order: mask float [N, P], worths float [N, C], logits float [N, C]."""

    mask: jax.Array
    worths: jax.Array
    logits: jax.Array


class Fitted(NamedTuple):
    """The two models of the logits.

    Attributes:
      linear: in the frames.
      smooth: in similarities of coalitions to `centres` [K, P] by `kernel`, with `whitening` as for `logit_fit.fit`.
      is_linear: bool [], whether the linear one is the better.
    """

    linear: logit_fit.Fit
    smooth: logit_fit.Fit
    kernel: logit_fit.Kernel
    centres: jax.Array
    whitening: jax.Array
    is_linear: jax.Array


def _estimate(state: Evaluated, strata: paired.Strata, empty: jax.Array, link: Link) -> tuple[jax.Array, jax.Array]:
    num_rows, num_players = state.mask.shape
    weight, fpc = least_squares.pair_weights(num_players, strata)
    # Leave-one-out errors count where coalitions were left out, as much as those weigh in the values.
    counts = jnp.asarray(np.concatenate([weight * fpc, (weight * fpc)[::-1], [0]]), state.worths.dtype)
    fitted = _fit(state, link, counts)
    key = surrogate_samples.key_of(state.mask)
    logits = _logits(fitted, state.mask)
    full = link(logits[-1:])[0]

    spread = _spread_of_groups(state, strata, link, fitted)
    asked = _asked(num_players, num_rows, len(empty))
    modelled, noise = _values_of_model(fitted, link, full - empty, asked, key, NEGLIGIBLE * spread.sum())
    design = least_squares.design(state.mask[: len(weight)], jnp.asarray(weight, state.worths.dtype))
    rest = _values_of_residual(state, design, link(logits), state.worths[-1] - empty - modelled.sum(axis=0))
    return modelled + rest, jnp.sqrt(noise + spread)


def _fit(state: Evaluated, link: Link, counts: jax.Array) -> Fitted:
    num_rows = len(state.mask)
    rows = np.unique(np.linspace(0, num_rows - 1, min(num_rows, logit_fit.MAX_CENTRES)).astype(int))
    centres = state.mask[rows]

    varied = jnp.argsort(-state.worths.var(axis=0))[:GRADIENT_CLASSES]
    some = state.mask[np.linspace(0, num_rows - 1, min(num_rows, GRADIENT_ROWS)).astype(int)]

    def candidate(
        learned: jax.Array, given: tuple[logit_fit.Kernel, jax.Array]
    ) -> tuple[jax.Array, tuple[logit_fit.Kernel, jax.Array, logit_fit.Fit]]:
        kernel, learns = given
        kernel = kernel._replace(metric=jnp.where(learns, learned, kernel.metric))
        functions = logit_fit.kernel_functions(kernel, centres, state.mask)
        whitening = logit_fit.whitening(kernel, centres)
        found = logit_fit.fit(functions, whitening, state.logits, link, counts)
        learned = logit_fit.learned_metric(kernel, centres, found.coefficients[: len(centres), varied], some)
        return learned, (kernel, whitening, found)

    # The last kernel twice more, each time in the metric learned from the fit before.
    again = 2 if num_rows >= ROWS_TO_LEARN * centres.shape[1] else 0
    order, learns = jnp.asarray([0, 1] + [1] * again), jnp.asarray([False, False] + [True] * again)
    given = jax.tree.map(lambda a: a[order], logit_fit.kernels(centres.shape[1], state.worths.dtype))
    _, tried = jax.lax.scan(candidate, given.metric[0], (given, learns))
    kernel, whitening, smooth = jax.tree.map(lambda a: a[jnp.argmin(logit_fit.or_inf(tried[2].error))], tried)
    linear = logit_fit.fit(logit_fit.linear_functions(state.mask), None, state.logits, link, counts)
    return Fitted(
        linear, smooth, kernel, centres, whitening, logit_fit.or_inf(linear.error) <= logit_fit.or_inf(smooth.error)
    )


def _logits(fitted: Fitted, mask: jax.Array) -> jax.Array:
    """Logits [N, C] of the better model for coalitions [N, P]."""
    return jax.lax.cond(
        fitted.is_linear,
        lambda rows: logit_fit.predict(fitted.linear, logit_fit.linear_functions(rows)),
        lambda rows: logit_fit.predict(fitted.smooth, logit_fit.kernel_functions(fitted.kernel, fitted.centres, rows)),
        mask,
    )


def _values_of_model(
    fitted: Fitted, link: Link, total: jax.Array, asked: paired.Strata, key: jax.Array, negligible: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Values [P, C] of the model, and their squared standard errors: rounds until the sum of these is `negligible`."""
    num_players = fitted.centres.shape[1]

    def odd(rows: jax.Array) -> jax.Array:
        small, large = jnp.split(link(_logits(fitted, jnp.concatenate([rows, 1 - rows]))), 2)
        return (small - large) / 2

    if (asked.drawn == asked.population).all():
        mask = surrogate_samples.pairs(num_players, asked, key, total.dtype)
        values = least_squares.solve_all(mask, odd, total, ROWS_AT_ONCE)
        return values, jnp.zeros_like(values)

    def one_round(turn: jax.Array) -> tuple[jax.Array, jax.Array]:
        mask = surrogate_samples.pairs(num_players, asked, jax.random.fold_in(key, turn), total.dtype)
        found = least_squares.solve(mask, in_chunks(odd, mask, ROWS_AT_ONCE), total, asked)
        return found.values, found.std_error**2

    most = jnp.where(fitted.is_linear, jnp.uint32(MAX_ROUNDS_OF_LINEAR), jnp.uint32(MAX_ROUNDS))

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
    return least_squares.strata(num_players, min(wanted, max(SAMPLES_OF_GROUPS, MOST_SCORES // num_classes)))


def _values_of_residual(
    state: Evaluated, design: least_squares.Design, modelled: jax.Array, total: jax.Array
) -> jax.Array:
    """Values [P, C], of sum total [C], of what a model with worths `modelled` [N, C] misses of the evaluated pairs."""
    residual = state.worths - modelled
    num_pairs = len(design.size)
    odd = (residual[:num_pairs] - residual[num_pairs : 2 * num_pairs][::-1]) / 2
    return least_squares.values(design, odd, total)[0]


def _spread_of_groups(state: Evaluated, strata: paired.Strata, link: Link, fitted: Fitted) -> jax.Array:
    """Delete-a-group jackknife: squared standard error [P, C] from the drawn pairs, those of exhausted sizes kept."""
    num_players = state.mask.shape[1]
    dtype = state.worths.dtype
    weight, fpc = least_squares.pair_weights(num_players, strata)
    num_pairs = len(weight)
    drawn = np.flatnonzero(fpc > 0)
    num_groups = min(GROUPS, len(drawn))
    # Pairs are sorted by size: every group has its share of each.
    grouped = drawn[: len(drawn) // num_groups * num_groups].reshape(-1, num_groups).T
    rows = jnp.asarray(np.concatenate([grouped, 2 * num_pairs - 1 - grouped], axis=1))
    kept = np.tile(weight, (num_groups, 1))
    np.put_along_axis(kept, grouped, 0.0, axis=1)
    # What is kept of the drawn sizes stands for the whole.
    kept[:, drawn] *= weight[drawn].sum() / kept[:, drawn].sum(axis=1, keepdims=True)

    # The models differ smoothly: a fixed sample shows how their values do.
    sample = _fixed_sample(num_players)
    # Behind the barrier the compiler cannot try to work out in advance what depends on these alone.
    asked = jax.lax.optimization_barrier(jax.tree.map(lambda a: jnp.asarray(a, dtype), sample))
    asked_mask = asked.centred + asked.size / num_players
    everything = jnp.concatenate([asked_mask, 1 - asked_mask, state.mask])

    def spread(fit: logit_fit.Fit, functions: jax.Array, whitening: jax.Array | None) -> jax.Array:
        without = logit_fit.leaving_out(fit, functions[2 * len(asked_mask) :], whitening, state.logits, functions)

        def one(group: tuple[jax.Array, jax.Array]) -> jax.Array:
            worths = link(without(group[0]))
            small, large, modelled = jnp.split(worths, [len(asked_mask), 2 * len(asked_mask)])
            # The worth of no frames cancels in differences between groups.
            values = least_squares.values(asked, (small - large) / 2, modelled[-1])[0]
            design = least_squares.design(state.mask[:num_pairs], group[1])
            return values + _values_of_residual(state, design, modelled, state.worths[-1] - modelled[-1])

        return jax.lax.map(one, (rows, jnp.asarray(kept, dtype))).var(axis=0)

    found = jax.lax.cond(
        fitted.is_linear,
        lambda: spread(fitted.linear, logit_fit.linear_functions(everything), None),
        lambda: spread(
            fitted.smooth, logit_fit.kernel_functions(fitted.kernel, fitted.centres, everything), fitted.whitening
        ),
    )
    left = float((weight * fpc)[drawn].sum() / weight[drawn].sum())
    # How much wider Student's 95 % interval is than the normal one.
    widening = float(stdtrit(num_groups - 1, 0.975) / ndtri(0.975))
    return left * widening**2 * (num_groups - 1) * found


@functools.lru_cache(maxsize=64)
def _fixed_sample(num_players: int) -> least_squares.Design:
    """What `least_squares.design` gives for some coalitions, worked out on the host in float64."""
    strata = least_squares.strata(num_players, max(SAMPLES_OF_GROUPS, LEAST_SAMPLES * num_players))
    mask = paired.draw(num_players, strata, np.random.default_rng(0)).astype(np.float64)
    weight, _ = least_squares.pair_weights(num_players, strata)
    size = mask.sum(axis=1, keepdims=True)
    centred = mask - size / num_players
    gram = centred.T @ (weight[:, None] * centred)
    influence = np.linalg.solve(gram + np.trace(gram) / num_players**2, (weight[:, None] * centred).T)
    return least_squares.Design(size, centred, influence)

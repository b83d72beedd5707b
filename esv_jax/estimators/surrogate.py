"""Values of a regression model of the logits, corrected by the worths that were evaluated."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Estimator, Plan
from esv_jax.coalitions import paired
from esv_jax.estimators import cheap, evaluated, least_squares, logit_fit

# How many coalitions the fitted model is asked about: all of them up to 16 frames. Fewer from 64 frames on, for memory.
CHEAP_EVALUATIONS = 2**16
CHEAP_FRAMES = 2**22
LEAST_CHEAP = 4
# The linear model costs less.
MORE_OF_LINEAR = 4
# The same for what leaving out a group of pairs changes.
CHEAP_EVALUATIONS_OF_GROUPS = 2**13
GROUPS = 10
ROWS_AT_ONCE = 2048


@functools.lru_cache(maxsize=64, typed=True)
def surrogate(*, max_evaluations: int) -> Estimator:
    """A model of the logits is fitted to the evaluated coalitions, and what it misses is estimated.

    What estimators that see only a scalar game cannot do:

    1. Fit the game's logits, all classes at once, by ridge regression on functions of the coalition (`logit_fit`):
       linear in the frames, or of its similarity to others in frames and their order. Basis and ridge are those with
       the least leave-one-out error of worths.
    2. Push the fit through the link and take its values from very many coalitions (all of them up to 16 frames, 65 000
       or more beyond), which cost no evaluation of the model.
    3. Add the values of the worths' residuals, by `regression` on the evaluated pairs.

    Efficient. Exact where the budget holds all coalitions; a game whose logits are a mean over frames (TSN) is fitted
    exactly by a few more coalitions than frames. Like any regression estimator it has a bias, which vanishes as the fit
    or the sample becomes complete. Not linear in the worths: the data choose the fit.

    `std_error` has two parts: the sample of step 2, and the change when a tenth of the drawn pairs is left out of fit
    and residual (delete-a-group jackknife of ten groups; exhausted sizes are kept), widened so that 1.96 of it covers
    95 % as Student's interval would. With less than about 16 pairs of a size it is too small: where 29 pairs of
    119 were drawn for 8 frames, 1.96 of it covered 87 % of the cells.

    Takes some seconds from 1024 evaluations on: for models that take longer than that to evaluate.

    Args:
      max_evaluations: how many coalitions to evaluate at most, the whole video among them; at least 4 T.
    """
    checks.check_positive("max_evaluations", max_evaluations)

    def plan(num_frames: int, *, key: Any = None) -> Plan:
        paired.check_budget(num_frames, max_evaluations, 4 * num_frames)
        return paired.plan(num_frames, least_squares.strata(num_frames, max_evaluations), key)

    def finish(state: evaluated.Evaluated, empty: jax.Array, full: jax.Array, link: Any) -> tuple[jax.Array, jax.Array]:
        strata = least_squares.strata(state.inside.shape[1], max_evaluations)
        inside, odd = evaluated.pairs(state, int(strata.drawn.sum()))
        if (strata.drawn == strata.population).all():
            return least_squares.solve(inside, odd, full - empty, strata)
        return _estimate(state, strata, empty, link)

    return Estimator(plan, evaluated.none, evaluated.add, finish)


class Candidate(NamedTuple):
    """A fitted model of the logits.

    Attributes:
      functions_of: inside [N, T] -> the functions [N, P] that it is linear in.
      functions: float [N, P], those of the evaluated coalitions.
      whitening: float [P, P], or None, as for `logit_fit.fit`.
      fit: its coefficients.
      cheap_evaluations: how many coalitions it is asked about.
    """

    functions_of: Callable[[jax.Array], jax.Array]
    functions: jax.Array
    whitening: jax.Array | None
    fit: logit_fit.Fit
    cheap_evaluations: int


def _estimate(
    state: evaluated.Evaluated, strata: paired.Strata, empty: jax.Array, link: logit_fit.Link
) -> tuple[jax.Array, jax.Array]:
    num_rows, num_frames = state.inside.shape
    weight, unseen = least_squares.pair_weights(num_frames, strata)
    # Leave-one-out errors count where coalitions were left out, as much as those weigh in the values.
    counts = jnp.asarray(np.concatenate([weight * unseen, (weight * unseen)[::-1], [0]]), state.worths.dtype)
    rows = np.unique(np.linspace(0, num_rows - 1, min(num_rows, logit_fit.MAX_CENTRES)).astype(int))
    centres = state.inside[rows]

    asked = max(min(CHEAP_EVALUATIONS, CHEAP_FRAMES // num_frames), LEAST_CHEAP * num_rows)

    def candidate(kernel: logit_fit.Kernel) -> tuple[logit_fit.Kernel, jax.Array, jax.Array, logit_fit.Fit]:
        functions = logit_fit.kernel_functions(kernel, centres, state.inside)
        whitening = logit_fit.whitening(kernel, centres)
        return kernel, functions, whitening, logit_fit.fit(functions, whitening, state.logits, link, counts)

    tried = jax.lax.map(candidate, logit_fit.kernels(state.worths.dtype))
    kernel, functions, whitening, fitted = jax.tree.map(lambda a: a[jnp.argmin(tried[3].error)], tried)
    smooth = Candidate(
        lambda inside: logit_fit.kernel_functions(kernel, centres, inside),
        functions,
        whitening,
        fitted,
        asked,
    )
    functions = logit_fit.linear_functions(state.inside)
    fitted = logit_fit.fit(functions, None, state.logits, link, counts)
    linear = Candidate(logit_fit.linear_functions, functions, None, fitted, MORE_OF_LINEAR * asked)
    return jax.lax.cond(
        linear.fit.error < smooth.fit.error,
        functools.partial(_by_candidate, state, strata, empty, link, linear),
        functools.partial(_by_candidate, state, strata, empty, link, smooth),
    )


def _by_candidate(
    state: evaluated.Evaluated, strata: paired.Strata, empty: jax.Array, link: logit_fit.Link, chosen: Candidate
) -> tuple[jax.Array, jax.Array]:
    num_frames = state.inside.shape[1]
    key = cheap.key_of(state.inside)
    many = least_squares.strata(num_frames, chosen.cheap_evaluations)
    asked = cheap.pairs(num_frames, many, key, state.worths.dtype)
    full = link(logit_fit.predict(chosen.fit, chosen.functions[-1:]))[0]
    modelled, noise = least_squares.solve(asked, _odd_parts(chosen, link, asked), full - empty, many)
    weight, _ = least_squares.pair_weights(num_frames, strata)
    total = state.worths[-1] - empty - modelled.sum(axis=0)
    rest = _values_of_residual(state, link, chosen, chosen.fit, jnp.asarray(weight, total.dtype), total)
    spread = _spread_of_groups(state, strata, link, chosen, key)
    return modelled + rest, jnp.sqrt(noise**2 + spread)


def _odd_parts(chosen: Candidate, link: logit_fit.Link, inside: jax.Array) -> jax.Array:
    """(v(S) - v(the rest)) / 2 [P, C] of the fitted model."""

    def odd(rows: jax.Array) -> jax.Array:
        small, large = (link(logit_fit.predict(chosen.fit, chosen.functions_of(part))) for part in (rows, 1 - rows))
        return (small - large) / 2

    fill = -len(inside) % ROWS_AT_ONCE
    chunks = jnp.pad(inside, ((0, fill), (0, 0)), mode="edge").reshape(-1, ROWS_AT_ONCE, inside.shape[1])
    parts = jax.lax.map(odd, chunks)
    return parts.reshape(-1, parts.shape[2])[: len(inside)]


def _values_of_residual(
    state: evaluated.Evaluated,
    link: logit_fit.Link,
    chosen: Candidate,
    fitted: logit_fit.Fit,
    weight: jax.Array,
    total: jax.Array,
) -> jax.Array:
    """Values [T, C], of sum total [C], of what `fitted` misses of the evaluated pairs with weights [P]."""
    residual = state.worths - link(logit_fit.predict(fitted, chosen.functions))
    num_pairs = len(weight)
    odd = (residual[:num_pairs] - residual[num_pairs : 2 * num_pairs][::-1]) / 2
    return least_squares.values(least_squares.design(state.inside[:num_pairs], weight), odd, total)[0]


def _spread_of_groups(
    state: evaluated.Evaluated, strata: paired.Strata, link: logit_fit.Link, chosen: Candidate, key: jax.Array
) -> jax.Array:
    """Delete-a-group jackknife: squared standard error [T, C] from the drawn pairs, those of exhausted sizes kept."""
    num_frames = state.inside.shape[1]
    dtype = state.worths.dtype
    weight, unseen = least_squares.pair_weights(num_frames, strata)
    num_pairs = len(weight)
    drawn = np.flatnonzero(unseen > 0)
    num_groups = min(GROUPS, len(drawn))
    # Pairs are sorted by size: every group has its share of each.
    grouped = drawn[: len(drawn) // num_groups * num_groups].reshape(-1, num_groups).T
    rows = np.concatenate([grouped, 2 * num_pairs - 1 - grouped], axis=1)
    kept = np.tile(weight, (num_groups, 1))
    np.put_along_axis(kept, grouped, 0.0, axis=1)
    # What is kept of the drawn sizes stands for the whole.
    kept[:, drawn] *= weight[drawn].sum() / kept[:, drawn].sum(axis=1, keepdims=True)

    some = least_squares.strata(num_frames, CHEAP_EVALUATIONS_OF_GROUPS)
    asked = cheap.pairs(num_frames, some, jax.random.fold_in(key, 1), dtype)
    asked_weight, _ = least_squares.pair_weights(num_frames, some)
    design = least_squares.design(asked, jnp.asarray(asked_weight, dtype))
    functions = jnp.concatenate([chosen.functions_of(asked), chosen.functions_of(1 - asked)])
    coefficients = logit_fit.without_groups(
        chosen.fit, chosen.functions, chosen.whitening, state.logits, jnp.asarray(rows)
    )

    def one(group: tuple[jax.Array, jax.Array]) -> jax.Array:
        fitted = chosen.fit._replace(coefficients=group[0])
        small, large = jnp.split(link(logit_fit.predict(fitted, functions)), 2)
        full = link(logit_fit.predict(fitted, chosen.functions[-1:]))[0]
        # The worth of no frames cancels in differences between groups.
        modelled = least_squares.values(design, (small - large) / 2, full)[0]
        return modelled + _values_of_residual(state, link, chosen, fitted, group[1], state.worths[-1] - full)

    without = jax.lax.map(one, (coefficients, jnp.asarray(kept, dtype)))
    left = float((weight * unseen)[drawn].sum() / weight[drawn].sum())
    return left * _widening(num_groups - 1) ** 2 * (num_groups - 1) * without.var(axis=0)


def _widening(freedom: int) -> float:
    """How much wider Student's 95 % interval is than the normal one (Cornish-Fisher, to second order)."""
    z2 = 1.96**2
    return 1 + (z2 + 1) / (4 * freedom) + (5 * z2**2 + 16 * z2 + 3) / (96 * freedom**2)

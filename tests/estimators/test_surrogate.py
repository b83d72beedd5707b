"""The surrogate: exact where it should be, far better than regression where it can be, honest about its error."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import paired
from esv_jax.estimators import game_model, least_squares, logit_fit, odd_ridge, surrogate_samples
from esv_jax.procedural import drawing, scripts
from esv_jax.saved import DEMO_MODEL, model_folder
from esv_jax.video.frame_sampling import segment_centres
from esv_jax.video.preprocess import resize_and_crop
from tests import oracles
from tests.contracts import tables

C = 3


def softmax_of_means(seed, num_frames):
    logits = np.random.default_rng(seed).normal(size=(num_frames, C)).astype(np.float32) * 2
    game = esv_jax.frame_mean_game(_same, empty=np.full(C, 1 / C, np.float32))
    return game, logits


def _same(params, video):
    return params


def test_a_mean_of_frame_logits_is_fitted_exactly():
    game, logits = softmax_of_means(0, 10)
    exact = esv_jax.explain(esv_jax.exact(), game, logits, logits)
    out = esv_jax.explain(esv_jax.surrogate(max_evaluations=60), game, logits, logits, key=jax.random.key(0))
    plain = esv_jax.explain(esv_jax.regression(max_evaluations=60), game, logits, logits, key=jax.random.key(0))
    np.testing.assert_allclose(out.values, exact.values, atol=3e-5)
    assert np.abs(plain.values - exact.values).max() > 1e-3
    assert np.asarray(out.std_error).max() < 1e-4


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 6])
def test_exact_when_the_budget_holds_everything(num_frames):
    game, logits = softmax_of_means(1, num_frames)
    out = esv_jax.explain(esv_jax.surrogate(max_evaluations=63), game, logits, logits, key=jax.random.key(0))
    exact = esv_jax.explain(esv_jax.exact(), game, logits, logits)
    np.testing.assert_allclose(out.values, exact.values, atol=2e-6)
    np.testing.assert_allclose(out.std_error, 0, atol=1e-6)


@functools.lru_cache(maxsize=1)
def order_table():
    """Worths [2^8, C] of a small network that sees the first and the last frame and the mean."""
    rng = np.random.default_rng(2)
    video, first, last, mean = rng.normal(size=(8, 4)), *rng.normal(size=(3, 4, 8))
    out = rng.normal(size=(8, C))
    table = np.full((2**8, C), 1 / C)
    for row in range(1, 2**8):
        held = [i for i in range(8) if row >> i & 1]
        hidden = np.maximum(video[held[0]] @ first + video[held[-1]] @ last + video[held].mean(axis=0) @ mean, 0)
        table[row] = oracles.softmax(hidden @ out / 3)
    return table.astype(np.float32)


def test_intervals_cover_and_errors_beat_regression_in_a_game_with_order():
    game, table = tables.clip_game(order_table())
    frames = tables.video(8)
    exact = esv_jax.explain(esv_jax.exact(), game, table, frames).values
    covered, squares = [], {"surrogate": 0.0, "regression": 0.0}
    for seed in range(20):
        for name in squares:
            estimator = getattr(esv_jax, name)(max_evaluations=121)
            out = esv_jax.explain(estimator, game, table, frames, key=jax.random.key(seed))
            error = np.asarray(out.values - exact)
            squares[name] += float((error**2).sum())
            if name == "surrogate":
                low, high = out.interval()
                covered.append((low <= exact) & (exact <= high))
    assert squares["surrogate"] < 0.7 * squares["regression"]
    assert 0.88 <= np.mean(covered) <= 0.995


def test_pairs_made_on_the_device_are_those_asked_for():
    strata = paired.Strata(np.array([7, 21, 10]), paired.population(7))
    mask = np.asarray(surrogate_samples.pairs(7, strata, jax.random.key(0), jnp.float32))
    np.testing.assert_array_equal(mask.sum(axis=1), [1] * 7 + [2] * 21 + [3] * 10)
    assert len(np.unique(mask[:28], axis=0)) == 28
    other = surrogate_samples.pairs(7, strata, jax.random.key(1), jnp.float32)
    assert (mask[28:] != other[28:]).any()


def test_other_plans_ask_the_model_about_other_coalitions():
    plans = [paired.plan(9, least_squares.strata(9, 61), jax.random.key(seed), "any") for seed in range(2)]
    keys = [surrogate_samples.key_of(jnp.asarray(plan.mask, jnp.float32)) for plan in plans]
    first, second = (np.asarray(jax.random.key_data(key)) for key in keys)
    assert (first != second).any()


@pytest.mark.parametrize("num_functions", [6, 45])  # fewer than rows, and more: decomposed are their inner products
def test_ridge_and_leave_one_out_errors_by_refitting(x64, num_functions):
    rng = np.random.default_rng(4)
    functions, logits = rng.normal(size=(30, num_functions)), rng.normal(size=(30, C))
    weights = rng.uniform(size=30)
    x, y = jnp.asarray(functions), jnp.asarray(logits)
    basis = logit_fit.linear_basis(x, jnp.ones(30))
    assert basis.of_rows == (num_functions > 30)
    fitted = logit_fit.fit(basis, y, jnp.tanh, jnp.tanh(y), jnp.asarray(weights))

    def ridge(rows):
        mean, offset = functions.mean(axis=0), logits.mean(axis=0)
        centred = functions[rows] - mean
        gram = centred.T @ centred + float(fitted.ridge) * np.eye(num_functions)
        return mean, offset, np.linalg.solve(gram, centred.T @ (logits[rows] - offset))

    mean, offset, coefficients = ridge(np.arange(30))
    np.testing.assert_allclose(fitted.coefficients, coefficients, atol=1e-9)
    np.testing.assert_allclose(logit_fit.predict(fitted, x[:2]), offset + (functions[:2] - mean) @ coefficients)
    # Rows that are not kept might as well not be there.
    rest = np.setdiff1d(np.arange(30), [0, 5])
    kept = jnp.ones(30).at[jnp.asarray([0, 5])].set(0)
    without = logit_fit.fit(logit_fit.linear_basis(x, kept), y, jnp.tanh, jnp.tanh(y), jnp.asarray(weights))
    there = logit_fit.linear_basis(x[rest], jnp.ones(28))
    expected = logit_fit.fit(there, y[rest], jnp.tanh, jnp.tanh(y[rest]), jnp.asarray(weights[rest]))
    np.testing.assert_allclose(without.coefficients, expected.coefficients, atol=1e-9)
    np.testing.assert_allclose(without.error, expected.error, rtol=1e-8)
    missed = []
    for row in range(30):
        # Here the offset is refitted as well, by a column of ones without ridge.
        rest = np.setdiff1d(np.arange(30), [row])
        design = np.column_stack([functions[rest] - mean, np.ones(29)])
        penalty = np.diag([float(fitted.ridge)] * num_functions + [0])
        solution = np.linalg.solve(design.T @ design + penalty, design.T @ logits[rest])
        missed.append(np.tanh(np.append(functions[row] - mean, 1) @ solution) - np.tanh(logits[row]))
    error = (weights * (np.array(missed) ** 2).sum(axis=1)).sum() / weights.sum()
    np.testing.assert_allclose(fitted.error, error, rtol=1e-7)


def test_a_kernel_basis_is_kernel_ridge_regression(x64):
    """Predictions by the representer theorem: offset and multipliers of the rows, which sum to 0."""
    rng = np.random.default_rng(9)
    mask = np.unique(rng.integers(0, 2, size=(40, 7)), axis=0)
    mask = jnp.asarray(mask[mask.sum(axis=1) > 0], jnp.float64)
    y = jnp.asarray(rng.normal(size=(len(mask), C)))
    kernel = jax.tree.map(lambda a: a[1], logit_fit.kernels(7, jnp.float64))
    basis = logit_fit.kernel_basis(kernel, mask, mask, jnp.ones(len(mask)))
    fitted = logit_fit.fit(basis, y, jnp.tanh, jnp.tanh(y), jnp.ones(len(mask)))
    functions = logit_fit.kernel_functions(kernel, mask, mask)
    of_sizes = np.asarray(functions[:, len(mask) :])
    among = np.asarray(functions[:, : len(mask)]) + of_sizes @ of_sizes.T
    ones = np.ones((len(mask), 1))
    system = np.block([[among + float(fitted.ridge) * np.eye(len(mask)), ones], [ones.T, np.zeros((1, 1))]])
    solution = np.linalg.solve(system, np.concatenate([y, np.zeros((1, C))]))
    np.testing.assert_allclose(logit_fit.predict(fitted, functions), among @ solution[:-1] + solution[-1], atol=1e-6)


def test_the_kernel_is_that_of_a_wide_network():
    rng = np.random.default_rng(5)
    mask = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.float32)

    def found(which):
        kernel = jax.tree.map(lambda a: a[which], logit_fit.kernels(5, jnp.float32))
        return np.asarray(logit_fit.kernel_functions(kernel, jnp.asarray(mask), jnp.asarray(mask)))[:, :3]

    inputs = []
    for row in mask:
        size = int(row.sum())
        waves = np.zeros((4, 5))
        for rank, frame in enumerate(np.flatnonzero(row)):
            for j in range(4):
                waves[j, frame] = (1 if j == 0 else math.sqrt(2)) * math.cos(math.pi * j * rank / (size - 1))
        inputs.append(np.append(waves.ravel() / math.sqrt(size), 1))
    by_mask = np.concatenate([mask / 2, np.ones((3, 1))], axis=1)
    for which, seen in ((2, np.array(inputs)), (1, by_mask)):
        hidden = np.maximum(seen @ rng.normal(size=(seen.shape[1], 400_000)), 0)
        np.testing.assert_allclose(found(which), 2 * hidden @ hidden.T / hidden.shape[1], rtol=0.02)


def test_the_learned_metric_is_the_root_of_mean_squared_gradients(x64):
    rng = np.random.default_rng(6)
    mask = jnp.asarray(rng.permutation(np.repeat([[1.0, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]], 2, axis=0)))
    first = rng.normal(size=(12, 12))
    first = first @ first.T / 12
    kernel = jax.tree.map(lambda a: a[1], logit_fit.kernels(3, jnp.float64))._replace(metric=jnp.asarray(first))
    coefficients = rng.normal(size=(8, 2))
    found = logit_fit.learned_metric(kernel, mask, jnp.asarray(coefficients), mask[:4])

    waves = np.asarray(logit_fit._waves(kernel._replace(metric=jnp.eye(12)), mask))

    def logits(wave):
        inputs, centres = np.append(first @ wave, 1), np.column_stack([waves @ first, np.ones(8)])
        lengths = np.linalg.norm(inputs) * np.linalg.norm(centres, axis=1)
        angle = np.arccos(np.clip(centres @ inputs / lengths, -1, 1))
        return (lengths * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi) @ coefficients

    total = np.zeros((12, 12))
    for wave in waves[:4]:
        # Off the centres, where the numerical derivative of arccos is not.
        steps = np.eye(12) * 1e-5
        gradient = np.array([(logits(wave + step) - logits(wave - step)) / 2e-5 for step in steps])
        total += gradient @ gradient.T
    values, vectors = np.linalg.eigh(total)
    wanted = vectors @ np.diag(np.sqrt(np.maximum(values, 0) / values.mean() + logit_fit.UNLEARNED)) @ vectors.T
    wanted *= np.sqrt((waves[:4] ** 2).sum() / ((waves[:4] @ wanted) ** 2).sum())
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_a_learned_metric_finds_the_frames_that_count():
    rng = np.random.default_rng(8)
    mask = (rng.uniform(size=(600, 10)) < 0.5).astype(np.float32)
    mask[:, 0] = np.maximum(mask[:, 0], mask.sum(axis=1) == 0)
    kernel = jax.tree.map(lambda a: a[0], logit_fit.kernels(10, jnp.float32))
    x = jnp.asarray(mask)
    target = jnp.tanh(4 * x[:, 2:3] / x.sum(axis=1, keepdims=True)) + x[:, 5:6] * 0.5
    basis = logit_fit.kernel_basis(kernel, x[:300], x, jnp.ones(600))
    fitted = logit_fit.fit(basis, target, jnp.tanh, jnp.tanh(target), jnp.ones(600))
    metric = logit_fit.learned_metric(kernel, x[:300], fitted.coefficients[:300], x)
    weights = np.asarray(jnp.diag(metric))[:10]
    assert set(np.argsort(weights)[-2:]) == {2, 5}


def estimated():
    """A mean of frame logits, and what the surrogate says of it, traced anew."""
    num_frames = 8
    game, logits = softmax_of_means(7, num_frames)
    estimator = esv_jax.surrogate(max_evaluations=61)
    plan = estimator.plan(num_frames, key=jax.random.key(0))
    of_plan = jnp.asarray(plan.mask @ logits / plan.mask.sum(axis=1, keepdims=True))
    empty = jnp.asarray(game.empty)
    run = jax.jit(lambda worths, of_plan: estimator.estimate(plan, worths, of_plan, empty, jax.nn.softmax))
    return game, logits, run(jax.nn.softmax(of_plan), of_plan)


def test_a_model_that_fails_is_not_chosen(monkeypatch):
    """The smooth ones' decomposition may fail in float32; the linear ones are there."""
    kernel_functions = logit_fit.kernel_functions
    monkeypatch.setattr(logit_fit, "kernel_functions", lambda *given: jnp.nan * kernel_functions(*given))
    game, logits, found = estimated()
    exact = esv_jax.explain(esv_jax.exact(), game, logits, logits)
    np.testing.assert_allclose(found.values, exact.values, atol=3e-5)
    assert np.isfinite(found.std_error).all()


def test_where_the_models_fail_the_pairs_alone_stand_in(monkeypatch):
    predict = logit_fit.predict
    monkeypatch.setattr(logit_fit, "predict", lambda *given: jnp.nan * predict(*given))
    game, logits, found = estimated()
    regression = esv_jax.regression(max_evaluations=61)
    expected = esv_jax.explain(regression, game, logits, logits, key=jax.random.key(0))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    np.testing.assert_allclose(found.std_error, expected.std_error, atol=1e-6)


def demo_features(num_frames, index):
    """The demo's TRN and the features of a clip that it has not seen."""
    model = model_folder.load_model(DEMO_MODEL)
    frames = list(drawing.frames(scripts.script_of(1, index)))
    chosen = np.stack([frames[i] for i in segment_centres(len(frames), num_frames)])
    images = resize_and_crop(chosen, model.backbone.card.preprocess)
    return model, np.asarray(model.backbone.module.apply(model.backbone.variables, images))


def test_the_demos_model_where_the_factorisation_fails():
    """With this key the kernel matrix of this clip's coalitions has no root in float32."""
    model, features = demo_features(12, index=2)
    game = esv_jax.trn_game(model.module, empty=model.card.prior)
    estimator = esv_jax.recommended(max_evaluations=2047, max_exact_frames=1)
    exact = esv_jax.explain(esv_jax.exact(), game, model.variables, features)
    out = esv_jax.explain(estimator, game, model.variables, features, key=jax.random.key(0))
    assert out.sampled
    assert np.isfinite(out.std_error).all()
    # Cells of classes that nothing speaks for have no error to tell.
    assert (np.abs(out.values - exact.values) < 5 * np.asarray(out.std_error) + 1e-6).all()


def test_few_evaluations_never_give_nan():
    model, features = demo_features(14, index=0)
    game = esv_jax.trn_game(model.module, empty=model.card.prior)
    estimator = esv_jax.surrogate(max_evaluations=64)
    for seed in range(10):
        out = esv_jax.explain(estimator, game, model.variables, features, key=jax.random.key(seed))
        assert np.isfinite(out.values).all()
        assert np.isfinite(out.std_error).all()


def all_coalitions(num_frames):
    return (np.arange(2**num_frames)[:, None] >> np.arange(num_frames) & 1).astype(float)


@pytest.mark.parametrize(("num_frames", "num_pairs"), [(4, 5), (7, 13)])
def test_values_of_the_odd_kernel_are_the_shapley_values_of_what_it_fits(x64, num_frames, num_pairs):
    """The fitted odd function at all coalitions, by its kernel; its Shapley values by their definition."""
    rng = np.random.default_rng(num_frames)
    everybody = all_coalitions(num_frames)
    small = everybody[(everybody.sum(axis=1) > 0) & (everybody.sum(axis=1) <= num_frames // 2)]
    mask = small[rng.permutation(len(small))[:num_pairs]]
    # Two halves that are each other's rest would be one pair twice.
    mask = mask[[i for i in range(len(mask)) if not (mask[:i] == 1 - mask[i]).all(axis=1).any()]]
    odd, total = rng.normal(size=(len(mask), C)), rng.normal(size=C)
    counts = rng.uniform(0.5, 1, size=len(mask))
    found = odd_ridge.values(*(jnp.asarray(a) for a in (mask, odd, total, counts)))
    rows, targets = np.vstack([mask, np.ones(num_frames)]), np.vstack([odd, total / 2])

    def kernel(one, other, table, of_sizes):
        distance = np.abs(one[:, None] - other[None]).sum(axis=2).astype(int)
        size, of_other = one.sum(axis=1)[:, None], other.sum(axis=1)[None]
        alike = (size == of_other).astype(float) - (size + of_other == num_frames)
        return table[distance] + of_sizes * alike

    best = np.inf, None
    tables = odd_ridge._tables(num_frames)
    for table, of_sizes in zip(tables.odd, tables.sizes, strict=True):
        among = kernel(rows, rows, table, of_sizes)
        for strength in odd_ridge.RIDGES * 10 * np.linalg.eigvalsh(among)[-1] / len(mask):
            error = 0.0
            for left in range(len(mask)):
                rest = np.setdiff1d(np.arange(len(rows)), [left])
                alpha = np.linalg.solve(among[np.ix_(rest, rest)] + strength * np.eye(len(rest)), targets[rest])
                error += counts[left] * ((targets[left] - among[left, rest] @ alpha) ** 2).sum()
            if error < best[0]:
                alpha = np.linalg.solve(among + strength * np.eye(len(rows)), targets)
                best = error, kernel(everybody, rows, table, of_sizes) @ alpha
    wanted = oracles.permutation_shapley(lambda there: best[1][sum(1 << i for i in there)], num_frames)
    wanted += (total - wanted.sum(axis=0)) / num_frames
    np.testing.assert_allclose(found, wanted, atol=1e-8)


@pytest.mark.parametrize("max_evaluations", [30, 100])
def test_derivatives_in_worths_are_those_of_differences(x64, max_evaluations):
    game, table = tables.clip_game(order_table())
    estimator = esv_jax.surrogate(max_evaluations=max_evaluations)
    plan = estimator.plan(8, key=jax.random.key(1))
    rows = plan.mask @ (1 << np.arange(8))
    worths = jnp.asarray(table[rows], jnp.float64)
    empty = jnp.asarray(game.empty, jnp.float64)
    pull = jnp.asarray(np.random.default_rng(3).normal(size=(8, C)))

    def of_worths(worths):
        return (pull * estimator.estimate(plan, worths, worths, empty, game.link).values).sum()

    gradient = jax.grad(of_worths)(worths)
    assert np.isfinite(gradient).all()
    push = jnp.asarray(np.random.default_rng(5).normal(size=worths.shape)) * 1e-6
    difference = (of_worths(worths + push) - of_worths(worths - push)) / 2
    np.testing.assert_allclose((gradient * push).sum(), difference, rtol=1e-3)


def test_models_count_by_their_errors():
    errors = jnp.asarray([[1.0, 2.0], [jnp.inf, 100.0]])
    weights = np.asarray(game_model._weights(errors, 0.1))
    np.testing.assert_allclose(weights / weights.sum(), np.array([[8, 1], [0, 0]]) / 9, rtol=1e-5)
    weights = np.asarray(game_model._weights(errors, 0.12))
    np.testing.assert_array_equal(weights, [[1, 0], [0, 0]])
    exact = np.asarray(game_model._weights(jnp.asarray([0.0, 1e-3]), 0.0))
    np.testing.assert_array_equal(exact, [1, 0])


def test_the_model_is_the_mean_of_its_fits():
    """Two targets of linear fits, each through its link; kernels that do not count are not asked, be they NaN."""
    rng = np.random.default_rng(11)
    mask = jnp.asarray(all_coalitions(4)[1:], jnp.float32)
    functions = logit_fit.linear_functions(mask)
    shape = functions.shape[1]
    linear = logit_fit.Fit(
        *(jnp.asarray(rng.normal(size=(2, *rest)), jnp.float32) for rest in [(shape,), (C,), (shape, C), (), ()])
    )
    kernel = jax.tree.map(lambda a: a[:1], logit_fit.kernels(4, jnp.float32))
    smooth = logit_fit.Fit(*(jnp.full((1, 2, *rest), jnp.nan) for rest in [(17,), (C,), (17, C), (), ()]))
    model = game_model.Model(linear, smooth, kernel, mask, jnp.asarray([0.3, 0.7]), jnp.zeros((1, 2)), jnp.asarray(0.5))
    centre, offset, coefficients = (np.asarray(a) for a in (linear.centre, linear.offset, linear.coefficients))
    said = [offset[i] + (np.asarray(functions) - centre[i]) @ coefficients[i] for i in range(2)]
    expected = 0.3 * oracles.softmax(said[0]) + 0.7 * said[1]
    found = game_model.worths(model, (jax.nn.softmax, lambda x: x), mask)
    np.testing.assert_allclose(found, expected, atol=1e-5)

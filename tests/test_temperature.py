"""Heads with temperatures: the model's own scores, those of its games, and exact values, however they are summed."""

import itertools

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import models
from esv_jax.coalitions import masks, weights
from esv_jax.explaining import explain as explaining
from esv_jax.games import frame_mean_sums
from tests import oracles
from tests.models.oracles import randomised

TEMPERATURE = np.array([0.5, 3.0, 0.8, 1.7], np.float32)
RNG = np.random.default_rng(0)
EMPTY = np.full(3, 1 / 3, np.float32)


def made(kind):
    """A model with temperatures of 1..4 frames, its variables, the same without, and its game."""
    options = {"num_classes": 3, "num_temperatures": 4}
    model = models.TSN(**options) if kind == "tsn" else models.MultiscaleTRN(num_scales=3, hidden_dim=5, **options)
    variables = dict(randomised(jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 6), np.float32))))
    assert variables["calibration"]["temperature"].shape == (4,)
    variables["calibration"] = {"temperature": TEMPERATURE}
    game = esv_jax.tsn_game if kind == "tsn" else esv_jax.trn_game
    return model, variables, model.clone(num_temperatures=0), game(model, empty=EMPTY)


@pytest.mark.parametrize("kind", ["tsn", "trn"])
def test_new_models_have_temperatures_of_one(kind):
    model, *_ = made(kind)
    variables = model.init(jax.random.key(0), np.zeros((2, 6), np.float32))
    np.testing.assert_array_equal(variables["calibration"]["temperature"], np.ones(4, np.float32))


@pytest.mark.parametrize("kind", ["tsn", "trn"])
def test_the_models_scores_are_divided_and_its_game_says_the_same(kind):
    model, variables, plain, game = made(kind)
    video = RNG.normal(size=(6, 6)).astype(np.float32)
    every = masks.every(6)[1:]
    found = esv_jax.worths(game, variables, video, every)
    for mask, worth in zip(every, found, strict=True):
        shown = video[np.flatnonzero(mask)]
        logits = np.asarray(plain.apply({"params": variables["params"]}, shown), np.float64)
        expected = logits / float(TEMPERATURE[min(len(shown), 4) - 1])  # the last is that of five and six frames
        np.testing.assert_allclose(model.apply(variables, shown), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(worth, oracles.softmax(expected), atol=1e-5)


def by_permutations(model, variables, video):
    apply = jax.jit(model.apply)

    def worth(coalition):
        if not coalition:
            return EMPTY
        return oracles.softmax(np.asarray(apply(variables, video[list(coalition)]), np.float64))

    return oracles.permutation_shapley(worth, len(video))


@pytest.mark.parametrize("kind", ["tsn", "trn"])
def test_exact_values_are_those_of_the_models_scores(kind):
    model, variables, _, game = made(kind)
    video = RNG.normal(size=(6, 6)).astype(np.float32)
    out = esv_jax.explain(esv_jax.exact(), game, variables, video)
    np.testing.assert_allclose(out.values, by_permutations(model, variables, video), atol=1e-5)
    full = oracles.softmax(np.asarray(model.apply(variables, video), np.float64))
    np.testing.assert_allclose(out.full, full, atol=1e-6)


@pytest.mark.parametrize("wide", [False, True])
def test_closed_form_of_frame_means_by_halves_and_where_that_would_underflow(monkeypatch, wide):
    monkeypatch.setattr(frame_mean_sums, "FEWEST_FRAMES", 0)
    model, variables, *_ = made("tsn")
    game = esv_jax.tsn_game(model, empty=EMPTY)
    # Logits that differ by less than 60, but by more once divided by a temperature of 0.1.
    variables["calibration"] = {"temperature": TEMPERATURE * np.float32(0.05 if wide else 1)}
    video = RNG.normal(size=(5, 6)).astype(np.float32) * (3 if wide else 1)
    values, _ = game.exact(variables, video, *weights.shapley(5))
    np.testing.assert_allclose(values - EMPTY[None] / 5, by_permutations(model, variables, video), atol=2e-5)


def test_groups_of_frames_have_the_temperature_of_their_frames():
    model, variables, _, game = made("trn")
    video = RNG.normal(size=(6, 6)).astype(np.float32)
    pairs = [(f"{i}", [("frames", (2 * i, 2 * i + 1))]) for i in range(3)]
    found = esv_jax.worths(esv_jax.grouped(game, pairs), variables, video, masks.every(3)[1:])
    for mask, worth in zip(masks.every(3)[1:], found, strict=True):
        shown = video[list(itertools.chain(*((2 * i, 2 * i + 1) for i in np.flatnonzero(mask))))]
        np.testing.assert_allclose(worth, oracles.softmax(np.asarray(model.apply(variables, shown))), atol=1e-5)


def test_other_temperatures_compile_nothing_anew():
    _, variables, _, game = made("trn")
    video = RNG.normal(size=(5, 6)).astype(np.float32)
    first = esv_jax.explain(esv_jax.exact(), game, variables, video)
    compiled = explaining._explain_all._cache_size()
    changed = {**variables, "calibration": {"temperature": TEMPERATURE + 1}}
    second = esv_jax.explain(esv_jax.exact(), game, changed, video)
    assert explaining._explain_all._cache_size() == compiled
    assert abs(first.values - second.values).max() > 1e-3

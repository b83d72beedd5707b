"""Games of models on the host: their worths by definition, and what they make of what models return."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax import InputError, removals
from esv_jax.explaining import explain as explaining
from esv_jax.games import host
from tests import oracles

T, D, C = 5, 3, 4
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(D, C)).astype(np.float32)
VIDEO = RNG.normal(size=(T, D)).astype(np.float32)
EMPTY = np.full(C, 0.25, np.float32)


def logits(weights, clips):
    assert isinstance(clips, np.ndarray)
    return np.tanh(clips).mean(axis=1) @ weights + clips[:, 0] @ weights * 0.3


def worth_of(removal, link, empty=EMPTY):
    """(coalition) -> worth, one clip at a time."""

    def worth(coalition):
        if not coalition and empty is not None:
            return np.asarray(empty, np.float64)
        mask = np.isin(np.arange(T), coalition)[None]
        clips = removals.made(removal).show(VIDEO)(mask)
        return np.mean([link(logits(WEIGHTS, clip[None])[0].astype(np.float64)) for clip in clips], axis=0)

    return worth


def log_odds(x):
    p = oracles.softmax(x)
    return np.log(p) - np.log1p(-p)


LINKS = {
    "softmax": oracles.softmax,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "identity": lambda x: x,
    "log-odds": log_odds,
}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("removal", ["nearest", "delete", "zero"])
def test_values_equal_the_permutation_oracle(removal, link):
    game = esv_jax.host_game(logits, empty=EMPTY, removal=removal, link=link, batch_size=3)
    out = esv_jax.explain(esv_jax.exact(), game, WEIGHTS, VIDEO)
    expected = oracles.permutation_shapley(worth_of(removal, LINKS[link]), T)
    np.testing.assert_allclose(out.values, expected, atol=2e-6)
    assert int(out.num_evaluations) == 2**T - 1


def test_worths_of_other_videos_are_means():
    others = RNG.normal(size=(3, T, D)).astype(np.float32)
    game = esv_jax.host_game(logits, removal=removals.other_videos(others), link="softmax")
    out = esv_jax.explain(esv_jax.exact(), game, WEIGHTS, VIDEO)
    worth = worth_of(removals.other_videos(others), oracles.softmax, None)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, T), atol=2e-6)
    np.testing.assert_allclose(out.empty, worth(()), atol=1e-6)


def test_nobody_is_asked_for_where_the_removal_says_what_that_is():
    game = esv_jax.host_game(logits, removal="zero", link="softmax")
    out = esv_jax.explain(esv_jax.exact(), game, WEIGHTS, VIDEO)
    np.testing.assert_allclose(out.empty, worth_of("zero", oracles.softmax, None)(()), atol=1e-6)
    mask = np.array([[False] * T, [True] * T])
    found = esv_jax.worths(game, WEIGHTS, VIDEO, mask)
    np.testing.assert_allclose(found, [out.empty, out.full], atol=1e-6)
    with pytest.raises(InputError, match=r"empty should be given, .* with the removal 'nearest' no clip is of nobody"):
        esv_jax.host_game(logits)


def test_an_attention_mask_is_handed_over():
    def masked(weights, clips, mask):
        return (clips * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True) @ weights

    game = esv_jax.host_game(masked, empty=EMPTY, removal="attention_mask")
    out = esv_jax.explain(esv_jax.exact(), game, WEIGHTS, VIDEO)
    expected = oracles.permutation_shapley(
        lambda s: VIDEO[list(s)].mean(axis=0).astype(np.float64) @ WEIGHTS if s else EMPTY, T
    )
    np.testing.assert_allclose(out.values, expected, atol=2e-6)


def test_a_removal_may_be_a_function():
    def reversed_nearest(frames, mask):
        return removals.nearest().show(frames)(mask)[:, ::-1]

    game = esv_jax.host_game(logits, empty=EMPTY, removal=reversed_nearest)
    everyone = esv_jax.worths(game, WEIGHTS, VIDEO, np.ones((1, T), bool))
    np.testing.assert_allclose(everyone, logits(WEIGHTS, VIDEO[None, ::-1]), atol=1e-6)
    few = esv_jax.host_game(logits, empty=EMPTY, removal=lambda frames, mask: frames[None])
    with pytest.raises(InputError, match="removal should give a clip for each of 2 coalitions, found 1 clips"):
        esv_jax.worths(few, WEIGHTS, VIDEO, np.eye(T, dtype=bool)[:2])


def test_log_odds_are_right_where_one_class_is_all_but_sure():
    x = np.array([[40.0, 0.0, -3.0], [0.0, 0.0, 0.0], [-60.0, 1.0, 2.0]], np.float32)
    rows = x.astype(np.float64)
    expected = [[row[c] - np.log(np.exp(np.delete(row, c)).sum()) for c in range(3)] for row in rows]
    np.testing.assert_allclose(host.log_odds(jnp.asarray(x)), expected, rtol=2e-6)


Output = collections.namedtuple("Output", "loss logits")
SCORES = RNG.normal(size=(2, C)).astype(np.float32)


@pytest.mark.parametrize(
    "said",
    [
        SCORES,
        SCORES.tolist(),
        jnp.asarray(SCORES),
        (SCORES,),
        {"logits": SCORES, "hidden_states": None},
        {"scores": SCORES},
        Output(None, SCORES),
    ],
    ids=lambda said: type(said).__name__,
)
def test_scores_are_found(said):
    np.testing.assert_array_equal(host.scores_of(said, 2), SCORES)


def test_a_regression_is_one_class():
    np.testing.assert_array_equal(host.scores_of(np.array([1.5, 2.5], np.float32), 2), [[1.5], [2.5]])


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (None, r"should be scores \[2, C\], found NoneType: return the scores alone"),
        ((SCORES, SCORES), r"found a tuple of ndarray, ndarray: return the scores alone"),
        ({"a": SCORES, "b": SCORES}, "found a dict of a, b: return the scores alone"),
        ("cat", "found str: return the scores alone"),
        (["cat", "dog"], "found a list of str, str"),
        (np.zeros((2, 6, C)), r"found ndarray \[2, 6, 4\]: choose a time step or a mean of them, output\[:, -1\]"),
        (np.zeros((3, C)), r"should have shape \[2, C\], found \[3, 4\]"),
        (np.zeros((2, C), int), "should be floating point, found int"),
    ],
    ids=str,
)
def test_what_has_no_obvious_scores_is_told(said, sentence):
    with pytest.raises(InputError, match=sentence):
        host.scores_of(said, 2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"link": "softmx"},
            "link should be one of softmax, sigmoid, identity, log-odds or a function, found",
        ),
        ({"batch_size": 0}, "batch_size should be an integer of at least 1, found 0"),
        ({"workers": 0}, "workers should be an integer of at least 1, found 0"),
        ({"retries": -1}, "retries should be an integer of at least 0, found -1"),
        ({"empty": [0.5, np.nan]}, "empty should be finite"),
    ],
    ids=str,
)
def test_mistakes_are_told(options, sentence):
    with pytest.raises(InputError, match=sentence):
        esv_jax.host_game(logits, **{"empty": EMPTY, **options})


def test_a_game_made_again_is_the_same_program():
    def explained():
        game = esv_jax.host_game(lambda model, clips: logits(model, clips), empty=EMPTY, link="softmax")
        return esv_jax.explain(esv_jax.regression(max_evaluations=21), game, WEIGHTS, VIDEO, key=jax.random.key(0))

    explained()
    compiled = explaining.estimated._cache_size()
    explained()
    assert explaining.estimated._cache_size() == compiled

"""A game of each form, written from the docstrings of base.py alone: it is enough.

In three of them the players are not the frames: three players, each a pair of the six frames of a video.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.base import Game, Host, Masks, Scales, Subsets, identity
from tests import oracles

D, C, M = 2, 3, 2
EMPTY = np.array([0.2, 0.3, 0.5])
RNG = np.random.default_rng(0)
PARAMS = {"w": RNG.normal(size=(D, C)), "last": RNG.normal(size=(D, C)), "head": RNG.normal(size=(M, M, D, C))}


def one_player_a_pair(video):
    return video.shape[0] // 2


def pairs_of(video):
    """Mean features [P, D] of pairs of frames."""
    return video.reshape(-1, 2, video.shape[1]).mean(axis=1)


# Masks: the sum of what the players of a coalition say, and a bit for how many they are.


def prepare_shares(params, video):
    return jnp.tanh(pairs_of(video)) @ params["w"]


def sum_of_shares(shares, mask):
    present = jnp.asarray(mask).astype(shares.dtype)
    return present @ shares + present.sum(axis=1, keepdims=True) ** 2 / 10


def worth_of_masks(video, coalition):
    said = np.tanh(pairs_of(video)[list(coalition)]) @ PARAMS["w"]
    return oracles.softmax(said.sum(axis=0) + len(coalition) ** 2 / 10)


# Subsets: frames in order; the last one counts by itself.


def params_and_video(params, video):
    return params, video


def clips_in_order(prepared, members):
    params, video = prepared
    clips = video[members]
    return jnp.tanh(clips).mean(axis=1) @ params["w"] + clips[:, -1] @ params["last"] * members.shape[1]


def worth_of_subsets(video, coalition):
    clip = video[list(coalition)]
    return np.tanh(clip).mean(axis=0) @ PARAMS["w"] + clip[-1] @ PARAMS["last"] * len(clip)


# Scales: a head for single pairs, a head for two pairs in order.


def params_and_pairs(params, video):
    return params["head"], pairs_of(video)


def heads(prepared, members):
    weights, pairs = prepared
    size = members.shape[1]
    return sum(jnp.tanh(pairs[members[:, p]] * size) @ weights[size - 1, p] for p in range(size))


def worth_of_scales(video, coalition):
    def head(subset):
        size = len(subset)
        return sum(np.tanh(pairs_of(video)[i] * size) @ PARAMS["head"][size - 1, p] for p, i in enumerate(subset))

    return oracles.multiscale_worth(head, EMPTY, M)(coalition)


# Host: a model that only knows NumPy, as an object.


class OnHost(NamedTuple):
    weights: np.ndarray

    def score(self, features):
        assert isinstance(features, np.ndarray)
        return np.maximum(features, 0) @ self.weights


def scores_on_host(model, video):
    assert isinstance(model, OnHost)
    return model.score(pairs_of(np.asarray(video)))


def largest_on_host(scores, mask):
    assert isinstance(mask, np.ndarray)
    return np.where(mask[:, :, None], scores[None], -np.inf).max(axis=1)


def worth_of_host(video, coalition):
    return oracles.softmax((np.maximum(pairs_of(video)[list(coalition)], 0) @ PARAMS["w"]).max(axis=0))


# A game that can sum over all coalitions itself: what the players say, added up.


def added_up(params, video, with_player, without_player):
    shares = prepare_shares(params, video)
    total, num_players = shares.sum(axis=0), len(shares)
    others = total[None] - shares
    values = jnp.zeros_like(shares)
    for size in range(1, num_players + 1):
        # How many coalitions of this size hold i; hold i and j; hold j and not i.
        with_i = math.comb(num_players - 1, size - 1)
        with_both = math.comb(num_players - 2, size - 2) if size > 1 else 0
        with_j = math.comb(num_players - 2, size - 1)
        values = values + with_player[size] * (with_i * shares + with_both * others)
        values = values + without_player[size] * with_j * others
    return values, total


def plain_sum(shares, mask):
    return jnp.asarray(mask).astype(shares.dtype) @ shares


def worth_of_sums(video, coalition):
    return (np.tanh(pairs_of(video)[list(coalition)]) @ PARAMS["w"]).sum(axis=0)


class Case(NamedTuple):
    game: Game
    params: object
    num_frames: int
    num_players: int
    worth: object


CASES = {
    "masks": Case(
        Game(EMPTY, prepare_shares, sum_of_shares, jax.nn.softmax, Masks(), one_player_a_pair),
        PARAMS,
        6,
        3,
        worth_of_masks,
    ),
    "subsets": Case(Game(EMPTY, params_and_video, clips_in_order, identity, Subsets()), PARAMS, 4, 4, worth_of_subsets),
    "scales": Case(
        Game(EMPTY, params_and_pairs, heads, jax.nn.softmax, Scales(M), one_player_a_pair),
        PARAMS,
        6,
        3,
        worth_of_scales,
    ),
    "host": Case(
        Game(EMPTY, scores_on_host, largest_on_host, jax.nn.softmax, Host(), one_player_a_pair),
        OnHost(PARAMS["w"]),
        6,
        3,
        worth_of_host,
    ),
    "masks, with exact": Case(
        Game(EMPTY, prepare_shares, plain_sum, identity, Masks(), one_player_a_pair, added_up),
        PARAMS,
        6,
        3,
        worth_of_sums,
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
pytestmark = pytest.mark.usefixtures("x64")


def video_of(case, seed=1):
    return np.random.default_rng(seed).normal(size=(case.num_frames, D))


def worth_of(case, video):
    return lambda coalition: case.worth(video, coalition) if coalition else EMPTY


@each_case
@pytest.mark.parametrize(
    "estimator",
    [
        esv_jax.exact(),
        esv_jax.recommended(),
        esv_jax.regression(max_evaluations=15),
        esv_jax.stratified(per_size=10),
        esv_jax.stratified_paired(per_size=10),
    ],
    ids=lambda estimator: estimator.name,
)
def test_values(case, estimator):
    """Of all coalitions, with a plan or without."""
    video = video_of(case)
    expected = oracles.permutation_shapley(worth_of(case, video), case.num_players)
    out = esv_jax.explain(estimator, case.game, case.params, video, key=jax.random.key(0))
    assert out.values.shape == (case.num_players, C)
    np.testing.assert_allclose(out.values, expected, atol=1e-12)
    np.testing.assert_allclose(out.full, worth_of(case, video)(tuple(range(case.num_players))), atol=1e-12)
    np.testing.assert_array_equal(out.empty, EMPTY)
    np.testing.assert_allclose(out.std_error, 0, atol=1e-12)
    assert int(out.num_evaluations) == 2**case.num_players - 1


@each_case
def test_worths(case):
    video = video_of(case)
    every = (np.arange(2**case.num_players)[:, None] >> np.arange(case.num_players) & 1).astype(bool)
    mask = np.random.default_rng(2).permutation(np.concatenate([every, every]))
    expected = [worth_of(case, video)(tuple(np.flatnonzero(row))) for row in mask]
    np.testing.assert_allclose(esv_jax.worths(case.game, case.params, video, mask), expected, atol=1e-12)


@each_case
def test_batches_and_runs(case):
    videos = np.stack([video_of(case, seed) for seed in (3, 4)])
    batch = esv_jax.explain_batch(esv_jax.exact(), case.game, case.params, videos)
    for video, values in zip(videos, batch.values, strict=True):
        expected = oracles.permutation_shapley(worth_of(case, video), case.num_players)
        np.testing.assert_allclose(values, expected, atol=1e-12)
    sampled = esv_jax.explain_until(
        esv_jax.orderings(max_evaluations=20),
        case.game,
        case.params,
        videos[1],
        key=jax.random.key(0),
        max_evaluations=200,
    )
    assert (np.abs(sampled.values - expected) < 5 * np.asarray(sampled.std_error) + 1e-12).all()


def test_what_sums_for_itself_says_what_asking_for_all_coalitions_does():
    case = CASES["masks, with exact"]
    video = video_of(case)
    by_itself = esv_jax.explain(esv_jax.exact(), case.game, case.params, video)
    asked = esv_jax.explain(esv_jax.exact(), case.game._replace(exact=None), case.params, video)
    np.testing.assert_allclose(by_itself.values, asked.values, atol=1e-12)


def test_children_of_a_plan_as_in_the_paper():
    """Scales(M, all_subsets=False): v(S) from the prefix before S alone, where a plan has no other child of S."""
    case = CASES["scales"]
    video = video_of(case)
    game = case.game._replace(form=Scales(M, all_subsets=False))
    estimator = esv_jax.orderings(max_evaluations=5)
    plan = estimator.plan(3, key=jax.random.key(1))
    out = esv_jax.explain(estimator, game, case.params, video, plan=plan)
    np.testing.assert_allclose(out.full, worth_of(case, video)((0, 1, 2)), atol=1e-12)
    sound = esv_jax.explain(estimator, case.game, case.params, video, plan=plan)
    np.testing.assert_allclose(sound.values.sum(axis=0), sound.full - sound.empty, atol=1e-12)
    assert np.abs(out.values - sound.values).max() > 1e-3

"""Coalitions streamed in tiles against the plan of all of them, with tiles small enough that every loop turns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import lattice, masks, unrank, walk, weights
from tests.contracts.cases import GAMES, D

T = 9


@pytest.mark.parametrize(("num_players", "size", "width"), [(1, 1, 1), (6, 3, 3), (9, 4, 9), (12, 12, 12), (10, 1, 10)])
def test_members_and_children_from_ranks(num_players, size, width):
    members = lattice.combinations(num_players, size)
    ranks = jnp.arange(len(members), dtype=jnp.int32)
    made = jax.jit(unrank.level, static_argnums=(1, 3))(ranks, num_players, size, width)
    filled = ((0, 0), (0, width - size))
    np.testing.assert_array_equal(made.members, np.pad(members, filled, constant_values=-1))
    np.testing.assert_array_equal(made.children, np.pad(lattice.child_ranks(members), filled, constant_values=-1))
    np.testing.assert_array_equal(made.mask, masks.of_members(members, num_players))


def test_the_last_rank_of_thirty_players():
    rank = jnp.array([155117519], jnp.int32)
    made = unrank.level(rank, 30, 15, 15)
    assert made.members[0].tolist() == list(range(15, 30))
    assert made.children[0].tolist() == lattice.child_ranks(np.arange(15, 30)[None])[0].tolist()


@functools.cache
def planned(name):
    """Game, params, video and the values from the plan of all coalitions."""
    game, params = GAMES[name].make(np.float32)
    video = np.random.default_rng(1).normal(size=(T, D)).astype(np.float32)
    return game, params, video, esv_jax.explain(esv_jax.exact(), game, params, video, plan=esv_jax.exact().plan(T))


def check(name, values, full):
    game, _, _, expected = planned(name)
    np.testing.assert_allclose(values - game.empty[None] / T, expected.values, atol=2e-6)
    np.testing.assert_allclose(full, expected.full, atol=1e-6)


@pytest.mark.parametrize("name", ["clip_game", "frame_mean_game", "multiscale_game", "trn_game"])
@pytest.mark.parametrize("listed_players", [16, 0])
def test_tiles_give_the_values_of_the_plan(name, listed_players, monkeypatch):
    game, params, video, _ = planned(name)
    monkeypatch.setattr(walk, "TILE_ROWS", 16)
    monkeypatch.setattr(walk, "LISTED_PLAYERS", listed_players)
    logits = functools.partial(game.logits, game.prepare(params, jnp.asarray(video)))
    check(name, *walk.sum_over_all(game.form, logits, game.link, T, weights.of_players(weights.shapley(T))))


def test_tiles_of_small_subsets_alone(monkeypatch):
    game, params, video, _ = planned("multiscale_game, of scores")
    monkeypatch.setattr(walk, "TILE_ROWS", 16)
    check("multiscale_game, of scores", *game.exact(params, jnp.asarray(video), *weights.shapley(T)))


def test_weights_by_hand():
    with_player, without_player = weights.shapley(3)
    np.testing.assert_allclose(with_player, [0, 1 / 3, 1 / 6, 1 / 3])
    np.testing.assert_allclose(without_player, [-1 / 3, -1 / 6, -1 / 3, 0])

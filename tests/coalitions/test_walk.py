"""Coalitions streamed in tiles against the plan of all of them, with tiles small enough that every loop turns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import lattice, unrank, weights
from esv_jax.coalitions import walk as whole_lattice
from tests.contracts.cases import GAMES, D


@pytest.mark.parametrize(("num_frames", "size", "width"), [(1, 1, 1), (6, 3, 3), (9, 4, 9), (12, 12, 12), (10, 1, 10)])
def test_members_and_children_from_ranks(num_frames, size, width):
    members = lattice.combinations(num_frames, size)
    ranks = jnp.arange(len(members), dtype=jnp.int32)
    made = jax.jit(unrank.level, static_argnums=(1, 3))(ranks, num_frames, size, width)
    filled = ((0, 0), (0, width - size))
    np.testing.assert_array_equal(made.members, np.pad(members, filled, constant_values=-1))
    np.testing.assert_array_equal(made.children, np.pad(lattice.child_ranks(members), filled, constant_values=-1))
    np.testing.assert_array_equal(made.inside, lattice.inside(members, num_frames))


def test_the_last_rank_of_thirty_frames():
    rank = jnp.array([155117519], jnp.int32)
    made = unrank.level(rank, 30, 15, 15)
    assert made.members[0].tolist() == list(range(15, 30))
    assert made.children[0].tolist() == lattice.child_ranks(np.arange(15, 30)[None])[0].tolist()


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("listed_frames", [16, 0])
def test_tiles_give_the_values_of_the_plan(name, listed_frames, monkeypatch):
    game, params = GAMES[name].make(np.float32)
    video = np.random.default_rng(1).normal(size=(9, D)).astype(np.float32)
    planned = esv_jax.explain(esv_jax.exact(), game, params, video, plan=esv_jax.exact().plan(num_frames=9))
    monkeypatch.setattr(whole_lattice, "TILE_ROWS", 16)
    monkeypatch.setattr(whole_lattice, "LISTED_FRAMES", listed_frames)
    prepared = (game.prepare_for_all or game.prepare)(params, jnp.asarray(video))
    values, full = whole_lattice.sum_over_all(game, prepared, 9, *weights.shapley(9))
    np.testing.assert_allclose(values - game.empty[None] / 9, planned.values, atol=2e-6)
    np.testing.assert_allclose(full, planned.full, atol=1e-6)


def test_weights_by_hand():
    with_frame, without_frame = weights.shapley(3)
    np.testing.assert_allclose(with_frame, [0, 1 / 3, 1 / 6, 1 / 3])
    np.testing.assert_allclose(without_frame, [-1 / 3, -1 / 6, -1 / 3, 0])

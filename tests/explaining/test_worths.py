"""Any coalitions of one video or of many, whatever the game's form; that they are the definition's is in contracts."""

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.checks import InputError
from esv_jax.explaining import worths as asking
from tests.contracts.cases import EMPTY, GAMES, D

T = 4
VIDEO = np.random.default_rng(0).normal(size=(T, D)).astype(np.float32)
MASK = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
each_game = pytest.mark.parametrize("name", ["clip_game", "frame_mean_game", "trn_game", "host_game"])


@each_game
def test_masks_of_another_shape_are_refused(name):
    game, params = GAMES[name].make(np.float32)
    for wrong in (np.ones((1, T + 1), bool), np.ones(T, bool)):
        with pytest.raises(InputError, match=r"mask should have shape \[N, 4\], found \["):
            esv_jax.worths(game, params, VIDEO, wrong)


@each_game
def test_any_kind_of_mask(name):
    game, params = GAMES[name].make(np.float32)
    expected = esv_jax.worths(game, params, VIDEO, MASK)
    for mask in (MASK.astype(np.int8), MASK.astype(np.float32), jax.numpy.asarray(MASK)):
        np.testing.assert_allclose(esv_jax.worths(game, params, VIDEO, mask), expected, atol=1e-7)
    np.testing.assert_allclose(expected[1], EMPTY, atol=1e-7)


@pytest.mark.parametrize("name", ["frame_mean_game", "trn_game"])
def test_traced_masks(name):
    game, params = GAMES[name].make(np.float32)
    expected = esv_jax.worths(game, params, VIDEO, MASK)
    found = jax.jit(lambda mask: esv_jax.worths(game, params, VIDEO, mask))(MASK)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    batched = jax.vmap(lambda mask: esv_jax.worths(game, params, VIDEO, mask[None]))(MASK)
    np.testing.assert_allclose(batched[:, 0], expected, atol=1e-6)


def test_games_compiled_for_every_size_need_to_see_the_mask():
    game, params = GAMES["clip_game"].make(np.float32)
    with pytest.raises(InputError, match=r"mask is traced .* compiled for every size of coalitions; give it in NumPy"):
        jax.jit(lambda mask: esv_jax.worths(game, params, VIDEO, mask))(MASK)
    traced_video = jax.jit(lambda video: esv_jax.worths(game, params, video, MASK))(VIDEO)
    np.testing.assert_allclose(traced_video, esv_jax.worths(game, params, VIDEO, MASK), atol=1e-6)


def test_host_games_need_to_see_the_video():
    game, params = GAMES["host_game"].make(np.float32)
    with pytest.raises(InputError, match=r"video is traced .* a host game runs outside of JAX"):
        jax.jit(lambda video: esv_jax.worths(game, params, video, MASK))(VIDEO)


def test_a_batch_a_few_videos_at_a_time(monkeypatch):
    monkeypatch.setattr(asking, "VIDEOS_AT_ONCE", 2)
    game, params = GAMES["frame_mean_game"].make(np.float32)
    videos = np.random.default_rng(1).normal(size=(5, T, D)).astype(np.float32)
    mask = np.random.default_rng(2).random((5, 6, T)) < 0.5
    found = asking.worths_of_batch(game, params, videos, mask)
    for b in range(5):
        np.testing.assert_allclose(found[b], esv_jax.worths(game, params, videos[b], mask[b]), atol=1e-6)
    with pytest.raises(InputError, match="mask should have shape"):
        asking.worths_of_batch(game, params, videos, mask[:, :, :3])

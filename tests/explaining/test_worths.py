import itertools

import numpy as np
import pytest

import esv_jax
from esv_jax import models
from esv_jax.checks import InputError
from esv_jax.explaining import worths
from tests.contracts.cases import EMPTY, GAMES, C, D

T = 4
VIDEOS = np.random.default_rng(0).normal(size=(3, T, D))


@pytest.mark.parametrize("name", ["tsn_game", "trn_game"])
def test_worths_are_those_of_the_definition(name):
    case = GAMES[name]
    game, params = case.make(np.float32)
    if name == "trn_game":
        model = models.MultiscaleTRN(num_scales=3, hidden_dim=5, num_classes=C)
        game = esv_jax.trn_game(model, empty=EMPTY.astype(np.float32), all_subsets=True)
    every = np.array(list(itertools.product([0, 1], repeat=T)), bool)
    inside = np.stack([np.random.default_rng(b).permutation(every) for b in range(3)])
    found = worths.worths(game, params, VIDEOS.astype(np.float32), inside)
    for video, rows, of_rows in zip(VIDEOS, inside, found, strict=True):
        worth = case.worth(video)
        expected = [worth(tuple(int(i) for i in np.flatnonzero(row))) for row in rows]
        np.testing.assert_allclose(of_rows, expected, atol=3e-6)


def test_games_that_need_sizes_apart_are_refused():
    game, params = GAMES["trn_game"].make(np.float32)
    with pytest.raises(InputError, match="all_subsets=True"):
        worths.worths(game, params, VIDEOS.astype(np.float32), np.ones((3, 1, T), bool))
    with pytest.raises(InputError, match=r"inside should have shape \[3, N, 4\], found \[3, 1, 5\]"):
        worths.worths(game, params, VIDEOS.astype(np.float32), np.ones((3, 1, 5), bool))

"""Games given by a table of worths, so that any game can be made: row n is worth of the coalition of n's bits."""

import itertools

import jax.numpy as jnp
import numpy as np

import esv_jax
from esv_jax.base import Game, identity


def video(num_players):
    """float32 [P, 1]: a player's bit."""
    return 2.0 ** np.arange(num_players, dtype=np.float32)[:, None]


def _row_of(members):
    return (1 << jnp.asarray(members)).sum(axis=1)


def read_clips(table, clips):
    """Worths [N, C] of clips whose single feature is the player's bit."""
    return table[clips[:, :, 0].astype(jnp.int32).sum(axis=1)]


def clip_game(table):
    """(game, params) of a table [2^P, C]."""
    return esv_jax.clip_game(read_clips, empty=table[0]), table


def _read_heads(prepared, members):
    return prepared[_row_of(members)]


def _table_alone(table, video):
    return table


def scales_game(table):
    """The same worths as means over subsets: p_s(R) = s v(R) - sum over j < s of the mean of p_j over R's subsets."""
    num_players = len(table).bit_length() - 1
    heads = np.zeros(table.shape, np.float64)
    for size in range(1, num_players + 1):
        for members in itertools.combinations(range(num_players), size):
            row = sum(2**i for i in members)
            means = [
                np.mean([heads[sum(2**i for i in s)] for s in itertools.combinations(members, j)], axis=0)
                for j in range(1, size)
            ]
            heads[row] = size * np.asarray(table[row], np.float64) - np.sum(means, axis=0)
    game = Game(table[0], _table_alone, _read_heads, identity, esv_jax.Scales(num_players, averages_scores=True))
    return game, heads.astype(table.dtype)

"""Subsets of the players drawn so that every player occurs as often as any other. Host NumPy."""

import numpy as np


def subsets(num_players: int, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Subsets int32 [count, size], rows increasing: random permutations one after another, cut into pieces.

    No player occurs more than once more often than another. Every single row is uniform over all subsets of its size
    (the procedure treats all players alike), so that means over rows are unbiased; rows may repeat.
    """
    rows: list[np.ndarray] = []
    begun = np.zeros(0, np.int64)
    drawn = 0
    while drawn < count:
        order = rng.permutation(num_players)
        # The piece across two permutations is completed by the first players that it does not hold yet.
        elsewhere = order[~np.isin(order, begun)]
        piece = np.concatenate([begun, elsewhere[: size - len(begun)]])
        rest = np.concatenate([order[np.isin(order, begun)], elsewhere[size - len(begun) :]])
        rest = rest[rng.permutation(len(rest))]
        whole = len(rest) // size * size
        pieces = np.concatenate([piece[None], rest[:whole].reshape(-1, size)])
        rows.append(pieces)
        drawn += len(pieces)
        begun = rest[whole:]
    return np.sort(np.concatenate(rows)[:count], axis=1).astype(np.int32)

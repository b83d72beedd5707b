import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esv_jax.coalitions import lattice


@pytest.mark.parametrize(("num_frames", "size"), [(1, 0), (1, 1), (5, 2), (7, 4), (9, 9)])
def test_combinations_are_all_of_them_in_colexicographic_order(num_frames, size):
    expected = sorted(itertools.combinations(range(num_frames), size), key=lambda s: s[::-1])
    assert [tuple(row) for row in lattice.combinations(num_frames, size)] == expected


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(1, 11), st.data())
def test_ranks_and_children(num_frames, data):
    size = data.draw(st.integers(1, num_frames))
    members = lattice.combinations(num_frames, size)
    np.testing.assert_array_equal(lattice.rank(members), np.arange(math.comb(num_frames, size)))
    below = [tuple(row) for row in lattice.combinations(num_frames, size - 1)]
    children = lattice.child_ranks(members)
    for row, ranks in zip(members, children, strict=True):
        for position, child in enumerate(ranks):
            assert below[child] == tuple(np.delete(row, position))


def test_rank_of_a_large_coalition_is_exact():
    members = np.array([[3, 20, 41, 60]])
    assert lattice.rank(members)[0] == math.comb(3, 1) + math.comb(20, 2) + math.comb(41, 3) + math.comb(60, 4)

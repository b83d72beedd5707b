"""Sums of what members add at their positions, by tables of parts, against sums one by one."""

import jax.numpy as jnp
import numpy as np
import pytest

from esv_jax.coalitions import lattice
from esv_jax.games import position_sums


@pytest.mark.parametrize("max_rows", [2048, 20, 5])
@pytest.mark.parametrize(("num_frames", "size"), [(1, 1), (7, 1), (7, 2), (7, 3), (8, 5), (6, 6)])
def test_parts_add_up(num_frames, size, max_rows, monkeypatch):
    monkeypatch.setattr(position_sums, "MAX_ROWS", max_rows)
    choices = num_frames - size + 1
    shares = np.random.default_rng(0).normal(size=(size, choices, 3))
    members = lattice.combinations(num_frames, size)
    expected = sum(shares[p, members[:, p] - p] for p in range(size))
    made = position_sums.tables(jnp.asarray(shares, jnp.float32))
    np.testing.assert_allclose(position_sums.look_up(made, members, choices), expected, rtol=1e-5, atol=1e-6)
    some = members[::-2]
    found = position_sums.look_up(made, jnp.asarray(some), choices)
    np.testing.assert_allclose(found, expected[::-2], rtol=1e-5, atol=1e-6)


def test_a_table_holds_few_rows():
    made = position_sums.tables(jnp.zeros((8, 57, 1), jnp.float32))
    assert [len(table) for table in made] == [1653] * 4

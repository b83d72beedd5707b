"""Joint logits out of those of the heads, f_s given by tables: against their definition in float64."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from esv_jax.coalitions import joint, lattice, masks
from tests import oracles

P, M, C = 6, 3, 2
TABLES = np.random.default_rng(6).normal(size=(M, 2**P, C)).astype(np.float32)
EVERY = (np.arange(1, 2**P)[:, None] >> np.arange(P) & 1).astype(bool)


def heads(members):
    """f_s(R) from a table, by R's bits."""
    return jnp.asarray(TABLES)[members.shape[1] - 1][(1 << jnp.asarray(members)).sum(axis=1)]


def head(subset):
    return TABLES[len(subset) - 1][sum(2**i for i in subset)].astype(np.float64)


def expected(mask):
    worth = oracles.score_average_worth(head, None, M)
    return np.array([worth(tuple(np.flatnonzero(row).tolist())) for row in mask])


@pytest.mark.parametrize("rows_at_once", [256, 10])
def test_of_any_coalitions(rows_at_once, monkeypatch):
    monkeypatch.setattr(joint, "ROWS_AT_ONCE", rows_at_once)
    mask = np.random.default_rng(0).permutation(EVERY)
    np.testing.assert_allclose(joint.of_masks(heads, M, mask), expected(mask), atol=1e-6)
    np.testing.assert_allclose(joint.of_everyone(heads, M, P), expected(masks.everyone(P)), atol=1e-6)


@pytest.mark.parametrize("kind", ["known", "traced", "many known"])
def test_the_recurrence_over_all_children(kind, monkeypatch):
    """Children as a product with a matrix, as lookups in one pass, and as lookups in a loop."""
    monkeypatch.setattr(joint, "UNROLLED_CHILDREN", 2)
    monkeypatch.setattr(joint, "DENSE_CHILDREN", 0 if kind == "many known" else 16)
    below = None
    for size in range(1, P + 1):
        members = lattice.combinations(P, size)
        children = lattice.child_ranks(members)
        below = joint.from_children(
            heads, M, size, members, jnp.asarray(children) if kind == "traced" else children, below
        )
        np.testing.assert_allclose(below, expected(masks.of_members(members, P)), atol=2e-6)


def test_the_mean_is_over_the_children_that_are_there():
    below = jnp.asarray([[1.0], [10.0], [100.0]])
    children = np.array([[2, -1, -1, -1], [0, 1, 2, -1]])
    found = joint.from_children(heads, M, 4, children, children, below)
    np.testing.assert_allclose(found, [[100], [37]])


@pytest.fixture
def _too_many_subsets(monkeypatch):
    monkeypatch.setattr(joint, "MAX_SUBSETS", 10)


@pytest.mark.usefixtures("_too_many_subsets")
def test_random_subsets_estimate_the_joint_logits_without_bias():
    """A hundred players of each kind: many coalitions are to have the same logits, and each draws its own subsets."""
    rows, rng = 500, np.random.default_rng(2)
    kinds = [(0, 1, 2, 4, 5), (1, 3), (2,)]
    mask = np.zeros((len(kinds), rows, 100 * P), bool)
    for of_kind, coalition in zip(mask, kinds, strict=True):
        for kind in coalition:
            of_kind[np.arange(rows), 100 * kind + rng.integers(100, size=rows)] = True
    found = joint.of_masks(lambda members: heads(members // 100), M, mask.reshape(-1, 100 * P))
    found = np.asarray(found, np.float64)
    for coalition, of_kind in zip(kinds, found.reshape(len(kinds), rows, C), strict=True):
        error = of_kind.std(axis=0) / np.sqrt(rows)
        wanted = oracles.score_average_worth(head, None, M)(coalition)
        assert (np.abs(of_kind.mean(axis=0) - wanted) < 3.5 * error + 1e-6).all()
        assert (len(coalition) == 1) == (error.max() < 1e-7), "a single player has one subset"


@pytest.mark.usefixtures("_too_many_subsets")
def test_random_subsets_depend_on_the_coalition_alone():
    """Not on its row, on who else is asked about, or on how many at a time."""
    order = np.random.default_rng(1).permutation(len(EVERY))
    whole = np.asarray(joint.of_masks(heads, M, EVERY))
    np.testing.assert_allclose(joint.of_masks(heads, M, EVERY[order]), whole[order], atol=1e-6)
    np.testing.assert_allclose(joint.of_masks(heads, M, EVERY[40:41]), whole[40:41], atol=1e-6)
    assert np.abs(whole - expected(EVERY)).max() > 0.01, "they are random"


@pytest.mark.usefixtures("_too_many_subsets")
def test_for_the_score_of_everyone_all_players_occur_equally_often():
    """So that heads which average over players say their mean exactly."""
    content = np.random.default_rng(3).normal(size=(64, C)).astype(np.float32)

    def means(members):
        return jnp.asarray(content)[jnp.asarray(members)].mean(axis=1)

    everyone = np.ones((2, 64), bool)
    np.testing.assert_allclose(joint.of_everyone(means, M, 64), content.mean(axis=0)[None], atol=1e-6)
    np.testing.assert_allclose(joint.of_masks(means, M, everyone), np.tile(content.mean(axis=0), (2, 1)), atol=1e-6)


def test_random_positions_are_different_and_all_alike():
    uniform = np.random.default_rng(0).random((400, 3, 32)).astype(np.float32)
    drawn = np.asarray(joint._positions(jnp.asarray(uniform), jnp.full((400, 1), 5, jnp.int32))).reshape(-1, 3)
    assert (np.diff(drawn, axis=1) > 0).all()
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, list(itertools.combinations(range(5), 3)))
    # Chi-square with 9 degrees of freedom: 27.9 has probability 0.001.
    wanted = len(drawn) / 10
    assert ((counts - wanted) ** 2 / wanted).sum() < 27.9

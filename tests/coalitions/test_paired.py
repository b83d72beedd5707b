"""Pairs of coalitions: counts by hand, distinctness and uniformity by counting."""

import itertools

import jax
import numpy as np
import pytest

from esv_jax import InputError
from esv_jax.coalitions import paired


def sets(plan):
    return [frozenset(np.flatnonzero(row).tolist()) for row in plan.mask]


@pytest.mark.parametrize("num_players", [1, 2, 5, 6, 9])
def test_pairs_and_everyone_without_repeats(num_players):
    strata = paired.up_to(num_players, 7)
    plan = paired.plan(num_players, strata, jax.random.key(0), "any")
    rows = sets(plan)
    everyone = frozenset(range(num_players))
    assert rows[-1] == everyone
    assert len(set(rows)) == len(rows) == 2 * strata.drawn.sum() + 1
    assert [len(s) for s in rows] == sorted(len(s) for s in rows)
    for j in range(len(rows) - 1):
        assert rows[j] | rows[-2 - j] == everyone
        assert not rows[j] & rows[-2 - j]
    for size, n in enumerate(strata.drawn, start=1):
        assert plan.sizes[size - 1] == (2 if 2 * size == num_players else 1) * n


def test_odd_parts_are_half_the_difference_of_a_pair():
    plan = paired.plan(5, paired.up_to(5, 3), jax.random.key(1), "any")
    table = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
    rows = sets(plan)
    worths = np.stack([table[sum(2**i for i in s)] for s in rows])
    expected = [(table[sum(2**i for i in s)] - table[31 - sum(2**i for i in s)]) / 2 for s in rows if len(s) < 3]
    np.testing.assert_allclose(paired.odd_parts(worths, paired.up_to(5, 3)), expected, atol=1e-6)


def test_population_counts_pairs():
    for num_players in (1, 2, 5, 6):
        everyone = set(range(num_players))
        pairs = {
            frozenset([s, frozenset(everyone - s)])
            for k in range(1, num_players)
            for s in map(frozenset, itertools.combinations(range(num_players), k))
        }
        by_size = np.bincount([min(map(len, p)) for p in pairs], minlength=num_players // 2 + 1)[1:]
        np.testing.assert_array_equal(paired.population(num_players), by_size)


def test_allocation_exhausts_small_sizes_and_spends_everything():
    strata = paired.allocate(12, 500, 1 / np.arange(1.0, 7))
    assert strata.drawn.sum() == 500
    assert strata.drawn[0] == 12
    assert strata.drawn[1] == 66
    # The sizes that are not exhausted share the rest as asked, but for rounding.
    share = (500 - 78) / np.arange(3, 7) / (1 / np.arange(3, 7)).sum()
    assert np.abs(strata.drawn[2:] - share).max() < 1
    everything = paired.allocate(6, 10**6, np.ones(3))
    np.testing.assert_array_equal(everything.drawn, [6, 15, 10])


@pytest.mark.parametrize("num_players", [1, 2, 5, 9, 12, 64, 101])
def test_more_draws_take_none_away(num_players):
    rng = np.random.default_rng(num_players)
    pairs = paired.population(num_players)
    # Equal shares too: ties go to the first.
    for share in (rng.uniform(0.01, 1, len(pairs)), np.ones(len(pairs))):
        before = np.zeros(len(pairs))
        for count in [*range(60), 100, 101, 102, 500, 501, 10**4, 2**23 - 1, 2**23]:
            drawn = paired.divide(count, share, pairs)
            assert drawn.sum() == min(count, pairs.sum())
            assert (before <= drawn).all()
            assert (drawn <= pairs).all()
            before = drawn


def test_draws_go_one_by_one_to_the_largest_quotient():
    share, pairs = np.array([3.0, 1.0, 1.5, 1.5]), np.array([4.0, 100.0, 7.0, 100.0])
    drawn = np.zeros(4)
    for count in range(60):
        np.testing.assert_array_equal(paired.divide(count, share, pairs), drawn)
        drawn[np.argmax(np.where(drawn < pairs, share / (2 * drawn + 1), 0))] += 1


@pytest.mark.parametrize(("num_players", "size"), [(9, 3), (8, 4), (20, 8), (20, 10)])
def test_of_a_random_order_of_each_size_plans_take_the_beginning(num_players, size):
    """Also where coalitions are too many to be permuted, up to the last ones."""
    population = int(paired.population(num_players)[size - 1])
    full = paired.draw(num_players, of_size(num_players, size, population - 1), np.random.default_rng(0))
    assert len(np.unique(full, axis=0)) == population - 1
    assert (full.sum(axis=1) == size).all()
    for count in (0, 1, 15, 17, 60, population // 2, population - 2):
        drawn = paired.draw(
            num_players, of_size(num_players, size, min(count, population - 1)), np.random.default_rng(0)
        )
        np.testing.assert_array_equal(drawn, full[:count])
    everything = paired.draw(num_players, of_size(num_players, size, population), np.random.default_rng(0))
    assert len(np.unique(everything, axis=0)) == population


def of_size(num_players, size, count):
    pairs = paired.population(num_players)
    return paired.Strata(np.where(np.arange(1, len(pairs) + 1) == size, count, 0), pairs)


def test_every_pair_has_the_same_chance():
    count = np.zeros(4)
    strata = paired.Strata(np.array([1, 0]), paired.population(4))
    for seed in range(400):
        (player,) = sets(paired.plan(4, strata, jax.random.key(seed), "any"))[0]
        count[player] += 1
    # Chi-square with 3 degrees of freedom: 16.3 has probability 0.001.
    assert ((count - 100) ** 2 / 100).sum() < 16.3


@pytest.mark.parametrize("num_players", [40, 100])
def test_large_sizes_are_drawn_without_listing_them(num_players):
    rows = sets(paired.plan(num_players, paired.up_to(num_players, 50), jax.random.key(2), "any"))
    assert len(set(rows)) == len(rows)
    held = np.bincount([i for s in rows[:-1] for i in s], minlength=num_players)
    assert held.min() == held.max(), "pairs hold every player once"


def test_a_budget_too_small_is_refused():
    with pytest.raises(InputError, match="at least 90 for 30 players, found 80"):
        paired.check_budget(30, 80, 90)
    # Seven are all that three players have.
    paired.check_budget(3, 7, 90)
    with pytest.raises(InputError, match="at least 90 for 3 players, found 6"):
        paired.check_budget(3, 6, 90)

"""Pairs of coalitions: counts by hand, distinctness and uniformity by counting."""

import itertools
import math

import jax
import numpy as np
import pytest

from esv_jax import InputError
from esv_jax.coalitions import paired, plans


def sets(plan):
    return [frozenset(row[row >= 0].tolist()) for row in plan.runs[0].members[0]]


@pytest.mark.parametrize("num_frames", [1, 2, 5, 6, 9])
def test_pairs_and_the_full_set_without_repeats(num_frames):
    strata = paired.up_to(num_frames, 7)
    plan = paired.plan(num_frames, strata, jax.random.key(0))
    rows = sets(plan)
    everyone = frozenset(range(num_frames))
    assert rows[-1] == everyone
    assert len(set(rows)) == len(rows) == 2 * strata.drawn.sum() + 1
    assert [len(s) for s in rows] == sorted(len(s) for s in rows)
    for j in range(len(rows) - 1):
        assert rows[j] | rows[-2 - j] == everyone
        assert not rows[j] & rows[-2 - j]
    for size, n in enumerate(strata.drawn, start=1):
        assert sum(len(s) == size for s in rows[:-1]) == (2 if 2 * size == num_frames else 1) * n


def test_levels_hold_the_same_rows_as_the_run():
    plan = paired.plan(5, paired.up_to(5, 3), jax.random.key(1))
    from_levels = [frozenset(row.tolist()) for level in plan.levels for row in level.members]
    assert from_levels == sets(plan)
    for size, level in enumerate(plan.levels, start=1):
        assert level.members.shape[1] == size
        assert (np.diff(level.members, axis=1) > 0).all()
        assert (level.children == -1).all()


def test_a_size_without_rows_has_an_empty_level():
    plan = plans.free(np.array([[True, False, False], [True, True, True]]))
    assert [len(level.members) for level in plan.levels] == [1, 0, 1]


def test_population_counts_pairs():
    for num_frames in (1, 2, 5, 6):
        everyone = set(range(num_frames))
        pairs = {
            frozenset([s, frozenset(everyone - s)])
            for k in range(1, num_frames)
            for s in map(frozenset, itertools.combinations(range(num_frames), k))
        }
        by_size = np.bincount([min(map(len, p)) for p in pairs], minlength=num_frames // 2 + 1)[1:]
        np.testing.assert_array_equal(paired.population(num_frames), by_size)


def test_allocation_exhausts_small_sizes_and_spends_everything():
    strata = paired.allocate(12, 500, 1 / np.arange(1.0, 7))
    assert strata.drawn.sum() == 500
    assert strata.drawn[0] == 12
    assert strata.drawn[1] == 66
    # The sizes that are not exhausted share the rest as asked.
    np.testing.assert_allclose(strata.drawn[2:] * np.arange(3, 7), (500 - 78) / (1 / np.arange(3, 7)).sum(), rtol=0.02)
    everything = paired.allocate(6, 10**6, np.ones(3))
    np.testing.assert_array_equal(everything.drawn, [6, 15, 10])


def test_every_pair_has_the_same_chance():
    count = np.zeros(4)
    strata = paired.Strata(np.array([1, 0]), paired.population(4))
    for seed in range(400):
        plan = paired.plan(4, strata, jax.random.key(seed))
        count[plan.levels[0].members[0, 0]] += 1
    # Chi-square with 3 degrees of freedom: 16.3 has probability 0.001.
    assert ((count - 100) ** 2 / 100).sum() < 16.3


@pytest.mark.parametrize("num_frames", [40, 100])
def test_large_sizes_are_drawn_without_listing_them(num_frames):
    plan = paired.plan(num_frames, paired.up_to(num_frames, 50), jax.random.key(2))
    rows = sets(plan)
    assert len(set(rows)) == len(rows)
    frames_held = np.bincount([i for s in rows[:-1] for i in s], minlength=num_frames)
    assert frames_held.min() == frames_held.max(), "pairs hold every frame once"


def test_a_budget_too_small_is_refused():
    with pytest.raises(InputError, match="at least 90 for 30 frames, found 80"):
        paired.check_budget(30, 80, 90)
    paired.check_budget(3, 7, 90)
    assert math.comb(3, 1) + math.comb(3, 2) + 1 == 7

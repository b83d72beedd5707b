import itertools
import math

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.base import Level
from esv_jax.coalitions import plans, weights


def check_children(plan):
    """Children by definition: the row of S less its p-th member in the level below, else -1."""
    below = {(): 0}
    for size, level in enumerate(plan.levels, start=1):
        assert level.members.dtype == level.children.dtype == np.int32
        assert level.members.shape == level.children.shape == (len(level.members), size)
        assert (np.diff(level.members, axis=1) > 0).all()
        for row, children in zip(level.members.tolist(), level.children.tolist(), strict=True):
            expected = [below.get((*row[:p], *row[p + 1 :]), -1) for p in range(size)]
            assert children == expected
        below = {tuple(row): r for r, row in enumerate(level.members.tolist())}


def check_runs(plan):
    """Runs say the same as levels, with children in any column but those held first."""
    unstacked = [
        Level(members, children)
        for run in plan.runs
        for members, children in zip(np.asarray(run.members), np.asarray(run.children), strict=True)
    ]
    assert len(unstacked) == len(plan.levels)
    for size, (stacked, level) in enumerate(zip(unstacked, plan.levels, strict=True), start=1):
        np.testing.assert_array_equal(stacked.members[:, :size], level.members)
        assert (stacked.members[:, size:] == -1).all()
        for row, expected in zip(stacked.children, level.children, strict=True):
            held = sorted(expected[expected >= 0])
            assert sorted(row[: len(held)]) == held
            assert (row[len(held) :] == -1).all()


@pytest.mark.parametrize("num_frames", [1, 2, 5, 8])
def test_exhaustive(num_frames):
    plan = plans.exhaustive(num_frames)
    for size, level in enumerate(plan.levels, start=1):
        expected = set(itertools.combinations(range(num_frames), size))
        assert {tuple(row) for row in level.members.tolist()} == expected
        assert len(level.members) == len(expected)
    check_children(plan)
    check_runs(plan)


@pytest.mark.parametrize(("num_frames", "per_size"), [(1, 1), (2, 5), (8, 16), (12, 32), (20, 64), (70, 9), (6, 1)])
def test_constructive(num_frames, per_size):
    plan = esv_jax.stratified(per_size=per_size).plan(num_frames=num_frames, key=jax.random.key(5))
    check_children(plan)
    check_runs(plan)
    for size, level in enumerate(plan.levels, start=1):
        rows = {tuple(row) for row in level.members.tolist()}
        assert len(rows) == len(level.members) == min(per_size, math.comb(num_frames, size))
        assert (level.children >= 0).any(axis=1).all()


def test_constructive_draws_every_candidate_with_the_same_chance():
    # Level 1 holds all 5 frames; level 2 takes 3 of the 10 pairs: each with chance 0.3.
    counts = np.zeros((5, 5))
    num_plans = 2000
    for seed in range(num_plans):
        plan = plans.constructive(5, 3, 1, jax.random.key(seed)) if seed < 5 else None
        rng = np.random.default_rng(seed)
        pairs = np.array(list(itertools.combinations(range(5), 2)), np.uint64)
        candidates = np.concatenate([(1 << pairs[:, 0]) + (1 << pairs[:, 1])] * 2)
        drawn = plans._draw_distinct(candidates.astype(np.uint64), 3, rng) % 10
        assert len(set(drawn.tolist())) == 3
        for i, j in pairs[drawn].astype(int):
            counts[i, j] += 1
        assert plan is None or len(plan.levels[1].members) == 3
    frequency = counts[np.triu_indices(5, 1)] / num_plans
    # Five standard deviations of a frequency of 0.3 in 2000 draws.
    np.testing.assert_allclose(frequency, 0.3, atol=5 * math.sqrt(0.3 * 0.7 / num_plans))


def test_iterations_are_stacked_draws():
    plan = plans.constructive(7, 6, 3, jax.random.key(1))
    for size, level in enumerate(plan.levels, start=1):
        one = min(6, math.comb(7, size))
        assert len(level.members) == 3 * one
        for draw in range(3):
            rows = slice(draw * one, (draw + 1) * one)
            assert len({tuple(r) for r in level.members[rows].tolist()}) == one
            if size > 1:
                below = plan.levels[size - 2].members
                held = level.children[rows]
                start = draw * min(6, math.comb(7, size - 1))
                for row, children in zip(level.members[rows].tolist(), held.tolist(), strict=True):
                    for position, child in enumerate(children):
                        if child >= 0:
                            assert start <= child < start + min(6, math.comb(7, size - 1))
                            assert below[child].tolist() == row[:position] + row[position + 1 :]


def test_the_same_key_gives_the_same_plan_and_another_key_another():
    first, again, other = (plans.constructive(9, 16, 1, jax.random.key(s)) for s in (0, 0, 1))
    same = jax.tree.map(np.array_equal, first, again)
    assert all(jax.tree.leaves(same))
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, first, other)))


def test_raw_keys_are_taken_and_other_things_refused():
    raw = plans.constructive(5, 4, 1, jax.random.PRNGKey(3))
    new = plans.constructive(5, 4, 1, jax.random.key(3))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, raw, new)))
    with pytest.raises(esv_jax.InputError, match="key should be a JAX PRNG key"):
        plans.constructive(5, 4, 1, "seed")


def test_binomial_row():
    assert weights.binomial_row(4).tolist() == [1, 4, 6, 4, 1, 0]
    assert weights.binomial_row(2000)[1000] == 2.0**100

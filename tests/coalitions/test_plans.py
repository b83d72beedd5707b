import itertools
import math

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import plans, weights


def coalitions(plan):
    """The plan's coalitions as sorted tuples, a list for every size."""
    rows = iter([tuple(np.flatnonzero(row).tolist()) for row in plan.mask])
    return [list(itertools.islice(rows, count)) for count in plan.sizes]


def check_lineage(plan):
    """By definition: the numbers of all coalitions of the size below that are S less one player, -1 behind them."""
    of_sizes = coalitions(plan)
    lineage = [of_size for run in plan.lineage for of_size in np.asarray(run)]
    assert {run.dtype for run in plan.lineage} == {np.dtype(np.int32)}
    below = [()]
    for rows, children in zip(of_sizes, lineage, strict=True):
        assert len(rows) == len(children)
        for row, numbers in zip(rows, children.tolist(), strict=True):
            there = [number for number, smaller in enumerate(below) if set(smaller) < set(row)]
            assert sorted(numbers[: len(there)]) == there
            assert set(numbers[len(there) :]) <= {-1}
        below = rows


@pytest.mark.parametrize("num_players", [1, 2, 5, 8])
def test_exhaustive(num_players):
    of_sizes = coalitions(plans.exhaustive(num_players, "exact()"))
    for size, rows in enumerate(of_sizes, start=1):
        assert sorted(rows) == list(itertools.combinations(range(num_players), size))


@pytest.mark.parametrize(("num_players", "per_size"), [(1, 1), (2, 5), (8, 16), (12, 32), (20, 64), (70, 9), (6, 1)])
def test_constructive(num_players, per_size):
    plan = esv_jax.stratified(per_size=per_size).plan(num_players, key=jax.random.key(5))
    check_lineage(plan)
    for size, rows in enumerate(coalitions(plan), start=1):
        assert {len(row) for row in rows} == {size}
        assert len(set(rows)) == len(rows) == min(per_size, math.comb(num_players, size))
    assert all((of_size[:, 0] >= 0).all() for run in plan.lineage for of_size in run), "everyone has a child"


def test_constructive_draws_every_candidate_with_the_same_chance():
    """Also those that grow out of several coalitions: hypergeometric counts of them among the drawn."""
    excess = variance = 0.0
    for seed in range(300):
        *_, pairs, triples, _, _, _ = coalitions(plans.constructive(6, 5, 1, jax.random.key(seed), "any"))
        grown = [tuple(sorted({*pair, i})) for pair in pairs for i in range(6) if i not in pair]
        candidates, often = np.unique(grown, axis=0, return_counts=True)
        repeated = {tuple(row) for row in candidates[often > 1].tolist()}
        total, share = len(candidates), len(repeated) / len(candidates)
        excess += len(repeated & set(triples)) - 5 * share
        variance += 5 * share * (1 - share) * (total - 5) / (total - 1)
    assert abs(excess) < 3 * math.sqrt(variance)
    assert variance > 100


def test_iterations_are_stacked_draws():
    plan = plans.constructive(7, 6, 3, jax.random.key(1), "any")
    lineage = [of_size for run in plan.lineage for of_size in run]
    below, counts = [()] * 3, 1
    for size, (rows, children) in enumerate(zip(coalitions(plan), lineage, strict=True), start=1):
        one = min(6, math.comb(7, size))
        assert len(rows) == 3 * one
        for draw in range(3):
            mine = slice(draw * one, (draw + 1) * one)
            assert len(set(rows[mine])) == one
            for row, numbers in zip(rows[mine], children[mine], strict=True):
                there = numbers[numbers >= 0].tolist()
                assert there
                for number in there:
                    assert set(below[number]) < set(row)
                    # Nobody is shared by all draws.
                    assert size == 1 or draw * counts <= number < (draw + 1) * counts
        below, counts = rows, one


def test_orderings_are_prefixes_and_each_prefix_knows_the_one_before():
    plan = plans.orderings(6, 4, jax.random.key(2), "any")
    assert plan.sizes == (8,) * 5 + (1,)
    of_sizes = coalitions(plan)
    lineage = [of_size for run in plan.lineage for of_size in run]
    for size in range(2, 6):
        for row in range(8):
            assert set(of_sizes[size - 2][row]) < set(of_sizes[size - 1][row])
            assert lineage[size - 1][row, 0] == row
    # Everyone grew out of one prefix for every player that is last in some ordering.
    children = lineage[-1][0]
    left_out = {n: set(range(6)) - set(of_sizes[-2][n]) for n in range(8)}
    there = children[children >= 0].tolist()
    assert len({frozenset(left_out[n]) for n in there}) == len(there) == len(set(map(frozenset, left_out.values())))
    for row in range(4):
        reverse = set(of_sizes[0][row + 4])
        assert reverse == set(range(6)) - set(of_sizes[4][row])


def test_grown_coalitions_come_sorted_with_their_children():
    mask = [np.eye(3, dtype=bool)[[2, 0]], np.array([[0, 1, 1], [1, 1, 0]], bool), np.ones((1, 3), bool)]
    plan = plans.of_lineage(plans.grow(mask), "any")
    assert coalitions(plan) == [[(0,), (2,)], [(0, 1), (1, 2)], [(0, 1, 2)]]
    check_lineage(plan)


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((0, 3), bool),
        np.array([[0, 0, 0], [1, 1, 1]], bool),
        np.array([[1, 0, 0], [1, 1, 0]], bool),
        np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]], bool),
    ],
)
def test_masks_that_are_no_plan(mask):
    with pytest.raises(esv_jax.InputError, match="mask should hold coalitions by increasing size from 1"):
        plans.of_masks(mask, "any")


def test_a_plan_need_not_have_all_sizes():
    plan = plans.of_masks(np.array([[1, 0, 0], [1, 1, 1]], bool), "any")
    assert plan.sizes == (1, 0, 1)
    assert plan.lineage == ()


def test_the_same_key_gives_the_same_plan_and_another_key_another():
    first, again, other = (plans.constructive(9, 16, 1, jax.random.key(s), "any") for s in (0, 0, 1))
    same = jax.tree.map(np.array_equal, first, again)
    assert all(jax.tree.leaves(same))
    assert not np.array_equal(first.mask, other.mask)


def test_raw_keys_are_taken_and_other_things_refused():
    raw = plans.constructive(5, 4, 1, jax.random.PRNGKey(3), "any")
    new = plans.constructive(5, 4, 1, jax.random.key(3), "any")
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, raw, new)))
    for wrong in ("seed", 0):
        with pytest.raises(esv_jax.InputError, match="key should be a JAX PRNG key"):
            plans.host_generator(wrong)
    with pytest.raises(esv_jax.InputError, match=r"one JAX PRNG key, found an array of them, of shape \(2,\)"):
        plans.host_generator(jax.random.split(jax.random.key(0)))


def test_binomial_row():
    assert weights.binomial_row(4).tolist() == [1, 4, 6, 4, 1, 0]
    assert weights.binomial_row(2000)[1000] == 2.0**100

"""Interactions know which two moments carry a relation, of clips whose order alone tells what happens."""

from esv_jax.benchmarks import order_pairs


def test_the_first_pair_lies_across_the_change_that_decides():
    found = order_pairs.shares(2)
    assert found.clips == 24
    assert found.across > 0.85
    assert found.across > found.across_by_chance + 0.25
    assert found.around > 1.5 * found.around_by_chance
    assert found.across > found.of_values + 0.25

"""Claims of certify, judged by the exact values of games given by a table of worths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.base import Game, Masks, identity
from esv_jax.explaining.certify import sentence
from tests import oracles

P = 8
BITS = (np.arange(2**P)[:, None] >> np.arange(P) & 1).astype(float)
ESTIMATOR = esv_jax.regression(max_evaluations=64)


def _table_alone(table, video):
    return table


def _read(table, mask):
    codes = 1 << jnp.arange(mask.shape[1], dtype=jnp.int32)
    return table[(mask.astype(jnp.int32) * codes[None]).sum(axis=1)]


GAME = Game(np.zeros(1, np.float32), _table_alone, _read, identity, Masks())


def certify(table, seed=0, estimator=ESTIMATOR, **options):
    """Of worths [2^P], that of nobody 0."""
    options = {"max_evaluations": 250, **options}
    table = (table - table[0]).astype(np.float32)[:, None]
    video = np.zeros((len(table).bit_length() - 1, 1), np.float32)
    return esv_jax.certify(estimator, GAME, table, video, key=jax.random.key(seed), **options)


def exact_values(table):
    return oracles.permutation_shapley(lambda s: table[[sum(2**i for i in s)]], P)[:, 0]


def curved(weights, seed=0):
    """Worths that are not additive."""
    noise = np.random.default_rng(seed).normal(size=2**P)
    return np.tanh(BITS @ weights / 2) + 0.2 * noise


@pytest.mark.parametrize("question", ["top", "top3", "sign"])
def test_claims_are_right_and_take_a_part_of_the_budget(question):
    table = curved(np.array([1.0, -0.9, 0.6, -0.4, 0.35, 0.05, -0.1, -0.05]))
    values = exact_values(table - table[0])
    order = np.argsort(-values)
    wrong, evaluations = 0, []
    for seed in range(20):
        found = certify(table, seed, question=question)
        evaluations.append(found.num_evaluations)
        if question == "sign":
            wrong += (found.certain & (found.answer != np.sign(values))).sum() / P
        else:
            count = 1 if question == "top" else 3
            wrong += bool(found.certain) and set(found.answer) != set(order[:count])
        assert found.num_evaluations == int(found.attribution.num_evaluations) <= 250
        assert bool(np.all(found.certain)) == (not found.undecided)
        assert np.all(found.certain) or found.num_evaluations >= 249
    assert wrong <= 1
    if question != "sign":
        assert min(evaluations) < 249


@pytest.mark.parametrize("question", ["top", "top3"])
def test_ties_are_claimed_in_five_percent_at_most(question):
    """Two equal frames lead, or are the third and the fourth; three looks."""
    lead = (
        np.array([1.0, 1, 0.2, 0, -0.2, 0.1, -0.3, -0.5])
        if question == "top"
        else np.array([2.0, 1.5, 1, 1, 0, 0, -0.5, -1])
    )
    first = 0 if question == "top" else 2
    claims = 0
    for seed in range(300):
        if seed % 50 == 0:
            table = curved(lead, seed)
            # The same with the two frames exchanged.
            table = (table.reshape([2] * P) + np.swapaxes(table.reshape([2] * P), P - 1 - first, P - 2 - first)) / 2
            table = table.ravel()
        found = certify(table, seed, question=question)
        claims += bool(found.certain)
        if not found.certain:
            assert {first, first + 1} <= set(found.undecided)
    # 5 % of 300 and two standard deviations of that count.
    assert claims <= 15 + 7


@pytest.mark.parametrize("question", ["top", "top3", "sign"])
@pytest.mark.parametrize(
    "of_size", [np.zeros(P + 1), np.r_[0, 0.3, 0.7, 0.9, 0.9, 0.7, 0.4, 0.1, 0.0]], ids=["0", "hump"]
)
@pytest.mark.parametrize("estimator", [ESTIMATOR, esv_jax.recommended(max_evaluations=300)])
def test_rounding_is_no_answer(question, of_size, estimator):
    """All frames are equal, their values 0: sampled, and where all coalitions are evaluated."""
    noise = 1e-7 * np.random.default_rng(0).normal(size=2**P)
    table = 100 * (of_size[BITS.sum(axis=1).astype(int)] + noise * (BITS.sum(axis=1) > 0))
    for seed in range(5):
        found = certify(table, seed, estimator, question=question, max_evaluations=300)
        if of_size.any():
            assert not np.any(found.certain)


def test_exact_values_need_no_sampling():
    table = curved(np.array([1.0, -0.9, 0.6, -0.4, 0.35, 0.05, -0.1, -0.05]))
    values = exact_values(table)
    top = certify(table, estimator=esv_jax.exact())
    assert top.said == f"frame {np.argmax(values)} is the top frame, certain"
    assert float(top.attribution.widened) == 1
    signs = certify(table, estimator=esv_jax.exact(), question="sign")
    np.testing.assert_array_equal(signs.answer, np.sign(values))
    assert signs.certain.all()
    tie = BITS[:, 0] + BITS[:, 1] + BITS[:, 0] * BITS[:, 1]
    assert certify(tie, estimator=esv_jax.exact()).said == "undecided between frames 0 and 1 after 255 evaluations"


def test_a_higher_level_takes_no_fewer_evaluations():
    table = curved(np.array([1.0, 0.7, 0.6, -0.4, 0.35, 0.05, -0.1, -0.05]))
    taken = [
        [certify(table, seed, level=level).num_evaluations for seed in range(10)] for level in (0.5, 0.9, 0.99, 0.9999)
    ]
    assert (np.diff(taken, axis=0) >= 0).all()
    assert np.sum(taken[0]) < np.sum(taken[-1])


def test_the_class_with_the_highest_score_or_the_one_asked_for():
    logits = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32) * 2
    game = esv_jax.frame_mean_game(lambda params, video: video, empty=np.full(3, 1 / 3, np.float32))
    exact = esv_jax.explain(esv_jax.exact(), game, jnp.zeros(()), logits)
    for index in (None, 0, 1, 2):
        reports = []
        found = esv_jax.certify(
            ESTIMATOR,
            game,
            jnp.zeros(()),
            logits,
            key=jax.random.key(0),
            max_evaluations=510,
            class_index=index,
            callback=reports.append,
        )
        column = int(np.argmax(exact.full)) if index is None else index
        assert found.certain
        assert found.answer[0] == np.argmax(exact.values[:, column])
        assert reports[-1].evaluations == found.num_evaluations


def test_one_frame_is_the_top_frame():
    table = np.array([0.0, 1.0])
    found = certify(table, max_evaluations=10)
    assert found.certain
    assert found.said == "frame 0 is the top frame, certain"


def test_sentences():
    yes, no = np.asarray(True), np.asarray(False)
    assert sentence("top", np.array([5]), yes, (), 99, 0.95) == "frame 5 is the top frame, certain to 95 %"
    assert sentence("top", np.array([1]), no, (0, 1), 99, 0.95, [30, 50]) == (
        "undecided between frames 30 and 50 after 99 evaluations"
    )
    assert (
        sentence("top3", np.array([4, 0, 2]), yes, (), 99, 0.999)
        == "frames 0, 2 and 4 are the top 3, certain to 99.9 %"
    )
    signs, certain = np.array([1, -1, 1, 1]), np.array([True, True, True, False])
    assert sentence("sign", signs, certain, (3,), 99, 0.95) == (
        "positive: frames 0 and 2, negative: frame 1, each certain to 95 %; undecided: frame 3 after 99 evaluations"
    )


def test_mistakes_are_told():
    table = curved(np.ones(P))
    for options, message in (
        ({"question": "best"}, "question should be one of top, sign, top3, found 'best'"),
        ({"level": 1.0}, "level should be at least 0.5 and below 1, found 1.0"),
        ({"class_index": 1}, r"class_index should be one of 0..0, found 1"),
        ({"max_evaluations": 0}, "max_evaluations"),
        ({"max_evaluations": 20}, "at least 24 for 8 players, found 20"),
        ({"estimator": ESTIMATOR._replace(grown=None)}, "cannot go on with a larger plan"),
        ({"estimator": esv_jax.orderings(max_evaluations=50)}, "does not tell what its standard errors are made of"),
    ):
        with pytest.raises(esv_jax.InputError, match=message):
            certify(table, **options)

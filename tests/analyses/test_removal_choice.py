"""The same question with several removals, against each asked by hand."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

import esv_jax
from esv_jax import InputError, removals
from tests import oracles

T, D, C = 5, 3, 4
RNG = np.random.default_rng(0)
VIDEO = RNG.normal(size=(T, D)).astype(np.float32)
WEIGHTS = RNG.normal(size=(T, D, C)).astype(np.float32) * 2
EMPTY = np.full(C, 0.25, np.float32)
REMOVALS = ("nearest", "zero", removals.mean(of=np.ones(D, np.float32)))


def predict(weights, clips):
    return np.tanh(np.einsum("ntd,tdc->nc", clips, weights))


def make_game(removal):
    return esv_jax.host_game(predict, empty=EMPTY, removal=removal, link="softmax")


def compare(**options):
    return esv_jax.compare_removals(esv_jax.exact(), make_game, WEIGHTS, VIDEO, REMOVALS, **options)


def worth_of(removal):
    show = removals.made(removal).show(VIDEO)

    def worth(coalition):
        mask = np.isin(np.arange(T), coalition)[None]
        return oracles.softmax(predict(WEIGHTS, show(mask))[0].astype(np.float64)) if coalition else EMPTY

    return worth


def test_values_ranks_and_curves_are_those_of_each_removal(tmp_path):
    found = compare(archive=tmp_path / "archives")
    c = int(np.argmax(worth_of("zero")(range(T))))
    assert found.class_index == c
    values = []
    for i, removal in enumerate(REMOVALS):
        worth = worth_of(removal)
        own = oracles.permutation_shapley(worth, T)
        np.testing.assert_allclose(found.attributions[i].values, own, atol=3e-6)
        ranked = np.argsort(-own[:, c], kind="stable").tolist()
        inserted = [worth(tuple(sorted(ranked[:j])))[c] for j in range(T + 1)]
        deleted = [worth(tuple(sorted(ranked[j:])))[c] for j in range(T + 1)]
        np.testing.assert_allclose(found.insertion[i], inserted, atol=1e-6)
        np.testing.assert_allclose(found.deletion[i], deleted, atol=1e-6)
        values.append(own[:, c])
    for i, j in itertools.product(range(3), repeat=2):
        np.testing.assert_allclose(found.rank_agreement[i, j], spearmanr(values[i], values[j])[0])
    assert found.names[:2] == ("nearest", "zero")
    assert len(list((tmp_path / "archives").iterdir())) == 3


def test_the_table_and_the_picture(tmp_path):
    found = compare(class_index=2)
    lines = esv_jax.format_comparison(found).splitlines()
    assert len(lines) == 2 + 3
    name, empty, top, inserted, deleted, *ranks = lines[2].split()[1:]
    assert (name, empty, top) == ("nearest", "0.250", str(np.argmax(found.attributions[0].values[:, 2])))
    assert float(inserted) == pytest.approx(np.trapezoid(found.insertion[0]) / T, abs=6e-4)
    assert float(deleted) == pytest.approx(np.trapezoid(found.deletion[0]) / T, abs=6e-4)
    np.testing.assert_allclose([float(rank) for rank in ranks], found.rank_agreement[0], atol=6e-3)
    pytest.importorskip("matplotlib")
    esv_jax.save_comparison(tmp_path / "a.png", found)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("given", "options", "sentence"),
    [
        (("zero",), {}, "removals should be at least two, found zero"),
        (("zero", "zero"), {}, "removals should have names of their own, found twice zero"),
        (("zero", "nearest"), {"class_index": 4}, r"class_index should be within 0..3, found 4"),
    ],
)
def test_mistakes_are_told(given, options, sentence):
    with pytest.raises(InputError, match=sentence):
        esv_jax.compare_removals(esv_jax.exact(), make_game, WEIGHTS, VIDEO, given, **options)

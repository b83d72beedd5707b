"""Interactions by their definitions, by shapiq, for every form of game; and what a sample says of them."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.benchmarks import games
from tests.contracts import tables
from tests.contracts.cases import GAMES, C, D

INDICES = ("k-sii", "shapley-taylor", "banzhaf")
T = 5


def subsets(players):
    return itertools.chain.from_iterable(itertools.combinations(players, k) for k in range(len(players) + 1))


def by_definition(worth, num_players, index):
    """[P, P, C] in float64 from discrete derivatives. worth: sorted tuple of players -> [C]."""

    def v(*parts):
        return np.asarray(worth(tuple(sorted(itertools.chain(*parts)))), np.float64)

    def weight(size, order):
        if index == "banzhaf":
            return 0.5 ** (num_players - order)
        if index == "shapley-taylor":
            return 2 / num_players / math.comb(num_players - 1, size)
        return 1 / (num_players - order + 1) / math.comb(num_players - order, size)

    found = np.zeros((num_players, num_players, len(v())))
    for i, j in itertools.combinations(range(num_players), 2):
        for rest in subsets([p for p in range(num_players) if p not in (i, j)]):
            change = v(rest, (i, j)) - v(rest, (i,)) - v(rest, (j,)) + v(rest)
            found[i, j] += weight(len(rest), 2) * change
        found[j, i] = found[i, j]
    for i in range(num_players):
        if index == "shapley-taylor":
            found[i, i] = v((i,)) - v()
            continue
        alone = sum(
            weight(len(rest), 1) * (v(rest, (i,)) - v(rest))
            for rest in subsets([p for p in range(num_players) if p != i])
        )
        found[i, i] = alone - (found[i].sum(axis=0) / 2 if index == "k-sii" else 0)
    return found


def random_table(seed, num_players=T, num_classes=3):
    return np.random.default_rng(seed).uniform(size=(2**num_players, num_classes)).astype(np.float32)


def of_table(table, **options):
    game, params = tables.clip_game(table)
    return esv_jax.interactions(game, params, tables.video(len(table).bit_length() - 1), **options)


def worth_of(table):
    return lambda s: table[sum(2**i for i in s)]


def upper_sum(values):
    return np.asarray(values)[np.triu_indices(len(values))].sum(axis=0)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("name", GAMES)
def test_exact_interactions_of_every_game(name, index):
    video = np.random.default_rng(3).normal(size=(T, D)).astype(np.float32)
    game, params = GAMES[name].make(np.float32)
    out = esv_jax.interactions(game, params, video, index=index)
    expected = by_definition(GAMES[name].worth(np.asarray(video, np.float64)), T, index)
    np.testing.assert_allclose(out.values, expected, atol=3e-6)
    np.testing.assert_array_equal(out.std_error, np.zeros((T, T, C)))
    assert (int(out.num_evaluations), bool(out.sampled)) == (2**T - 1, False)
    gap = upper_sum(out.values) - (out.full - out.empty)
    if index == "banzhaf":
        assert np.abs(gap).max() > 1e-3
    else:
        np.testing.assert_allclose(gap, 0, atol=3e-6)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("num_players", [1, 2, 3])
def test_few_players(num_players, index):
    table = random_table(num_players, num_players)
    out = of_table(table, index=index)
    np.testing.assert_allclose(out.values, by_definition(worth_of(table), num_players, index), atol=1e-6)


@pytest.mark.parametrize("index", INDICES)
def test_exact_interactions_are_those_of_shapiq(index, x64):
    """On its own games, to 1e-6."""
    shapiq = pytest.importorskip("shapiq", reason="shapiq is the oracle of interactions")
    synthetic = pytest.importorskip("shapiq_games.synthetic", reason="shapiq's own games")
    for seed, num_players in ((0, 6), (1, 9)):
        theirs = synthetic.SOUM(n=num_players, n_basis_games=30, random_state=seed)
        every = np.arange(2**num_players)[:, None] >> np.arange(num_players) & 1 == 1
        table = np.asarray(theirs(every), np.float64)[:, None]
        found = np.asarray(of_table(table, index=index).values)[:, :, 0]
        computer = shapiq.ExactComputer(theirs, num_players)
        name = {"k-sii": "k-SII", "shapley-taylor": "STII", "banzhaf": "BII"}[index]
        expected = computer(index=name, order=2)
        for i, j in itertools.combinations(range(num_players), 2):
            assert abs(found[i, j] - expected[(i, j)]) < 1e-6
        of_players = computer(index="BV", order=1) if index == "banzhaf" else expected
        for i in range(num_players):
            assert abs(found[i, i] - of_players[(i,)]) < 1e-6


def test_a_game_of_pairs_alone():
    """v(S) = sum of a_i and b_ij over S: every index finds them."""
    rng = np.random.default_rng(0)
    linear, pairs = rng.normal(size=(T, 2)), rng.normal(size=(T, T, 2))
    bits = (np.arange(2**T)[:, None] >> np.arange(T) & 1).astype(float)
    upper = np.triu(np.ones((T, T)), 1)[:, :, None] * pairs
    table = bits @ linear + np.einsum("ni,nj,ijc->nc", bits, bits, upper)
    both = upper + upper.transpose(1, 0, 2)
    for index in INDICES:
        found = np.asarray(of_table(table.astype(np.float32), index=index).values)
        off = ~np.eye(T, dtype=bool)
        np.testing.assert_allclose(found[off], both[off], atol=1e-5)
        alone = linear + (both.sum(axis=1) / 2 if index == "banzhaf" else 0)
        np.testing.assert_allclose(found[np.arange(T), np.arange(T)], alone, atol=1e-5)


def test_many_videos_at_once_and_new_params():
    game, params = GAMES["trn_game"].make(np.float32)
    videos = jnp.asarray(np.random.default_rng(5).normal(size=(2, T, D)), jnp.float32)
    one = lambda p, video: esv_jax.interactions(game, p, video)  # noqa: E731
    both = jax.jit(jax.vmap(one, in_axes=(None, 0)))(params, videos)
    for i in range(2):
        np.testing.assert_allclose(both.values[i], one(params, videos[i]).values, atol=1e-6)


@pytest.mark.parametrize("index", INDICES)
def test_a_sample_is_efficient_and_says_what_it_did(index):
    table = random_table(1, 8)
    out = of_table(table, index=index, max_evaluations=120, key=jax.random.key(0))
    assert (int(out.num_evaluations), bool(out.sampled)) == (119, True)
    np.testing.assert_array_equal(out.values, np.asarray(out.values).transpose(1, 0, 2))
    np.testing.assert_array_equal(out.full, table[-1])
    assert (np.asarray(out.std_error) > 0).mean() > 0.6  # those of single frames and pairs may be known
    if index != "banzhaf":
        np.testing.assert_allclose(upper_sum(out.values), table[-1] - table[0], atol=1e-5)
    if index == "shapley-taylor":
        alone = table[2 ** np.arange(8)] - table[0]
        np.testing.assert_allclose(np.asarray(out.values)[np.arange(8), np.arange(8)], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["clip_game", "host_game", "trn_game", "multiscale_game, of children", "tsn_game"])
def test_samples_of_every_form(name):
    video = np.random.default_rng(3).normal(size=(8, D)).astype(np.float32)
    game, params = GAMES[name].make(np.float32)
    exact = esv_jax.interactions(game, params, video)
    found = esv_jax.interactions(game, params, video, max_evaluations=151, key=jax.random.key(1))
    error = np.asarray(found.values - exact.values)
    assert (error**2).mean() < 0.05 * np.asarray(exact.values**2).mean()
    assert (np.abs(error) < 5 * np.asarray(found.std_error) + 1e-5).mean() > 0.97
    everything = esv_jax.interactions(game, params, video, max_evaluations=255, key=jax.random.key(1))
    np.testing.assert_allclose(everything.values, exact.values, atol=2e-6)
    assert not bool(everything.sampled)


def test_intervals_cover_and_more_evaluations_err_less():
    case = games.order(0, 10)
    exact = np.asarray(esv_jax.interactions(case.game, case.params, case.video).values)
    covered, errors = [], []
    for budget in (128, 384):
        for seed in range(4):
            found = esv_jax.interactions(
                case.game, case.params, case.video, max_evaluations=budget, key=jax.random.key(seed)
            )
            error = np.asarray(found.values) - exact
            covered.append((np.abs(error) <= 1.96 * np.asarray(found.std_error) + 1e-6).mean())
            errors.append((error**2).mean())
    assert 0.85 < np.mean(covered) < 0.995
    assert max(errors[4:]) < 0.25 * min(errors[:4])
    assert np.mean(errors[4:]) < 0.05 * (exact**2).mean()


def test_an_archive_is_asked_before_the_model(tmp_path):
    game, params = GAMES["host_game"].make(np.float32)
    video = np.random.default_rng(3).normal(size=(6, D)).astype(np.float32)
    first = esv_jax.interactions(game, params, video, archive=tmp_path / "a.esv")
    asked = game._replace(logits=lambda *_: pytest.fail("asked again"))
    again = esv_jax.interactions(asked, params, video, index="banzhaf", archive=tmp_path / "a.esv")
    np.testing.assert_array_equal(first.full, again.full)


@pytest.mark.parametrize(
    ("frames", "options", "told"),
    [
        (5, {"index": "SII"}, "index should be one of k-sii, shapley-taylor, banzhaf, found 'SII'"),
        (5, {"max_evaluations": 20}, "needs key="),
        (6, {"max_evaluations": 17, "key": jax.random.key(0)}, "max_evaluations should be at least 18 for 6 players"),
        (5, {"max_evaluations": 0}, "max_evaluations should be"),
        (21, {"max_evaluations": 128, "key": jax.random.key(0)}, "at most 20 players here, found 21"),
        (31, {}, "at most 30 players here, found 31"),
        (5, {"archive": "a.esv"}, "archive"),
    ],
)
def test_what_is_refused(frames, options, told):
    game, params = GAMES["clip_game"].make(np.float32)
    with pytest.raises(esv_jax.InputError, match=told):
        esv_jax.interactions(game, params, np.zeros((frames, D), np.float32), **options)

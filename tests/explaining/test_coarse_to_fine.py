"""Owen values, against the mean over all orderings in which no group is torn apart."""

import itertools

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import InputError, players
from tests.contracts.cases import GAMES, D

RNG = np.random.default_rng(0)
SETS = [(0, 1, 4), (2,), (3, 5), (6, 7)]
GROUPS = [(f"group {i}", [("frames", frames)]) for i, frames in enumerate(SETS)]
T = 8


def owen(worth, parts):
    """parts: of every group its players, tuples of frames each, which are never taken apart."""
    flat = [player for group in parts for player in group]
    values, count, known = {player: 0.0 for player in flat}, 0, {}
    for order in itertools.permutations(parts):
        for within in itertools.product(*(itertools.permutations(group) for group in order)):
            before, count = (), count + 1
            for player in itertools.chain.from_iterable(within):
                after = tuple(sorted((*before, *player)))
                for coalition in (before, after):
                    if coalition not in known:
                        known[coalition] = np.asarray(worth(coalition), np.float64)
                values[player] = values[player] + known[after] - known[before]
                before = after
    return np.array([values[player] / count for player in flat])


def case_of(name):
    game, params = GAMES[name].make(np.float32)
    video = RNG.normal(size=(T, D)).astype(np.float32)
    return game, params, video, GAMES[name].worth(video.astype(np.float64))


@pytest.mark.parametrize("name", ["host_game", "clip_game", "trn_game", "frame_mean_game"])
def test_values_are_owens(name):
    game, params, video, worth = case_of(name)
    found = esv_jax.coarse_to_fine(esv_jax.exact(), game, params, video, GROUPS, top=2, class_index=1)
    by_size = np.abs(np.asarray(found.groups.values)[:, 1])
    assert len(found.opened) == 2
    assert by_size[found.opened[0]] >= by_size[found.opened[1]]
    parts = [[(i,) for i in of] if g in found.opened else [of] for g, of in enumerate(SETS)]
    assert [p.parts[0][1] for p in found.players] == [player for group in parts for player in group]
    np.testing.assert_allclose(found.attribution.values, owen(worth, parts), atol=3e-6)
    np.testing.assert_allclose(found.groups.values, owen(worth, [[of] for of in SETS]), atol=3e-6)
    assert not found.attribution.sampled
    assert (np.asarray(found.attribution.std_error) == 0).all()


def test_no_coalition_is_asked_about_twice():
    asked = []

    def predict(model, clips):
        asked.extend(map(tuple, clips.any(axis=2).tolist()))
        return np.tanh(clips.sum(axis=1))

    game = esv_jax.host_game(predict, empty=np.zeros(D, np.float32), removal="zero", check=False)
    video = RNG.normal(size=(T, D)).astype(np.float32)
    found = esv_jax.coarse_to_fine(esv_jax.exact(), game, None, video, GROUPS, top=4)
    assert len(found.opened) == 3  # one has nothing to open
    assert len(asked) == len(set(asked)) == int(found.attribution.num_evaluations)


def test_sampled_it_still_adds_up_and_errors_are_told():
    game, params, video, _ = case_of("frame_mean_game")
    groups = players.segments(T, 7)  # the last has two frames
    exact = esv_jax.coarse_to_fine(esv_jax.exact(), game, params, video, groups, top=1)
    errors, told = [], []
    for seed in range(40):
        found = esv_jax.coarse_to_fine(
            esv_jax.exact(), game, params, video, groups, top=1, max_evaluations=32, key=jax.random.key(seed)
        )
        out = found.attribution
        assert bool(out.sampled)
        np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-6)
        errors.append(np.asarray(out.values - exact.attribution.values))
        told.append(np.asarray(out.std_error))
    opened = np.asarray(told).any(axis=(0, 2))
    assert opened.sum() == 2
    assert np.abs(errors)[:, ~opened].max() < 1e-6
    rms = np.sqrt(np.square(errors).mean(axis=0))[opened]
    assert 1e-4 < rms.max() < 0.05
    ratio = rms / np.sqrt(np.square(told).mean(axis=0))[opened]
    # Sizes are spread evenly, and the sum of both is known: errors are smaller than told, not larger.
    assert 0.3 < ratio.mean() < 1.1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"top": 0}, "top should be an integer of at least 1"),
        ({"class_index": 4}, r"class_index should be within 0..3, found 4"),
        ({"max_evaluations": 8}, "max_evaluations should be at least 64 to open a group of 3 entries, found 8"),
    ],
)
def test_mistakes_are_told(options, sentence):
    game, params, video, _ = case_of("frame_mean_game")
    with pytest.raises(InputError, match=sentence):
        esv_jax.coarse_to_fine(esv_jax.exact(), game, params, video, GROUPS, **{"top": 3, **options})


def test_a_group_that_is_too_large_and_a_missing_key_are_told():
    game, params, _, _ = case_of("frame_mean_game")
    video = RNG.normal(size=(24, D)).astype(np.float32)
    with pytest.raises(InputError, match=r"at most 10 entries to be opened, found 12 in 'frames (0-11|12-23)'"):
        esv_jax.coarse_to_fine(esv_jax.exact(), game, params, video, players.segments(24, 2), top=2)
    with pytest.raises(InputError, match="key should be given, as max_evaluations=4096 are fewer than"):
        esv_jax.coarse_to_fine(esv_jax.exact(), game, params, video, players.segments(24, 12), top=2)


def test_intervals_hold_a_frame_that_does_nothing():
    """Its part of what sampling leaves is not certain, though its own differences are."""
    rng = np.random.default_rng(4)
    weights = rng.normal(size=(16, 16)) * (np.arange(16) > 0) * (np.arange(16) > 0)[:, None]

    def predict(model, clips):
        kept = clips[:, :, 0]
        return np.tanh(np.einsum("ni,ij,nj->n", kept, model, kept) / 8).astype(np.float32)[:, None]

    game = esv_jax.host_game(predict, empty=[0.0], removal="zero", batch_size=4096, check=False)
    video, groups = np.ones((16, 1), np.float32), players.segments(16, 8)
    held, errors = [], []
    for seed in range(20):
        found = esv_jax.coarse_to_fine(
            esv_jax.exact(), game, weights, video, groups, top=8, max_evaluations=64, key=jax.random.key(seed)
        ).attribution
        low, high = found.interval()
        held.append(bool(low[0, 0] <= 0 <= high[0, 0]))
        errors.append(float(found.values[0, 0]))
    assert np.std(errors) > 1e-3
    assert np.mean(held) >= 0.8

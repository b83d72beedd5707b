"""Scores divided over larger players, against brute force over these; of several modalities, and of words."""

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import InputError, players, removals
from esv_jax.explaining import explain as explaining
from tests import oracles
from tests.contracts.cases import EMPTY, GAMES, C, D

T = 6
RNG = np.random.default_rng(0)
# Of unequal size, one not in one piece.
GROUPS = [("a", [("frames", [0, 1])]), ("b", [("frames", [2, 5])]), ("c", [("frames", [3])]), ("d", [("frames", [4])])]
each_game = pytest.mark.parametrize("case", GAMES.values(), ids=GAMES.keys())


def of_groups(worth, sets):
    return lambda coalition: worth(tuple(sorted(i for g in coalition for i in sets[g])))


@each_game
def test_values_equal_brute_force_over_groups(case):
    game, params = case.make(np.float32)
    video = RNG.normal(size=(T, D)).astype(np.float32)
    out = esv_jax.explain(esv_jax.exact(), esv_jax.grouped(game, GROUPS), params, video)
    worth = of_groups(case.worth(video.astype(np.float64)), [[0, 1], [2, 5], [3], [4]])
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, 4), atol=3e-6)
    np.testing.assert_allclose(out.full, worth(range(4)), atol=3e-6)
    assert int(out.num_evaluations) == 15


@each_game
def test_groups_of_one_are_frames(case):
    game, params = case.make(np.float32)
    video = RNG.normal(size=(T, D)).astype(np.float32)
    estimator, key = esv_jax.exact(), None
    expected = esv_jax.explain(estimator, game, params, video, key=key)
    found = esv_jax.explain(estimator, esv_jax.grouped(game, players.each(T)), params, video, key=key)
    np.testing.assert_allclose(found.values, expected.values, atol=2e-6)


def test_a_grouped_game_made_again_is_the_same_program():
    game, params = GAMES["frame_mean_game"].make(np.float32)
    video = RNG.normal(size=(T, D)).astype(np.float32)

    def explained():
        return esv_jax.explain(esv_jax.exact(), esv_jax.grouped(game, GROUPS), params, video)

    explained()
    compiled = explaining._explain_all._cache_size()
    explained()
    assert explaining._explain_all._cache_size() == compiled


def test_batches_and_jit():
    game, params = GAMES["trn_game"].make(np.float32)
    videos = RNG.normal(size=(3, T, D)).astype(np.float32)
    grouped = esv_jax.grouped(game, players.segments(T, 3))
    found = esv_jax.explain_batch(esv_jax.exact(), grouped, params, videos)
    one = jax.jit(lambda video: esv_jax.explain(esv_jax.exact(), grouped, params, video).values)
    for video, values in zip(videos, found.values, strict=True):
        np.testing.assert_allclose(one(video), values, atol=1e-6)
        worth = of_groups(GAMES["trn_game"].worth(video.astype(np.float64)), [[0, 1], [2, 3], [4, 5]])
        np.testing.assert_allclose(values, oracles.permutation_shapley(worth, 3), atol=3e-6)


# A model of a video with its question and its sound, by what is left of each.
WORD_WEIGHT = {"": 0.0, "what": 0.1, "is": -0.3, "thrown": 2.0}
QUESTION = np.array(["what", "is", "thrown"])
SOUND = RNG.normal(size=(2, 5)).astype(np.float32)
FRAMES = RNG.normal(size=(4, D)).astype(np.float32)
VIDEO = {"frames": FRAMES, "words": QUESTION, "sound": SOUND}
WEIGHTS = RNG.normal(size=(D, C)).astype(np.float32)


def answer(weights, clips):
    words = np.array([[WORD_WEIGHT[word] for word in row] for row in clips["words"].tolist()])
    of_words = words.sum(axis=1, keepdims=True) if words.size else np.zeros((len(words), 1))
    return (of_words + clips["sound"].sum(axis=(1, 2))[:, None] * 0.1) * np.tanh(clips["frames"].mean(axis=1) @ weights)


def worth_of(kept):
    """Of entries, 0..3 the frames, 4..6 the words, 7..8 the sound; frames become 0, words go, sound becomes 0."""
    frames = np.where(np.isin(range(4), kept)[:, None], FRAMES, 0).astype(np.float64)
    words = sum(WORD_WEIGHT[word] for i, word in enumerate(QUESTION) if i + 4 in kept)
    sound = sum(SOUND[i].sum(dtype=np.float64) for i in range(2) if i + 7 in kept)
    return oracles.softmax((words + 0.1 * sound) * np.tanh(frames.mean(axis=0) @ WEIGHTS))


REMOVAL = {"frames": "zero", "words": "delete", "sound": "zero"}


@pytest.mark.parametrize("empty", [None, EMPTY])
def test_modalities_beside_one_another(empty):
    given = EMPTY if empty is None else empty  # deleted words leave nothing to ask about
    game = esv_jax.host_game(answer, empty=given, removal=REMOVAL, link="softmax", batch_size=5)
    out = esv_jax.explain(esv_jax.exact(), game, WEIGHTS, VIDEO)
    worth = lambda s: worth_of(s) if s else given  # noqa: E731
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, 9), atol=3e-6)


def test_nobody_of_several_modalities():
    removal = {**REMOVAL, "words": "zero"}
    game = esv_jax.host_game(answer, removal=removal, link="softmax")
    out = esv_jax.explain(esv_jax.exact(), game, WEIGHTS, VIDEO)
    np.testing.assert_allclose(out.empty, worth_of(()), atol=1e-6)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth_of, 9), atol=3e-6)


def test_players_across_modalities_and_a_question_that_is_always_there(tmp_path):
    game = esv_jax.host_game(answer, removal={**REMOVAL, "words": "zero"}, link="softmax")
    shots = players.between(4, [1], names=["start", "throw"]) + players.each(2, modality="sound")
    out = esv_jax.explain(esv_jax.exact(), esv_jax.grouped(game, shots), WEIGHTS, VIDEO, archive=tmp_path / "a.esv")
    sets, always = [[0], [1, 2, 3], [7], [8]], [4, 5, 6]
    worth = lambda s: worth_of([*always, *(i for g in s for i in sets[g])])  # noqa: E731
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, 4), atol=3e-6)
    np.testing.assert_allclose(out.empty, worth(()), atol=1e-6)


def test_an_archive_serves_every_grouping(tmp_path):
    asked = []

    def predict(model, clips):
        asked.extend(map(tuple, clips.any(axis=2).tolist()))
        return clips.sum(axis=1)

    game = esv_jax.host_game(predict, empty=np.zeros(D, np.float32), removal="zero", check=False)

    def explain(of):
        return esv_jax.explain(esv_jax.exact(), of, "model", FRAMES, archive=tmp_path / "a.esv")

    pairs = explain(esv_jax.grouped(game, players.segments(4, 2)))
    assert len(asked) == 3
    explain(game)
    assert len(asked) == len(set(asked)) == 15
    again = explain(esv_jax.grouped(game, players.segments(4, 2)))
    assert len(asked) == 15
    np.testing.assert_array_equal(again.values, pairs.values)


def test_other_videos_beside_a_modality_that_stays():
    others = RNG.normal(size=(3, 4, D)).astype(np.float32)
    removal = {"frames": removals.other_videos(others), "words": "zero", "sound": "zero"}
    game = esv_jax.host_game(answer, removal=removal, link="softmax")
    words = esv_jax.grouped(game, players.each(4))  # the words and the sound are always there
    out = esv_jax.explain(esv_jax.exact(), words, WEIGHTS, VIDEO)

    def worth(kept):
        total = sum(WORD_WEIGHT.values()) + 0.1 * SOUND.sum(dtype=np.float64)
        clips = [np.where(np.isin(range(4), kept)[:, None], FRAMES, other) for other in others]
        return np.mean([oracles.softmax(total * np.tanh(clip.mean(axis=0) @ WEIGHTS)) for clip in clips], axis=0)

    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, 4), atol=3e-6)


def test_sets_of_entries():
    assert [p.name for p in players.each(2)] == ["0", "1"]
    assert players.each(2, modality="words", names=["a", "b"])[1] == ("b", (("words", (1,)),))
    assert [p.parts[0][1] for p in players.tubelets(5)] == [(0, 1), (2, 3), (4,)]
    assert [p.name for p in players.tubelets(3)] == ["frames 0-1", "frames 2"]
    for count in range(1, 12):
        for n in range(1, count + 1):
            which = [floor for floor, p in enumerate(players.segments(count, n)) for _ in p.parts[0][1]]
            assert which == [i * n // count for i in range(count)]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "players should be at least one, found none"),
        ([("a", 3)], r"players should be \(name, \[\(modality, indices\), ...\]\) each, found \('a', 3\)"),
        ([("a", [("frames", [])])], "players should have entries each, found none in 'a'"),
        (3, "players should be a list, found int"),
        ([("a", [("frames", [True, False])])], r"players should be \(name, \[\(modality, indices\)"),
        ([("a", [("frames", [0.5])])], r"players should be \(name, \[\(modality, indices\)"),
        ([("a", [("frames", [0])]), ("b", [("frames", [0])])], "no entry in common, found in two of them frames 0"),
        ([("a", [("frames", range(5))])], "all 6 frames between them, found none with 5"),
        ([("a", [("frames", range(7))])], "players should have frames of 0..5, found 6"),
        ([("a", [("words", [0])])], "players should be of the modalities frames, found 'words'"),
    ],
)
@pytest.mark.parametrize("name", ["frame_mean_game", "clip_game", "host_game"])
def test_mistakes_are_told(given, sentence, name):
    game, params = GAMES[name].make(np.float32)
    with pytest.raises(InputError, match=sentence):
        esv_jax.explain(
            esv_jax.exact(), esv_jax.grouped(game, given), params, RNG.normal(size=(T, D)).astype(np.float32)
        )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: players.segments(3, 4), "num_segments should be at most the 3 entries, found 4"),
        (lambda: players.between(4, [2, 2]), r"boundaries should be increasing and within 1..3, found 2, 2"),
        (lambda: players.between(4, [4]), r"within 1..3, found 4"),
        (lambda: players.between(4, [2.5]), r"boundaries should be whole numbers, found \[2.5\]"),
        (lambda: players.between(4, 2), "boundaries should be whole numbers, found 2"),
        (lambda: players.between(4, [2], names=["a"]), "names should be 2, one of each player, found 1"),
        (
            lambda: esv_jax.grouped(esv_jax.grouped(GAMES["tsn_game"].make(np.float32)[0], GROUPS), GROUPS),
            "game should be of single frames, found one that is grouped already",
        ),
        (
            lambda: esv_jax.explain(
                esv_jax.exact(), esv_jax.host_game(answer, empty=EMPTY, removal="nearest"), WEIGHTS, VIDEO
            ),
            r"the removal of '\w+' should say what is left when all of it is removed while another modality is not",
        ),
        (
            lambda: esv_jax.explain(
                esv_jax.exact(), esv_jax.host_game(answer, empty=EMPTY, removal=REMOVAL), WEIGHTS, FRAMES
            ),
            "video should be of the modalities frames, words, sound, a removal of each, found one array",
        ),
        (
            lambda: esv_jax.explain(
                esv_jax.exact(), esv_jax.host_game(answer, empty=EMPTY, removal={"frames": "zero"}), WEIGHTS, VIDEO
            ),
            "removal should be of the video's modalities frames, words, sound, found frames",
        ),
        (
            lambda: esv_jax.explain(
                esv_jax.exact(), esv_jax.host_game(answer, empty=EMPTY, removal="mean"), WEIGHTS, VIDEO
            ),
            "the removal 'mean of the clip' is for numbers, found words",
        ),
    ],
)
def test_mistakes_of_several_kinds_are_told(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_sums_by_modality_are_those_of_their_players():
    who = players.segments(4, 2) + players.each(3, modality="words", names=["a", "b", "c"])
    who += (players.Player("both", (("sound", (0,)), ("sensors", (1,)))),)
    values = RNG.normal(size=(6, 2))
    sums = players.by_modality(values, who)
    assert list(sums) == ["frames", "words", "sound and sensors"]
    np.testing.assert_allclose(sums["frames"], values[0] + values[1])
    np.testing.assert_allclose(sums["words"], values[2] + values[3] + values[4])
    np.testing.assert_allclose(sums["sound and sensors"], values[5])
    with pytest.raises(InputError, match="values"):
        players.by_modality(values[:5], who)

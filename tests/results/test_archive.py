"""What a model said is not lost, whenever the process ends; nor is it mistaken for the answer to another question."""

import signal
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import InputError
from esv_jax.results import archive

T, C = 10, 3
RNG = np.random.default_rng(0)
VIDEO = RNG.normal(size=(T, C)).astype(np.float32)
WEIGHTS = RNG.normal(size=(C, C)).astype(np.float32)
EMPTY = np.zeros(C, np.float32)
KEY = jax.random.key(0)
ABOUT = {"model": "a", "video": "b"}
ROOT = Path(__file__).parents[2]


class Counted:
    """How often the model was asked."""

    count = 0

    def __call__(self, weights, clips):
        self.count += len(clips)
        return np.tanh(clips.sum(axis=1) @ weights)


def game(predict, **options):
    return esv_jax.host_game(predict, **{"empty": EMPTY, "batch_size": 8, **options})


def explain(predict, evaluations, path, **options):
    estimator = esv_jax.recommended(max_evaluations=evaluations)
    return esv_jax.explain(estimator, game(predict, **options), WEIGHTS, VIDEO, key=KEY, archive=path)


def filled(path, batches=4):
    mask, scores = RNG.random((batches, 5, T)) < 0.5, RNG.normal(size=(batches, 5, C)).astype(np.float32)
    with archive.opened(path, T, ABOUT) as found:
        assert len(found.mask) == 0
        for of_batch in zip(mask, scores, strict=True):
            archive.append(found, *of_batch)
    return mask.reshape(-1, T), scores.reshape(-1, C)


def read(path):
    """What is in the archive, and what was warned of."""
    with warnings.catch_warnings(record=True, action="always") as said, archive.opened(path, T, ABOUT) as found:
        return found, [str(warning.message) for warning in said]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_holds_what_was_written(tmp_path, dtype):
    path = tmp_path / "a.esv"
    mask, scores = RNG.random((3, 7, T)) < 0.5, RNG.normal(size=(3, 7, C)).astype(dtype)
    for i in range(3):
        with archive.opened(path, T, ABOUT) as found:
            np.testing.assert_array_equal(found.mask, mask[:i].reshape(-1, T))
            np.testing.assert_array_equal(found.scores, scores[:i].reshape(-1, C) if i else np.zeros((0, 0)))
            archive.append(found, mask[i], scores[i])


def test_cut_anywhere_it_holds_the_whole_batches_before(tmp_path):
    path, part = tmp_path / "a.esv", tmp_path / "part.esv"
    mask, scores = filled(path)
    content = path.read_bytes()
    with archive.opened(tmp_path / "new.esv", T, ABOUT):
        pass
    header = (tmp_path / "new.esv").stat().st_size
    block = (len(content) - header) // 4
    for end in range(len(content)):
        part.write_bytes(content[:end])
        whole = max(0, (end - header) // block)
        is_cut = end > header and (end - header) % block
        found, said = read(part)
        assert [("cut off behind" in text) for text in said] == ([True] if is_cut else [])
        np.testing.assert_array_equal(found.mask, mask[: 5 * whole])
        np.testing.assert_array_equal(found.scores.reshape(-1, C), scores[: 5 * whole])
        assert part.stat().st_size == header + whole * block


def test_damage_anywhere_is_told_or_cut_off(tmp_path):
    path, damaged = tmp_path / "a.esv", tmp_path / "damaged.esv"
    mask, scores = filled(path)
    content = path.read_bytes()
    told = cut = 0
    for at in range(0, len(content), 3):
        damaged.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        try:
            found, said = read(damaged)
        except InputError:
            told += 1
            continue
        cut += 1
        assert len(said) == 1
        assert len(found.mask) < len(mask)
        np.testing.assert_array_equal(found.mask, mask[: len(found.mask)])
        np.testing.assert_array_equal(found.scores.reshape(-1, C), scores[: len(found.mask)])
    assert told > 10
    assert cut > 50


def test_a_larger_budget_and_other_estimators_ask_for_what_is_new(tmp_path):
    path, predict = tmp_path / "a.esv", Counted()
    explain(predict, 64, path)
    before = predict.count
    again = explain(predict, 64, path)
    assert predict.count == before
    np.testing.assert_array_equal(again.values, explain(Counted(), 64, None).values)
    explain(predict, 128, path)
    plans = [esv_jax.recommended(max_evaluations=n).plan(T, key=KEY).mask for n in (64, 128)]
    # One more: the whole video twice.
    assert predict.count - 1 == len(np.unique(np.concatenate(plans), axis=0)) == len(np.unique(plans[1], axis=0))
    before = predict.count
    options = {"key": KEY, "max_evaluations": 128, "archive": path}
    esv_jax.certify(esv_jax.recommended(max_evaluations=64), game(predict), WEIGHTS, VIDEO, **options)
    esv_jax.explain_until(esv_jax.recommended(max_evaluations=64), game(predict), WEIGHTS, VIDEO, **options)
    assert predict.count == before


@pytest.mark.parametrize(
    ("options", "video", "weights", "word"),
    [
        ({"removal": "freeze"}, VIDEO, WEIGHTS, "game"),
        ({"link": "softmax"}, VIDEO, WEIGHTS, "game"),
        ({"empty": EMPTY + 1}, VIDEO, WEIGHTS, "empty"),
        ({}, VIDEO + 1, WEIGHTS, "video"),
        ({}, VIDEO[:-1], WEIGHTS, "num_players 10, not 9"),
        ({}, VIDEO, WEIGHTS + 1, "model"),
    ],
    ids=str,
)
def test_another_question_is_refused(tmp_path, options, video, weights, word):
    path, predict = tmp_path / "a.esv", Counted()
    explain(predict, 64, path)
    content, before = path.read_bytes(), predict.count
    with pytest.raises(
        InputError, match=rf"a\.esv should be of this question, found one of .*{word}.*: give another file"
    ):
        esv_jax.explain(esv_jax.exact(), game(predict, **options), weights, video, archive=path)
    assert path.read_bytes() == content
    assert predict.count == before


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not to be lost")
    with pytest.raises(InputError, match=r"notes\.txt should be one of esv_jax, .* found another file"):
        explain(Counted(), 64, path)
    assert path.read_text() == "not to be lost"
    with pytest.raises(InputError, match=r"the archive .* cannot be opened: "):
        explain(Counted(), 64, tmp_path)
    with pytest.raises(InputError, match=r"the archive .* cannot be opened: No such file"):
        explain(Counted(), 64, tmp_path / "none" / "a.esv")


def test_two_processes_do_not_write_one_archive(tmp_path):
    other = archive.opened(tmp_path / "a.esv", T, ABOUT)
    with (
        archive.opened(tmp_path / "a.esv", T, ABOUT),
        pytest.raises(InputError, match="another process is writing the archive"),
    ):
        other.__enter__()


KILLED = """
import os, signal, sys
import numpy as np, jax, esv_jax
sys.path.insert(0, {root!r})
from tests.results import test_archive as here

class Killed(here.Counted):
    def __call__(self, weights, clips):
        found = super().__call__(weights, clips)
        if self.count > {count}:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

Killed.__qualname__ = "Counted"  # mended since then
here.explain(Killed(), 128, {path!r})
"""


@pytest.mark.parametrize("count", [1, 30, 77])
def test_after_a_kill_only_the_batch_in_flight_is_asked_again(tmp_path, count):
    path, predict = tmp_path / "a.esv", Counted()
    script = KILLED.format(root=str(ROOT), count=count, path=str(path))
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    expected = Counted()
    whole = explain(expected, 128, None)
    with pytest.warns(UserWarning, match="code of predict, .* is not that with which the archive .* was begun"):
        found = explain(predict, 128, path)
    np.testing.assert_array_equal(found.values, whole.values)
    # It was killed with more than `count` answers, the last batch of at most 8 not kept.
    assert predict.count <= expected.count - max(0, count - 8)

"""How a model on the host is asked: each coalition once, in batches, and what happens when something goes wrong."""

import gc
import logging
import threading
import time
import urllib.error

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import InputError, fingerprints
from esv_jax.explaining import answers

T, C = 8, 3
RNG = np.random.default_rng(0)
VIDEO = RNG.normal(size=(T, C)).astype(np.float32)
EMPTY = np.zeros(C, np.float32)
KEY = jax.random.key(0)
ESTIMATOR = esv_jax.regression(max_evaluations=101)


def coalitions(clips):
    """Which frames the kept ones are, of games whose removal is zero: frames of `VIDEO` are not 0."""
    return [tuple(np.flatnonzero(clip.any(axis=1)).tolist()) for clip in clips]


class Model:
    """Sums of frames, which keeps what it was asked; `act` is called with the coalitions of every call."""

    def __init__(self, act=lambda asked: None):
        self.asked, self.calls, self.act, self.lock = [], [], act, threading.Lock()

    def __call__(self, clips):
        asked = coalitions(clips)
        self.act(asked)
        with self.lock:
            self.asked += asked
            self.calls.append(len(asked))
        return clips.sum(axis=1) ** 2


def game(**options):
    return esv_jax.host_game(
        lambda model, clips: model(clips), **{"empty": EMPTY, "removal": "zero", "batch_size": 16, **options}
    )


def explain(model, estimator=ESTIMATOR, *, options=None, **more):
    return esv_jax.explain(estimator, game(**(options or {})), model, VIDEO, key=KEY, **more)


def test_every_coalition_is_asked_about_once_and_in_batches():
    model, progress = Model(), []
    out = explain(model, callback=progress.append)
    # The whole video twice, to see that the model says the same.
    assert model.calls[:2] == [1, 1]
    assert model.asked[0] == model.asked[1] == tuple(range(T))
    assert len(set(model.asked)) == len(model.asked) - 1 == int(out.num_evaluations)
    assert max(model.calls) == 16
    assert [p.done for p in progress] == np.cumsum([1, *model.calls[2:]]).tolist()
    assert progress[-1].wanted == progress[-1].done == progress[-1].new - 1 == int(out.num_evaluations)
    assert progress[-1].seconds_left == 0
    assert progress[1].seconds_left > 0
    np.testing.assert_allclose(out.full, VIDEO.sum(axis=0) ** 2, rtol=1e-5)


def test_several_at_a_time_give_the_same_whatever_comes_back_first():
    running, most, lock = [0], [0], threading.Lock()

    def slow(asked):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02 * (sum(asked[0]) % 3))
        with lock:
            running[0] -= 1

    expected, found = explain(Model()), explain(Model(slow), options={"workers": 4})
    np.testing.assert_array_equal(found.values, expected.values)
    assert 1 < most[0] <= 4


class Timeout(Exception):
    """As requests and others name it; no subclass of Python's."""


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError("gone"), TimeoutError("late"), urllib.error.URLError(ConnectionRefusedError()), Timeout()],
)
def test_connections_are_tried_again(error, monkeypatch):
    pauses, failures = [], [error] * 3
    monkeypatch.setattr(time, "sleep", pauses.append)

    def act(asked):
        if len(asked) > 1 and failures:
            raise failures.pop()

    model = Model(act)
    found = explain(model, options={"retries": 3})
    assert pauses == [0.5, 1, 2]
    np.testing.assert_array_equal(found.values, explain(Model()).values)
    failures += [error] * 4
    with pytest.raises(type(error)):
        explain(Model(act), options={"retries": 3})


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, ValueError])
def test_errors_arrive_as_they_are_and_name_the_coalition(kind, workers, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("should not be tried again"))

    def act(asked):
        if len(asked) > 1:
            raise kind("mine")

    with pytest.raises(kind, match="mine") as caught:
        explain(Model(act), options={"workers": workers, "retries": 3, "batch_size": 2})
    (note,) = caught.value.__notes__
    assert note.startswith("raised while the model was asked about 2 coalitions, the first that of ")


def test_answers_that_are_on_their_way_are_kept_when_one_fails(tmp_path):
    failed = threading.Event()

    def act(asked):
        if len(asked) > 1 and not failed.is_set():
            failed.set()
            raise ValueError("mine")
        if len(asked) > 1:
            time.sleep(0.1)

    first, again, path = Model(act), Model(), tmp_path / "a.esv"
    options = {"workers": 3, "batch_size": 4}
    a_game = esv_jax.host_game(lambda address, clips: first(clips), empty=EMPTY, removal="zero", **options)
    with pytest.raises(ValueError, match="mine"):
        esv_jax.explain(ESTIMATOR, a_game, "a model", VIDEO, key=KEY, archive=path)
    assert len(first.asked) > 4
    a_game = esv_jax.host_game(lambda address, clips: again(clips), empty=EMPTY, removal="zero", **options)
    esv_jax.explain(ESTIMATOR, a_game, "a model", VIDEO, key=KEY, archive=path)
    assert not set(again.asked) & set(first.asked)


def test_what_ends_it_says_how_to_go_on(tmp_path):
    def act(asked):
        if len(asked) > 1:
            raise KeyboardInterrupt

    a_game, model = game(check=False), Model(act)
    model.lock = None  # cannot be pickled

    with pytest.raises(KeyboardInterrupt) as caught:
        esv_jax.explain(ESTIMATOR, a_game, model, VIDEO, key=KEY, archive=tmp_path / "a.esv")
    assert (
        caught.value.__notes__[1]
        == f"what was answered is kept in {tmp_path / 'a.esv'}: the same call goes on from there"
    )


def test_a_limit_of_cost_needs_the_cost_of_one():
    with pytest.raises(InputError, match="max_cost should come with cost_per_evaluation"):
        explain(Model(), max_cost=3)


def test_the_program_is_compiled_once_and_meanwhile():
    order, patience = [], [200]

    class Compiled(logging.Handler):
        def emit(self, record):
            if "Compiling jit(estimated)" in record.getMessage() and f"bool[93,{T}]" in record.getMessage():
                order.append("compiled")

    def act(asked):
        # The first batch is not answered before the program is begun.
        while "compiled" not in order and patience[0]:
            patience[0] -= 1
            time.sleep(0.05)
        order.append("asked")

    estimator = esv_jax.regression(max_evaluations=93)  # of which no other test has a program
    handler = Compiled()
    logger = logging.getLogger("jax._src.interpreters.pxla")
    logger.addHandler(handler)
    before = jax.config.jax_log_compiles
    jax.config.update("jax_log_compiles", True)  # of all threads
    try:
        for _ in range(2):
            explain(Model(act), estimator, options={"check": False})
    finally:
        jax.config.update("jax_log_compiles", before)
        logger.removeHandler(handler)
    assert order.count("compiled") == 1
    assert order.index("compiled") < order.index("asked")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_name_the_coalition(bad):
    def predict(model, clips):
        found = clips.sum(axis=1)
        found[[kept == (2, 5) for kept in coalitions(clips)], 1] = bad
        return found

    a_game = esv_jax.host_game(predict, empty=EMPTY, removal="zero")
    with pytest.raises(InputError, match=rf"finite scores, found {bad} for class 1 for the coalition of 2, 5$"):
        esv_jax.explain(esv_jax.exact(), a_game, None, VIDEO)


def test_a_model_that_says_something_else_every_time_is_refused():
    chance = np.random.default_rng(0)
    a_game = {"empty": EMPTY, "removal": "zero"}

    def predict(model, clips):
        return clips.sum(axis=1) + chance.normal(size=(len(clips), C)).astype(np.float32)

    with pytest.raises(InputError, match=r"should say the same .* differ by up to \d.*\(model\.eval\(\)\)"):
        esv_jax.explain(ESTIMATOR, esv_jax.host_game(predict, **a_game), None, VIDEO, key=KEY)
    esv_jax.explain(ESTIMATOR, esv_jax.host_game(predict, check=False, **a_game), None, VIDEO, key=KEY)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_batches_shrink_where_memory_does_not_suffice(error):
    def act(asked):
        if len(asked) > 3:
            raise error

    model = Model(act)
    found = explain(model)
    np.testing.assert_allclose(found.values, explain(Model()).values, atol=1e-5)
    assert max(model.calls) <= 3
    # Halved once and for all, not found out again at every call.
    assert sum(count > 1 for count in model.calls) >= len(model.calls) - 8

    def always(asked):
        raise error

    with pytest.raises(type(error)):
        explain(Model(always))


def test_stopped_by_cost_the_largest_plan_that_was_done_is_the_answer():
    model = Model()
    found = explain(model, max_cost=0.60, cost_per_evaluation=0.01)
    assert len(model.asked) <= 60
    smaller = ESTIMATOR.grown(T, int(found.num_evaluations))
    expected = explain(Model(), smaller)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
    assert 40 <= int(found.num_evaluations) < 60


def test_stopped_by_time():
    clock = [0.0]

    def act(asked):
        clock[0] += len(asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers.time, "perf_counter", lambda: clock[0])
        model = Model(act)
        found = explain(model, max_seconds=60)
        assert 60 <= len(model.asked) < 60 + 16
        assert 40 <= int(found.num_evaluations) < 60
        with pytest.raises(InputError, match=r"should have more coalitions .*: stopped by its limit after \d+ of \d+$"):
            explain(Model(act), max_seconds=3)


def test_nobody_is_asked_about_whatever_the_limits():
    with pytest.raises(InputError, match="stopped by its limit after 3 of"):
        explain(Model(), options={"empty": None}, max_cost=0, cost_per_evaluation=1)


@pytest.mark.parametrize("name", ["archive", "callback", "max_seconds", "max_cost"])
def test_only_host_games_take_these(name):
    of_jax = esv_jax.clip_game(lambda params, clips: clips.sum(axis=1), empty=EMPTY)
    with pytest.raises(InputError, match=f"{name} is for host games"):
        esv_jax.explain(esv_jax.exact(), of_jax, None, VIDEO, **{name: "x"})


def test_a_thousand_videos_leave_nothing_behind():
    a_game, model = game(check=False), Model()
    model.asked = None

    def predict_many(count):
        for i in range(count):
            video = np.random.default_rng(i).normal(size=(T, C)).astype(np.float32)
            esv_jax.explain(ESTIMATOR, a_game, lambda clips: clips.sum(axis=1), video, key=KEY)
        gc.collect()
        return len(gc.get_objects())

    predict_many(20)
    before = predict_many(20)
    assert predict_many(300) < before + 300


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"w": np.zeros(3)}, {"w": np.ones(3)}),
        ({"w": np.zeros(3)}, {"w": np.zeros((3, 1))}),
        ("http://localhost:1", "http://localhost:2"),
        (range(3), range(4)),
    ],
    ids=str,
)
def test_fingerprints_tell_models_apart(one, other):
    assert fingerprints.of_model(one) == fingerprints.of_model(one)
    assert fingerprints.of_model(one) != fingerprints.of_model(other)


def test_what_cannot_be_read_is_known_by_its_kind():
    assert fingerprints.of_model(threading.Lock()) == fingerprints.of_model(threading.Lock()) == "_thread.lock"

"""One thread for BLAS while a program runs, and behind it everything as it was."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax import threads

BLAS = threads.blas()
pytestmark = pytest.mark.skipif(BLAS is None, reason="JAX calls no OpenBLAS here")


@pytest.fixture(autouse=True)
def three_threads():
    """On any machine a number that is not what is set."""
    before = BLAS.get()
    BLAS.set(3)
    yield
    assert BLAS.get() == 3
    BLAS.set(before)


def test_nested_and_behind_an_exception():
    with threads.one_for_blas():
        with pytest.raises(ZeroDivisionError), threads.one_for_blas():
            raise ZeroDivisionError
        assert BLAS.get() == 1
    assert BLAS.get() == 3


def test_threads_that_overlap():
    """The first to enter leaves first; what was there before it comes back when the last leaves."""
    entered, may_leave = threading.Event(), threading.Event()

    def stay():
        with threads.one_for_blas():
            entered.set()
            may_leave.wait()

    other = threading.Thread(target=stay)
    with threads.one_for_blas():
        other.start()
        entered.wait()
    assert BLAS.get() == 1
    may_leave.set()
    other.join()
    assert BLAS.get() == 3


GAME = esv_jax.clip_game(lambda _, clips: jax.nn.softmax(jnp.tanh(clips).sum(axis=1)), empty=np.full(3, 1 / 3, "f"))
VIDEO = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
ESTIMATOR = esv_jax.surrogate(max_evaluations=40)
PLAN = ESTIMATOR.plan(6, key=jax.random.key(0))


def explain(video):
    return esv_jax.explain(ESTIMATOR, GAME, None, video, plan=PLAN).values


@pytest.mark.parametrize("many", [False, True])
def test_held_while_videos_are_explained(many, monkeypatch):
    seen = []
    block = jax.block_until_ready
    monkeypatch.setattr(jax, "block_until_ready", lambda found: (seen.append(BLAS.get() == 1), block(found))[1])
    if many:
        esv_jax.explain_batch(ESTIMATOR, GAME, None, VIDEO[None], plan=PLAN)
    else:
        explain(VIDEO)
    assert seen == [True]
    assert BLAS.get() == 3


def test_not_held_while_traced(monkeypatch):
    monkeypatch.setattr(threads, "one_for_blas", lambda: pytest.fail("entered"))
    jax.jit(explain).lower(VIDEO)
    jax.vmap(explain)(VIDEO[None])


def test_videos_that_are_constants_of_an_outer_program():
    expected = explain(VIDEO)
    np.testing.assert_allclose(jax.jit(lambda: explain(VIDEO))(), expected, atol=1e-5)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.explaining import choose as choosing
from esv_jax.explaining.choose import choose

PRIOR = np.full(3, 1 / 3, np.float32)
GAME = esv_jax.clip_game(lambda _, clips: jax.nn.softmax(jnp.tanh(clips).sum(axis=1)), empty=PRIOR)


def told(num_frames, seconds, max_evaluations=1024):
    videos = np.zeros((1, num_frames, 3), np.float32)
    return choose(GAME, None, videos, max_evaluations=max_evaluations, seconds_per_evaluation=seconds)


def test_a_cheap_model_is_asked_for_all_coalitions():
    """recommended(1024) takes 1.02 s and 1024 evaluations: 65535 of 10 microseconds are less, of 20 are not."""
    assert told(16, 1e-5)[:2] == ("exact", {})
    assert told(16, 1e-5).said == (
        "exact: all 65535 coalitions of a video take about 0.66 s, recommended(max_evaluations=1024) would take about "
        "1 s"
    )
    assert told(16, 2e-5).name == "regression"


@pytest.mark.parametrize(("seconds", "times"), [(1e-6, 64), (2e-5, 32), (9e-5, 8)])
def test_regression_takes_as_many_as_take_no_longer(seconds, times):
    choice = told(24, seconds)
    assert choice[:2] == ("regression", {"max_evaluations": 1024 * times})
    assert times * seconds <= choosing.SECONDS_OF_A_FIT + seconds


@pytest.mark.parametrize("seconds", [2e-4, 1.0])
def test_a_model_that_is_not_cheap_is_asked_little(seconds):
    assert told(24, seconds)[:2] == ("recommended", {"max_evaluations": 1024})


def test_what_recommended_would_do_exactly_is_not_measured():
    assert told(8, None)[:2] == ("exact", {})


def test_it_measures():
    videos = np.random.default_rng(0).normal(size=(2, 12, 3)).astype(np.float32)
    choice = choose(GAME, None, videos, max_evaluations=256)
    assert choice.name in ("exact", "regression", "recommended")
    assert 0 < choosing.measure(GAME, None, videos) < 1

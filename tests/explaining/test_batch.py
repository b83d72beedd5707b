import functools

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.explaining.batch import explain_batch, fitting_batch
from tests import oracles

B, T, D, C = 3, 4, 2, 3
EMPTY = np.array([0.5, 0.25, 0.25], np.float32)
VIDEOS = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(D, C)).astype(np.float32)
TRACED = []


def predict(weights, clips):
    TRACED.append(clips.shape)
    return jax.nn.softmax(clips[:, -1] @ weights + clips.mean(axis=1) @ weights)


GAME = esv_jax.clip_game(predict, empty=EMPTY)


def images_predict(weights, clips):
    """Scores of clips [N, k, H, W, 3] by the first frame's corner and the mean colour."""
    return jax.nn.softmax(clips[:, 0, 0, 0] @ weights + clips.mean(axis=(1, 2, 3)) @ weights)


def test_videos_of_images():
    videos = np.random.default_rng(2).normal(size=(B, T, 2, 5, 3)).astype(np.float32)
    weights = np.random.default_rng(3).normal(size=(3, C)).astype(np.float32)
    game = esv_jax.clip_game(images_predict, empty=EMPTY)

    def worth(video, coalition):
        clip = video[list(coalition)].astype(np.float64)
        return oracles.softmax(clip[0, 0, 0] @ weights + clip.mean(axis=(0, 1, 2)) @ weights) if coalition else EMPTY

    everything = esv_jax.regression(max_evaluations=2**T - 1)
    plan = everything.plan(T, key=jax.random.key(0))
    mask = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    for out in (
        explain_batch(esv_jax.exact(), game, weights, videos),
        explain_batch(everything, game, weights, videos, plan=plan),
    ):
        assert out.values.shape == (B, T, C)
        for video, values, full in zip(videos, out.values, out.full, strict=True):
            of_video = functools.partial(worth, video)
            np.testing.assert_allclose(values, oracles.permutation_shapley(of_video, T), atol=2e-6)
            np.testing.assert_allclose(full, of_video(tuple(range(T))), atol=1e-6)
            expected = [of_video(tuple(np.flatnonzero(row))) for row in mask]
            np.testing.assert_allclose(esv_jax.worths(game, weights, video, mask), expected, atol=1e-6)


def test_other_videos_weights_and_priors_do_not_compile_again():
    explain_batch(esv_jax.exact(), GAME, WEIGHTS, VIDEOS)
    before = len(TRACED)
    out = explain_batch(esv_jax.exact(), GAME._replace(empty=EMPTY[::-1]), 2 * WEIGHTS, 3 * VIDEOS)
    assert len(TRACED) == before
    np.testing.assert_allclose(out.values.sum(axis=1) + EMPTY[::-1][None], out.full, atol=1e-6)


@pytest.mark.parametrize("widest", [1.0, 300.0])
def test_a_shortcut_is_taken_for_all_videos_or_none(widest):
    """The second video's logits are too wide for it, or they are not."""
    logits = np.random.default_rng(0).normal(size=(3, 12, 2)).astype(np.float32)
    logits[1] *= widest
    game = esv_jax.frame_mean_game(lambda params, video: video, empty=np.full(2, 0.5, np.float32))
    found = explain_batch(esv_jax.exact(), game, None, logits)
    for b in range(3):
        one_by_one = esv_jax.explain(esv_jax.exact(), game._replace(exact=None), None, logits[b])
        np.testing.assert_allclose(found.values[b], one_by_one.values, atol=1e-5)


def test_videos_are_a_batch():
    for wrong in (VIDEOS[:0], VIDEOS[0, 0], np.float32(1)):
        with pytest.raises(
            esv_jax.InputError, match=r"videos should have shape \[B, T, \.\.\.\], at least one of them"
        ):
            explain_batch(esv_jax.exact(), GAME, WEIGHTS, wrong)


def test_sampling_needs_a_plan():
    with pytest.raises(esv_jax.InputError, match="needs key"):
        explain_batch(esv_jax.regression(max_evaluations=12), GAME, WEIGHTS, VIDEOS)


def test_fewer_videos_fit_where_each_takes_more():
    sizes = [fitting_batch(10**n) for n in range(3, 12)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert all(size & (size - 1) == 0 for size in sizes)

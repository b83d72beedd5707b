"""The mistakes that the API meets, each with one sentence that says what was expected and what was found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax import models

EMPTY = np.full(3, 1 / 3, np.float32)
VIDEO = np.ones((4, 2), np.float32)


def predict(params, clips):
    return jnp.zeros((clips.shape[0], 3), jnp.float32)


def game():
    return esv_jax.clip_game(predict, empty=EMPTY)


def test_wrong_shapes_of_video_and_empty():
    with pytest.raises(esv_jax.InputError, match=r"video should have shape \[T, ...\] .* found \[0, 2\]"):
        esv_jax.explain(esv_jax.exact(), game(), None, VIDEO[:0])
    with pytest.raises(esv_jax.InputError, match=r"video should have shape"):
        esv_jax.explain(esv_jax.exact(), game(), None, np.float32(1))
    with pytest.raises(esv_jax.InputError, match=r"empty should have shape \[C\], found \[1, 3\]"):
        esv_jax.clip_game(predict, empty=EMPTY[None])
    with pytest.raises(esv_jax.InputError, match=r"empty should be floating point, found int"):
        esv_jax.clip_game(predict, empty=np.array([0, 1]))


def test_worths_of_another_shape_or_dtype():
    wide = esv_jax.clip_game(lambda p, clips: jnp.zeros((clips.shape[0], 5)), empty=EMPTY)
    with pytest.raises(esv_jax.InputError, match=r"worths should have shape \[., 3\], found \[., 5\]"):
        esv_jax.explain(esv_jax.exact(), wide, None, VIDEO)
    whole = esv_jax.clip_game(lambda p, clips: jnp.zeros((clips.shape[0], 3), int), empty=EMPTY)
    with pytest.raises(esv_jax.InputError, match="what predict returns should be floating point, found int"):
        esv_jax.explain(esv_jax.exact(), whole, None, VIDEO)


PLANNED = [esv_jax.exact(), esv_jax.orderings(max_evaluations=9), esv_jax.regression(max_evaluations=13)]


@pytest.mark.parametrize("estimator", PLANNED)
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_a_model_that_gives_another_number_of_rows(estimator, rows):
    """Products and lookups would take them, and give numbers."""
    key = None if estimator.weights else jax.random.key(0)
    frames = esv_jax.frame_mean_game(lambda p, video: jnp.ones((rows, 3)), empty=EMPTY)
    with pytest.raises(
        esv_jax.InputError, match=rf"what frame_logits returns should have shape \[4, C\], .*\[{rows}, 3\]"
    ):
        esv_jax.explain(estimator, frames, None, VIDEO, key=key)
    clips = esv_jax.clip_game(lambda p, clips: jnp.ones((9, 3)), empty=EMPTY)
    with pytest.raises(esv_jax.InputError, match=r"what predict returns should have shape \[\d, C\], found \[9, 3\]"):
        esv_jax.explain(estimator, clips, None, VIDEO, key=key)
    heads = [lambda p, clips: jnp.ones((len(clips), 3)), lambda p, clips: jnp.ones((len(clips), 1))]
    joined = esv_jax.multiscale_game(heads, empty=EMPTY)
    with pytest.raises(esv_jax.InputError, match=r"what fns\[1\] returns should have shape \[\d, 3\], found \[\d, 1\]"):
        esv_jax.explain(estimator, joined, None, VIDEO, key=key)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("estimator", PLANNED)
def test_sums_of_what_less_precise_models_say_are_precise(dtype, estimator):
    logits = jax.random.normal(jax.random.key(0), (7, 3)).astype(dtype)
    key = None if estimator.weights else jax.random.key(1)
    game = esv_jax.frame_mean_game(lambda p, video: video, empty=EMPTY)
    estimator = estimator if estimator.weights else esv_jax.regression(max_evaluations=31)
    found = esv_jax.explain(estimator, game, None, logits, key=key)
    assert found.values.dtype == jnp.float32
    expected = esv_jax.explain(estimator, game, None, logits.astype(jnp.float32), key=key)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["tsn", "trn"])
def test_frames_of_another_shape_or_dtype(kind):
    if kind == "tsn":
        model = models.TSN(num_classes=3)
        the_game = esv_jax.tsn_game(model, empty=EMPTY)
    else:
        model = models.MultiscaleTRN(num_scales=2, hidden_dim=4, num_classes=3)
        the_game = esv_jax.trn_game(model, empty=EMPTY)
    variables = model.init(jax.random.key(0), VIDEO)
    with pytest.raises(esv_jax.InputError, match=r"frames should have shape \[T, D\], found \[4, 2, 1\]"):
        esv_jax.explain(esv_jax.exact(), the_game, variables, VIDEO[:, :, None])
    with pytest.raises(esv_jax.InputError, match="frames should be floating point"):
        esv_jax.explain(esv_jax.exact(), the_game, variables, VIDEO.astype(np.int32))


def test_plans_that_do_not_fit():
    estimator = esv_jax.stratified(per_size=3)
    plan = estimator.plan(num_frames=5, key=jax.random.key(0))
    with pytest.raises(esv_jax.InputError, match="plan should be for the video's 4 frames, found one for 5"):
        esv_jax.explain(estimator, game(), None, VIDEO, plan=plan)
    with pytest.raises(esv_jax.InputError, match="both given"):
        esv_jax.explain(estimator, game(), None, VIDEO, plan=plan, key=jax.random.key(0))
    with pytest.raises(esv_jax.InputError, match="num_frames should be an integer of at least 1, found 0"):
        estimator.plan(num_frames=0, key=jax.random.key(0))


def test_too_many_frames_for_exact():
    with pytest.raises(esv_jax.InputError, match="at most 30 frames here, found 31"):
        esv_jax.explain(esv_jax.exact(), game(), None, np.ones((31, 2), np.float32))


@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True])
def test_counts(value):
    with pytest.raises(esv_jax.InputError, match="per_size should be an integer of at least 1"):
        esv_jax.stratified(per_size=value)


def test_no_scales():
    with pytest.raises(esv_jax.InputError, match="found none"):
        esv_jax.multiscale_game([], empty=EMPTY)


def test_nan_features_show_in_the_result():
    video = VIDEO.copy()
    video[1] = np.nan
    means = esv_jax.frame_mean_game(lambda p, x: jnp.tile(x[:, :1], (1, 3)), empty=EMPTY)
    out = esv_jax.explain(esv_jax.exact(), means, None, video)
    assert np.isnan(out.values).all()
    assert np.isnan(out.full).all()


def test_the_demo_of_the_design():
    """The lines of the README, as they stand."""

    def predict(params, clips):
        return jax.nn.softmax(jnp.tanh(clips).mean(axis=1) @ params["w"])

    key = jax.random.key(0)
    params = {"w": jax.random.normal(key, (5, 3))}
    video = jax.random.normal(key, (12, 5))
    the_game = esv_jax.clip_game(predict, empty=EMPTY)
    exact = esv_jax.explain(esv_jax.exact(), the_game, params, video[:8])
    np.testing.assert_allclose(exact.values.sum(axis=0), exact.full - exact.empty, atol=1e-6)
    sampled = esv_jax.explain(esv_jax.stratified(per_size=128), the_game, params, video, key=key)
    plan = esv_jax.stratified(per_size=128).plan(num_frames=12, key=key)
    planned = esv_jax.explain(esv_jax.stratified(per_size=128), the_game, params, video, plan=plan)
    np.testing.assert_array_equal(sampled.values, planned.values)
    assert sampled.std_error.shape == (12, 3)


def test_iterations_pool_their_cells_and_lower_the_error():
    table = np.random.default_rng(0).uniform(size=(2**6, 1)).astype(np.float32)
    the_game = esv_jax.clip_game(lambda t, clips: t[clips[:, :, 0].astype(jnp.int32).sum(axis=1)], empty=table[0])
    video = 2.0 ** np.arange(6, dtype=np.float32)[:, None]
    truth = esv_jax.explain(esv_jax.exact(), the_game, table, video).values

    def mean_square(iterations):
        estimator = esv_jax.stratified(per_size=5, iterations=iterations)
        outs = [esv_jax.explain(estimator, the_game, table, video, key=jax.random.key(s)) for s in range(20)]
        return np.mean([np.square(out.values - truth) for out in outs])

    assert mean_square(8) < 0.3 * mean_square(1)

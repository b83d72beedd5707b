"""The mistakes that the API meets, each with one sentence that says what was expected and what was found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax import models
from esv_jax.coalitions import plans

EMPTY = np.full(3, 1 / 3, np.float32)
VIDEO = np.ones((4, 2), np.float32)


def predict(params, clips):
    return jnp.zeros((clips.shape[0], 3), jnp.float32)


def game():
    return esv_jax.clip_game(predict, empty=EMPTY)


def test_videos_without_frames():
    with pytest.raises(esv_jax.InputError, match=r"video should have shape \[T, ...\] .* found \[0, 2\]"):
        esv_jax.explain(esv_jax.exact(), game(), None, VIDEO[:0])
    with pytest.raises(esv_jax.InputError, match=r"video should have shape"):
        esv_jax.explain(esv_jax.exact(), game(), None, np.float32(1))


EXACT = esv_jax.exact()
ESTIMATORS = {
    "exact": (EXACT, None),
    "orderings": (esv_jax.orderings(max_evaluations=9), jax.random.key(0)),
    "regression": (esv_jax.regression(max_evaluations=13), jax.random.key(0)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_a_model_that_gives_another_number_of_rows(name, rows):
    """Products and lookups would take them, and give numbers."""
    estimator, key = ESTIMATORS[name]
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
@pytest.mark.parametrize("name", ["exact", "regression"])
def test_sums_of_what_less_precise_models_say_are_precise(dtype, name):
    estimator, key = ESTIMATORS[name]
    logits = jax.random.normal(jax.random.key(0), (4, 3)).astype(dtype)
    game = esv_jax.frame_mean_game(lambda p, video: video, empty=EMPTY)
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
        esv_jax.explain(EXACT, the_game, variables, VIDEO[:, :, None])
    with pytest.raises(esv_jax.InputError, match="frames should be floating point"):
        esv_jax.explain(EXACT, the_game, variables, VIDEO.astype(np.int32))


def test_plans_that_do_not_fit():
    estimator = esv_jax.stratified(per_size=3)
    plan = estimator.plan(5, key=jax.random.key(0))
    with pytest.raises(esv_jax.InputError, match="plan should be for the video's 4 frames, found one for 5"):
        esv_jax.explain(estimator, game(), None, VIDEO, plan=plan)
    with pytest.raises(esv_jax.InputError, match="both given"):
        esv_jax.explain(estimator, game(), None, VIDEO, plan=plan, key=jax.random.key(0))
    with pytest.raises(esv_jax.InputError, match=r"plan should be what .* gives, found ndarray"):
        esv_jax.explain(estimator, game(), None, VIDEO, plan=plan.mask)
    with pytest.raises(esv_jax.InputError, match="num_players should be an integer of at least 1, found 0"):
        estimator.plan(num_players=0, key=jax.random.key(0))


def test_too_many_frames_for_exact():
    with pytest.raises(esv_jax.InputError, match="at most 30 frames here, found 31"):
        esv_jax.explain(EXACT, game(), None, np.ones((31, 2), np.float32))
    with pytest.raises(esv_jax.InputError, match="at most 20 frames here, found 21"):
        EXACT.plan(21)


def test_nan_features_show_in_the_result():
    video = VIDEO.copy()
    video[1] = np.nan
    means = esv_jax.frame_mean_game(lambda p, x: jnp.tile(x[:, :1], (1, 3)), empty=EMPTY)
    for estimator, key in ESTIMATORS.values():
        out = esv_jax.explain(estimator, means, None, video, key=key)
        assert np.isnan(out.values).all()
        assert np.isnan(out.full).all()


def test_a_key_is_as_good_as_its_plan():
    estimator = esv_jax.stratified(per_size=3)
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    means = esv_jax.frame_mean_game(lambda p, x: x, empty=EMPTY)
    sampled = esv_jax.explain(estimator, means, None, logits, key=jax.random.key(3))
    planned = esv_jax.explain(estimator, means, None, logits, plan=estimator.plan(6, key=jax.random.key(3)))
    np.testing.assert_array_equal(sampled.values, planned.values)
    other = esv_jax.explain(estimator, means, None, logits, key=jax.random.key(4))
    assert np.abs(other.values - sampled.values).max() > 1e-3


@pytest.mark.parametrize("level", [0, 1, 95])
def test_levels_of_intervals(level):
    out = esv_jax.explain(EXACT, game(), None, VIDEO)
    with pytest.raises(esv_jax.InputError, match=f"level should be between 0 and 1, found {level}"):
        out.interval(level)


def test_estimators_of_heads_refuse_games_without_them():
    estimator = esv_jax.subset_sums(max_evaluations=20, num_scales=3)
    host = esv_jax.host_game(lambda model, clips: np.ones((len(clips), 3), np.float32), empty=EMPTY)
    for other in (game(), host):
        with pytest.raises(esv_jax.InputError, match=r"subset_sums.* is for games of multiscale_game"):
            esv_jax.explain(estimator, other, None, VIDEO, key=jax.random.key(0))


def test_a_plan_that_lacks_coalitions_is_refused():
    some = plans.of_masks(np.array([[1, 0, 0, 0], [1, 1, 1, 1]], bool), esv_jax.exact().name)
    with pytest.raises(esv_jax.InputError, match="plan should hold all 15 coalitions, found 2"):
        esv_jax.explain(esv_jax.exact(), game(), None, VIDEO, plan=some)
    estimator = esv_jax.regression(max_evaluations=13)
    with pytest.raises(esv_jax.InputError, match="plan should hold 13 coalitions, found 2"):
        esv_jax.explain(estimator, game(), None, VIDEO, plan=some.made_for(estimator.name))


def test_a_sample_that_is_everything_is_none():
    out = esv_jax.explain(esv_jax.regression(max_evaluations=100), game(), None, VIDEO, key=jax.random.key(0))
    assert (int(out.num_evaluations), bool(out.sampled)) == (15, False)


def test_models_are_asked_about_real_coalitions_alone():
    """A model that is NaN for repeated frames: 14 players do not divide into equal tiles."""

    def steps(params, clips):
        apart = jnp.abs(jnp.diff(clips, axis=1, prepend=-1)).min(axis=(1, 2))
        return jnp.where(apart > 0, 1.0, jnp.nan)[:, None] * jnp.ones((1, 3), jnp.float32)

    out = esv_jax.explain(esv_jax.exact(), esv_jax.clip_game(steps, empty=EMPTY), None, np.arange(14.0)[:, None])
    np.testing.assert_allclose(out.values.sum(axis=0), 1 - EMPTY, atol=1e-5)


@pytest.mark.parametrize(
    "make", [esv_jax.exact, lambda: esv_jax.stratified(per_size=8), lambda: esv_jax.regression(max_evaluations=40)]
)
def test_those_who_look_for_infinities_find_none_of_ours(make):
    game = esv_jax.clip_game(_of_infinities, empty=np.full(3, 1 / 3, np.float32))
    video = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    jax.config.update("jax_debug_infs", True)
    try:
        found = esv_jax.explain(make(), game, (), video, key=jax.random.key(0))
        low, high = found.interval()
    finally:
        jax.config.update("jax_debug_infs", False)
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()


def _of_infinities(params, clips):
    return jax.nn.softmax(clips.mean(axis=1))

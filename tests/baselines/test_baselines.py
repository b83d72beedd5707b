"""Baselines against closed forms on linear models, and against worths by definition on every game of the suite."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax import baselines
from esv_jax.checks import InputError
from tests.contracts.cases import EMPTY, GAMES, C, D
from tests.precision import x64

T = 4
RNG = np.random.default_rng(0)
W = RNG.normal(size=(D, C))
VIDEO = RNG.normal(size=(T, D))
CONTENT = VIDEO @ W  # what each frame says of each class
LINEAR = esv_jax.clip_game(lambda w, clips: jnp.einsum("nkd,dc->nc", clips, w) / clips.shape[1], empty=EMPTY)


OF_JAX = [name for name in GAMES if name != "host_game"]
each_game = pytest.mark.parametrize("name", OF_JAX)


def game_of(name):
    """The game of a case, its params in float32, and its worths by definition."""
    case = GAMES[name]
    return *case.make(np.float32), case.worth(VIDEO)


MEAN_FEATURE = RNG.normal(size=D)
MEAN_OF_OTHERS = (CONTENT.sum(axis=0) - CONTENT) / (T - 1)
CLOSED_FORMS = {
    "leave_one_out": (baselines.leave_one_out(), CONTENT.mean(axis=0) - MEAN_OF_OTHERS),
    "frame_alone": (baselines.frame_alone(), CONTENT - EMPTY),
    "gradient_times_input": (baselines.gradient_times_input(), CONTENT / T),
    "integrated_gradients": (baselines.integrated_gradients(steps=3), CONTENT / T),
    "integrated_gradients_of_mean": (
        baselines.integrated_gradients(reference=MEAN_FEATURE.astype(np.float32), steps=3),
        (CONTENT - MEAN_FEATURE.astype(np.float32) @ W) / T,
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms_on_a_linear_model(name):
    baseline, expected = CLOSED_FORMS[name]
    with x64():
        out = baselines.explain(baseline, LINEAR, W, VIDEO)
        np.testing.assert_allclose(out.values, expected, atol=1e-12)
        np.testing.assert_allclose(out.full, CONTENT.mean(axis=0), atol=1e-12)
        np.testing.assert_array_equal(out.std_error, np.zeros((T, C)))
        if "mean" in name:
            np.testing.assert_allclose(out.empty, MEAN_FEATURE.astype(np.float32) @ W, atol=1e-12)
        elif name != "integrated_gradients":
            np.testing.assert_array_equal(out.empty, EMPTY)


def test_grad_cam_on_a_linear_model():
    activation = RNG.normal(size=(T, 2, 3, D))

    def to_features(scale, a):
        return scale * a.mean(axis=(1, 2))

    game = baselines.activation_game(LINEAR, to_features)
    with x64():
        out = baselines.explain(baselines.grad_cam(), game, {"head": W, "backbone": np.float64(2)}, activation)
        # A pixel's share in the mean over space and frames is 1 / (6 T), and so is every gradient.
        maps = np.maximum(np.einsum("thwd,dc->thwc", activation, 2 * W / (6 * T)), 0)
        np.testing.assert_allclose(out.values, maps.mean(axis=(1, 2)), atol=1e-12)
        np.testing.assert_allclose(out.full, 2 * (activation.mean(axis=(0, 1, 2)) @ W), atol=1e-12)
    assert (maps == 0).any()


def test_grad_cam_explains_logits():
    """Through a softmax, the gradient of a score would vanish for a class that is certain; Grad-CAM's does not."""
    certain = 30 * np.eye(2, dtype=np.float32)
    frames = np.tile(np.array([1, 0], np.float32), (3, 1, 1, 1))
    game = esv_jax.frame_mean_game(lambda w, x: x @ w, empty=np.full(2, 0.5, np.float32))
    game = baselines.activation_game(game, lambda _, a: a.mean(axis=(1, 2)))
    out = baselines.explain(baselines.grad_cam(), game, {"head": certain, "backbone": ()}, frames)
    np.testing.assert_allclose(out.values, np.tile([10.0, 0.0], (3, 1)), rtol=1e-5)


@pytest.mark.parametrize("name", GAMES)
def test_removals_are_the_games_worths(name):
    game, params, worth = game_of(name)
    everyone = tuple(range(T))
    videos = np.stack([VIDEO[::-1], VIDEO]).astype(np.float32)
    without = [worth(everyone) - worth(tuple(j for j in everyone if j != i)) for i in everyone]
    alone = [worth((i,)) - EMPTY for i in everyone]
    for baseline, expected in (
        (baselines.leave_one_out(), without),
        (baselines.frame_alone(), alone),
        (baselines.occlusion(1), without),
        (baselines.occlusion(3), occluded(worth, 3)),
        (baselines.occlusion(9), np.tile((worth(everyone) - EMPTY) / T, (T, 1))),
    ):
        out = baselines.explain(baseline, game, params, videos[1])
        np.testing.assert_allclose(out.values, expected, atol=3e-6)
        np.testing.assert_allclose(out.full, worth(everyone), atol=3e-6)
        np.testing.assert_allclose(out.empty, EMPTY, atol=1e-7)
    batch = baselines.explain_batch(baselines.frame_alone(), game, params, videos)
    np.testing.assert_allclose(batch.values[1], alone, atol=3e-6)


def occluded(worth, width):
    """By loops over frames, and over the windows that hold each."""
    everyone = set(range(T))
    windows = [set(range(first, first + width)) for first in range(T - width + 1)]
    credit = [(worth(tuple(range(T))) - worth(tuple(sorted(everyone - window)))) / width for window in windows]
    return [np.mean([of for window, of in zip(windows, credit, strict=True) if i in window], axis=0) for i in range(T)]


def scaled(game_case, factors):
    """Worths of everyone, for the frames scaled by factors [T, 1]."""
    return game_case.worth(VIDEO * factors)(tuple(range(T)))


@each_game
def test_gradient_times_input_is_the_derivative_of_scaling_a_frame(name):
    game, params, _ = game_of(name)
    out = baselines.explain(baselines.gradient_times_input(), game, params, VIDEO.astype(np.float32))
    for i in range(T):
        step = 1e-5 * np.eye(T)[i][:, None]
        up, down = (scaled(GAMES[name], 1 + sign * step) for sign in (1, -1))
        np.testing.assert_allclose(out.values[i], (up - down) / 2e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["clip_game", "frame_mean_game", "multiscale_game", "trn_game"])
@pytest.mark.parametrize("reference", [None, MEAN_FEATURE.astype(np.float32)], ids=["zeros", "mean"])
def test_integrated_gradients_are_complete(name, reference):
    game, params, worth = game_of(name)
    baseline = baselines.integrated_gradients(reference=reference, steps=64)
    out = baselines.explain(baseline, game, params, VIDEO.astype(np.float32))
    start = np.tile(np.zeros(D) if reference is None else reference.astype(np.float64), (T, 1))
    everyone = tuple(range(T))
    np.testing.assert_allclose(out.full, worth(everyone), atol=3e-6)
    np.testing.assert_allclose(out.empty, GAMES[name].worth(start)(everyone), atol=3e-6)
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-3)
    assert np.abs(out.full - out.empty).max() > 0.03


def test_expected_gradients_on_a_linear_model():
    """Samples are twice the references, so that each is drawn twice, and the way to all of them is the same mean."""
    references = RNG.normal(size=(5, D))
    with x64():
        baseline = baselines.expected_gradients(references, samples=10)
        out = baselines.explain(baseline, LINEAR, W, VIDEO, key=jax.random.key(0))
        np.testing.assert_allclose(out.values, (CONTENT - references.mean(axis=0) @ W) / T, atol=1e-12)
        np.testing.assert_allclose(out.empty, references.mean(axis=0) @ W, atol=1e-12)


@pytest.mark.parametrize("name", ["clip_game", "trn_game"])
def test_expected_gradients_of_one_reference_are_integrated_gradients(name):
    game, params, _ = game_of(name)
    video, reference = VIDEO.astype(np.float32), MEAN_FEATURE.astype(np.float32)
    exact = baselines.explain(baselines.integrated_gradients(reference=reference, steps=256), game, params, video)
    drawn = baselines.expected_gradients(reference[None], samples=256)
    out = baselines.explain(drawn, game, params, video, key=jax.random.key(0))
    np.testing.assert_allclose(out.values, exact.values, atol=3e-3)
    assert np.abs(exact.values).max() > 0.03


def test_smooth_grad_is_the_gradient_of_the_mean_over_noise():
    """Of a square, the mean gradient at x + e is that at x; of a cube, 3 (x^2 + variance of e)."""
    video = VIDEO.astype(np.float32)
    square, cube = (esv_jax.clip_game(power, empty=np.zeros(D, np.float32)) for power in (_squares, _cubes))
    spread = 0.2 * (video.max() - video.min())
    baseline = baselines.smooth_grad(noise=0.2, samples=20_000)
    of_square = baselines.explain(baseline, square, (), video, key=jax.random.key(0))
    np.testing.assert_allclose(of_square.values, 2 * video**2 / T, atol=0.03)
    of_cube = baselines.explain(baseline, cube, (), video, key=jax.random.key(1))
    np.testing.assert_allclose(of_cube.values, 3 * video * (video**2 + spread**2) / T, atol=0.15)
    assert np.abs(3 * video * spread**2 / T).max() > 0.3


def _squares(params, clips):
    return (clips**2).mean(axis=1)


def _cubes(params, clips):
    return (clips**3).mean(axis=1)


def test_one_frame():
    game, params, worth = game_of("trn_game")
    video = VIDEO[:1].astype(np.float32)
    for baseline in (baselines.leave_one_out(), baselines.frame_alone()):
        out = baselines.explain(baseline, game, params, video)
        np.testing.assert_allclose(out.values[0], worth((0,)) - EMPTY, atol=3e-6)


def test_random_follows_its_key_and_vmaps():
    explain = functools.partial(baselines.explain, baselines.random(), LINEAR, W.astype(np.float32))
    batch = np.stack([VIDEO, VIDEO]).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 2)
    out = jax.jit(jax.vmap(lambda video, key: explain(video, key=key)))(batch, keys)
    np.testing.assert_array_equal(out.values[1], explain(batch[1], key=keys[1]).values)
    assert np.abs(out.values[0] - out.values[1]).min() > 0
    with pytest.raises(InputError, match=r"give explain a key"):
        explain(batch[0])


def test_a_batch_is_a_loop():
    game, params, _ = game_of("trn_game")
    batch = np.random.default_rng(1).normal(size=(3, T, D)).astype(np.float32)
    key = jax.random.key(0)
    for baseline, its_key in ((baselines.leave_one_out(), None), (baselines.random(), key)):
        found = baselines.explain_batch(baseline, game, params, batch, key=its_key)
        keys = [None] * 3 if its_key is None else jax.random.split(key, 3)
        for b in range(3):
            alone = baselines.explain(baseline, game, params, batch[b], key=keys[b])
            for field, one in zip(found, alone, strict=True):
                np.testing.assert_allclose(field[b], one, atol=1e-6)


SOME = {
    "leave_one_out": baselines.leave_one_out(),
    "integrated_gradients": baselines.integrated_gradients(steps=2),
    "grad_cam": baselines.grad_cam(),
}


@pytest.mark.parametrize("name", SOME)
def test_chosen_classes_are_a_part_of_all(name):
    game, params, _ = game_of("tsn_game")
    videos = np.random.default_rng(2).normal(size=(2, T, D)).astype(np.float32)
    if name == "grad_cam":
        game = baselines.activation_game(game, lambda _, a: a.mean(axis=(1, 2)))
        params, videos = {"head": params, "backbone": ()}, videos[:, :, None, None]
    which = np.array([[2, 0], [1, 1]])
    some = baselines.explain_batch(SOME[name], game, params, videos, classes=which)
    everything = baselines.explain_batch(SOME[name], game, params, videos)
    for b in range(2):
        np.testing.assert_allclose(some.values[b], everything.values[b][:, which[b]], atol=1e-6)
        np.testing.assert_allclose(some.full[b], everything.full[b][which[b]], atol=1e-6)
        np.testing.assert_allclose(some.empty[b], everything.empty[b][which[b]], atol=1e-6)


def test_wrong_uses_are_refused():
    game, params = GAMES["host_game"].make(np.float32)
    for of_gradients in (baselines.gradient_times_input(), baselines.integrated_gradients()):
        with pytest.raises(InputError, match="this baseline differentiates the model: game should be of JAX"):
            baselines.explain(of_gradients, game, params, VIDEO.astype(np.float32))
    with pytest.raises(InputError, match="this baseline differentiates the model: game should be of JAX"):
        baselines.explain_batch(baselines.gradient_times_input(), game, params, VIDEO[None].astype(np.float32))
    for of_samples in (baselines.smooth_grad(), baselines.expected_gradients(np.zeros((1, D), np.float32))):
        with pytest.raises(InputError, match="give explain a key"):
            baselines.explain(of_samples, LINEAR, W.astype(np.float32), VIDEO.astype(np.float32))
    with pytest.raises(InputError, match="noise should be more than 0, found 0"):
        baselines.smooth_grad(noise=0)
    with pytest.raises(InputError, match=r"references should be \[R, D\], at least one, found \[3\]"):
        baselines.expected_gradients(np.zeros(3, np.float32))
    with pytest.raises(InputError, match="width should be an integer of at least 1"):
        baselines.occlusion(0)
    game, params = GAMES["frame_mean_game"].make(np.float32)
    backwards = esv_jax.grouped(game, reversed(esv_jax.players.each(len(VIDEO))))
    with pytest.raises(InputError, match="baselines are for games of frames, found one of"):
        baselines.explain(baselines.leave_one_out(), backwards, params, VIDEO.astype(np.float32))
    pairs = LINEAR._replace(num_players=lambda video: video.shape[0] // 2)
    with pytest.raises(InputError, match="baselines are for games of frames, found one of 2 players"):
        baselines.explain(baselines.leave_one_out(), pairs, W, VIDEO)
    with pytest.raises(InputError, match="video should be floating point, found int"):
        baselines.explain(baselines.leave_one_out(), LINEAR, W, VIDEO.astype(np.int32))
    with pytest.raises(InputError, match=r"reference should have shape \[3\], found \[2\]"):
        baselines.explain(baselines.integrated_gradients(reference=np.ones(2)), LINEAR, W, VIDEO.astype(np.float32))
    with pytest.raises(InputError, match="steps should be an integer of at least 1"):
        baselines.integrated_gradients(steps=0)
    with pytest.raises(InputError, match="at least one frame"):
        baselines.explain(baselines.frame_alone(), LINEAR, W, np.zeros((0, D), np.float32))


@pytest.mark.parametrize("classes", [[7], [-1], [0.5], [True]])
def test_classes_that_are_none(classes):
    game, params = GAMES["tsn_game"].make(np.float32)
    video = np.zeros((4, D), np.float32)
    with pytest.raises(InputError, match=r"classes should be integers, 0\.\.3, found"):
        baselines.explain(baselines.leave_one_out(), game, params, video, classes=np.array(classes))

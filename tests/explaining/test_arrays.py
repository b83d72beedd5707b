"""Arrays as people have them: buffers that are filled again, of any byte order, of other packages, masked."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax import baselines
from tests import oracles

T, D, C = 10, 64, 4
# Enough work that the device is still at it when the next video is written into the buffer.
WIDTH, TIMES = 256, 16


def predict(params, clips):
    hidden = jnp.tanh(clips.mean(axis=1) @ params["in"])
    for _ in range(4):
        hidden = jnp.tanh(hidden @ params["again"])
    return jax.nn.softmax(hidden @ params["out"])


def aligned(array):
    """A copy at an address from which the device reads without copying."""
    raw = np.empty(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    buffer = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    buffer[...] = array
    return buffer


def inputs(turn):
    rng = np.random.default_rng(turn)
    params = {
        "in": rng.normal(size=(D, WIDTH)) / 8,
        "again": rng.normal(size=(WIDTH, WIDTH)) / 16,
        "out": rng.normal(size=(WIDTH, C)) / 4,
    }
    params = {name: values.astype(np.float32) for name, values in params.items()}
    return params, rng.normal(size=(T, D)).astype(np.float32), rng.dirichlet(np.ones(C)).astype(np.float32)


MASK = np.random.default_rng(99).random((64, T)) < np.linspace(0, 1, 64)[:, None]


def explain(params, video, empty):
    return esv_jax.explain(esv_jax.exact(), esv_jax.clip_game(predict, empty=empty), params, video).values


def explain_batch(params, video, empty):
    game = esv_jax.clip_game(predict, empty=empty)
    return esv_jax.explain_batch(esv_jax.exact(), game, params, video[None]).values


def replaced(empty):
    """The worth of nobody put into a game that was there."""
    return esv_jax.clip_game(predict, empty=np.zeros(C, np.float32))._replace(empty=empty)


def explain_replaced(params, video, empty):
    return esv_jax.explain(esv_jax.exact(), replaced(empty), params, video).values


def worths(params, video, empty):
    return esv_jax.worths(replaced(empty), params, video, MASK)


def frame_alone(params, video, empty):
    return baselines.explain(baselines.frame_alone(), replaced(empty), params, video).values


def integrated_gradients(params, video, empty):
    """Its reference is an array of the caller's too."""
    baseline = baselines.integrated_gradients(reference=video[0], steps=2)
    return baselines.explain(baseline, esv_jax.clip_game(predict, empty=empty), params, video).values


@pytest.mark.parametrize(
    "ask",
    [explain, explain_batch, explain_replaced, worths, frame_alone, integrated_gradients],
    ids=lambda f: f.__name__,
)
def test_buffers_may_be_filled_again_at_once(ask):
    buffers = jax.tree.map(aligned, inputs(0))
    jax.block_until_ready(ask(*buffers))
    found = []
    for turn in range(TIMES):
        jax.tree.map(lambda buffer, values: np.copyto(buffer, values), buffers, inputs(turn))
        found.append(ask(*buffers))
    jax.tree.map(lambda buffer: buffer.fill(np.nan), buffers)
    for turn, result in enumerate(found):
        np.testing.assert_allclose(result, ask(*inputs(turn)), atol=1e-7)


def test_masks_may_be_filled_again_at_once():
    params, video, empty = inputs(0)
    game = esv_jax.frame_mean_game(lambda p, x: jnp.tanh(jnp.tanh(x @ p["in"]) @ p["again"]) @ p["out"], empty=empty)
    masks = [np.random.default_rng(turn).random((4096, T)) < 0.5 for turn in range(TIMES)]
    buffer, found = aligned(masks[0]), []
    for mask in masks:
        np.copyto(buffer, mask)
        found.append(esv_jax.worths(game, params, video, buffer))
    for mask, result in zip(masks, found, strict=True):
        np.testing.assert_allclose(result, esv_jax.worths(game, params, video, mask.copy()), atol=1e-7)


SMALL_T = 4
CONTENT = np.random.default_rng(0).normal(size=(SMALL_T, 3)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
SHARES = np.array([0.25, 0.75], np.float32)


def scores(params, clips):
    return jax.nn.softmax(jnp.tanh(clips).mean(axis=1) @ params)


def expected():
    def worth(coalition):
        clip = CONTENT[list(coalition)].astype(np.float64)
        return oracles.softmax(np.tanh(clip).mean(axis=0) @ W) if coalition else SHARES

    return oracles.permutation_shapley(worth, SMALL_T)


GAMES = {
    "clip_game": lambda empty: esv_jax.clip_game(scores, empty=empty),
    "frame_mean_game": lambda empty: esv_jax.frame_mean_game(lambda p, x: jnp.tanh(x) @ p, empty=empty),
}


@pytest.mark.parametrize("name", GAMES)
def test_big_endian_arrays_are_read_as_the_numbers_they_are(name):
    native = GAMES[name](SHARES)
    esv_jax.explain(esv_jax.exact(), native, W, CONTENT)
    video, params, empty = (a.astype(a.dtype.newbyteorder(">")) for a in (CONTENT, W, SHARES))
    game = GAMES[name](empty)
    out = esv_jax.explain(esv_jax.exact(), game, params, video)
    np.testing.assert_allclose(out.values, expected(), atol=1e-6)
    np.testing.assert_allclose(out.empty, SHARES)
    batch = esv_jax.explain_batch(esv_jax.exact(), game, params, video[None])
    np.testing.assert_allclose(batch.values[0], expected(), atol=1e-6)
    alone = esv_jax.worths(game, params, video, np.eye(SMALL_T, dtype=bool))
    np.testing.assert_allclose(alone, oracles.softmax(np.tanh(CONTENT) @ W), atol=1e-6)
    removed = baselines.explain(baselines.frame_alone(), game, params, video)
    np.testing.assert_allclose(removed.values, oracles.softmax(np.tanh(CONTENT) @ W) - SHARES, atol=1e-6)


OTHERS = {
    "a view": lambda: CONTENT[::-1].copy()[::-1],
    "columns in order": lambda: np.asfortranarray(CONTENT),
    "read-only": lambda: np.broadcast_to(CONTENT, CONTENT.shape),
    "long double": lambda: CONTENT.astype(np.longdouble),
    "JAX": lambda: jnp.asarray(CONTENT),
    "pandas": lambda: pytest.importorskip("pandas").DataFrame(CONTENT),
    "xarray": lambda: pytest.importorskip("xarray").DataArray(CONTENT),
    "torch": lambda: pytest.importorskip("torch").tensor(CONTENT, requires_grad=True),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_videos_of_other_kinds(kind):
    out = esv_jax.explain(esv_jax.exact(), GAMES["clip_game"](SHARES), W, OTHERS[kind]())
    np.testing.assert_allclose(out.values, expected(), atol=1e-6)


def test_what_is_no_plain_array_of_numbers_is_refused():
    game = GAMES["clip_game"](SHARES)
    masked = np.ma.masked_array(CONTENT, np.eye(SMALL_T, 3, dtype=bool))
    words = np.array([["a", "b"]] * SMALL_T)
    for params, video, message in [
        (W, masked, "video should be a plain array, found a masked one: fill in what is masked, or leave it out"),
        (np.ma.masked_array(W, W > 0), CONTENT, "params should be a plain array, found a masked one"),
        ({"w": np.ma.masked_array(W, W > 0)}, CONTENT, "params should be a plain array, found a masked one"),
        (W, words, "video should be arrays of numbers, found ndarray of <U1"),
        (W, CONTENT.astype(object), "video should be arrays of numbers, found ndarray of object"),
        (types.SimpleNamespace(w=W), CONTENT, "params should be arrays of numbers, found SimpleNamespace"),
    ]:
        for ask in (
            lambda params=params, video=video: esv_jax.explain(esv_jax.exact(), game, params, video),
            lambda params=params, video=video: esv_jax.worths(game, params, video, np.ones((1, SMALL_T), bool)),
            lambda params=params, video=video: baselines.explain(baselines.frame_alone(), game, params, video),
        ):
            with pytest.raises(esv_jax.InputError, match=message):
                ask()
    with pytest.raises(esv_jax.InputError, match="videos should be a plain array, found a masked one"):
        esv_jax.explain_batch(esv_jax.exact(), game, W, masked[None])

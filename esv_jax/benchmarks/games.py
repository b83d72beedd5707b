"""Games that estimators are measured on: two with random weights, and a multi-scale TRN that was trained on something.

- tsn: 174 classes; the scores of a mean over frames.
- order: 20 classes; a network of two hidden layers that sees the frames with weights that follow their rank.
- trn: 20 classes, a multi-scale TRN trained to tell which of two things came first.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import esv_jax
from esv_jax import models
from esv_jax.base import Array, Game, Masks
from esv_jax.batches import in_chunks
from esv_jax.coalitions import masks
from esv_jax.estimators import least_squares, surrogate_samples
from esv_jax.explaining.worths import logits_of_masks, without_empty
from esv_jax.precise import matmul

HIGHEST = jax.lax.Precision.HIGHEST
FEATURE_DIM = 256
# The multi-scale TRN's synthetic task: prototype a, then prototype b, under noise; the class is the pair (a, b).
TRN_FEATURE_DIM = 32
TRN_HIDDEN = 64
NUM_PROTOTYPES = 5
NOISE = 1.5
TRAINED_FRAMES = 16
BATCH = 128
# References beyond 16 frames: coalitions of one run.
REFERENCE_RUN = 2**16
ROWS_AT_ONCE = 2**12


class Instance(NamedTuple):
    """A game with its params and a video, as for `explain`."""

    game: Game
    params: Any
    video: np.ndarray


def tsn(instance: int, num_frames: int) -> Instance:
    """Worths softmax(mean over frames of relu(x) @ W + b) with random W and b, 174 classes."""
    rng = np.random.default_rng(1000 + instance)
    params = {"params": {"kernel": rng.normal(size=(FEATURE_DIM, 174)) * 4 / 16, "bias": rng.normal(size=174) * 0.1}}
    video = np.random.default_rng(77 * instance + num_frames).normal(size=(num_frames, FEATURE_DIM))
    game = esv_jax.tsn_game(models.TSN(174, input_relu=True), empty=np.full(174, 1 / 174, np.float32))
    return Instance(game, _float32(params), video.astype(np.float32))


def order(instance: int, num_frames: int) -> Instance:
    """Strong effects of order and interactions: a random network on four cosine waves over the ranks of frames."""
    rng = np.random.default_rng(2000 + instance)
    params = {
        "p": rng.normal(size=(4, FEATURE_DIM, 64)) / 16,
        "b1": rng.normal(size=64) * 0.3,
        "w2": rng.normal(size=(64, 64)) * np.sqrt(2 / 64),
        "b2": rng.normal(size=64) * 0.3,
        "w3": rng.normal(size=(64, 20)) * 3 / 8,
    }
    video = np.random.default_rng(99 * instance + num_frames).normal(size=(num_frames, FEATURE_DIM))
    empty = np.full(20, 1 / 20, np.float32)
    game = Game(empty, _order_prepare, _order_logits, jax.nn.softmax, Masks())
    return Instance(game, _float32(params), video.astype(np.float32))


def _order_prepare(params: Any, video: jax.Array) -> Any:
    return params, jnp.einsum("td,jdh->jth", video, params["p"], precision=HIGHEST)


def _order_logits(prepared: Any, mask: jax.Array) -> jax.Array:
    params, shares = prepared
    present = masks.as_float(mask, shares.dtype)
    size = present.sum(axis=1, keepdims=True)
    angle = jnp.pi * (jnp.cumsum(present, axis=1) - present) / jnp.maximum(size - 1, 1)
    hidden = jnp.zeros((present.shape[0], shares.shape[2]), shares.dtype)
    for j, share in enumerate(shares):
        wave = present * jnp.cos(j * angle) * (1.0 if j == 0 else 2**0.5) / jnp.sqrt(size)
        hidden = hidden + matmul(wave, share)
    hidden = jnp.maximum(1.5 * hidden + params["b1"][None], 0)
    hidden = jnp.maximum(matmul(hidden, params["w2"]) + params["b2"][None], 0)
    return matmul(hidden, params["w3"])


def trn(instance: int, num_frames: int) -> Instance:
    """A trained multi-scale TRN, M=8 up to 16 frames and M=3 beyond, so that all its subsets can be evaluated."""
    num_scales = min(8 if num_frames <= 16 else 3, num_frames)
    model, variables = trained_trn(num_scales)
    video, _ = trn_videos(jax.random.key(1000 * num_frames + instance), 1, num_frames)
    game = esv_jax.trn_game(model, empty=np.full(model.num_classes, 1 / model.num_classes))
    return Instance(game, variables, np.asarray(video[0]))


def trn_videos(key: jax.Array, count: int, num_frames: int) -> tuple[jax.Array, jax.Array]:
    """Videos float32 [B, T, 32] and their classes int32 [B]: the pair of prototypes shown, in order."""
    class_key, switch_key, noise_key = jax.random.split(key, 3)
    pairs = [(a, b) for a in range(NUM_PROTOTYPES) for b in range(NUM_PROTOTYPES) if a != b]
    prototypes = np.random.default_rng(7).normal(size=(NUM_PROTOTYPES, TRN_FEATURE_DIM)).astype(np.float32)
    label = jax.random.randint(class_key, (count,), 0, len(pairs))
    shown = jnp.asarray(prototypes)[jnp.asarray(pairs)[label]]
    switch = jax.random.uniform(switch_key, (count, 1), minval=0.25, maxval=0.75)
    time = (jnp.arange(num_frames, dtype=jnp.float32)[None] + 0.5) / num_frames
    later = (time > switch).astype(jnp.float32)[:, :, None]
    clean = shown[:, None, 0] * (1 - later) + shown[:, None, 1] * later
    return clean + NOISE * jax.random.normal(noise_key, clean.shape), label


@functools.lru_cache(maxsize=4)
def trained_trn(num_scales: int, steps: int = 400) -> tuple[models.MultiscaleTRN, Any]:
    """The model and its variables: every head trained on random subsets of 16 frames. Half a minute, kept in memory."""
    num_classes = NUM_PROTOTYPES * (NUM_PROTOTYPES - 1)
    model = models.MultiscaleTRN(num_scales=num_scales, hidden_dim=TRN_HIDDEN, num_classes=num_classes)
    variables = model.init(jax.random.key(0), jnp.zeros((num_scales, TRN_FEATURE_DIM)))
    optimizer = optax.adam(3e-3)

    def loss(variables: Any, key: jax.Array) -> jax.Array:
        video_key, subset_key = jax.random.split(key)
        videos, label = trn_videos(video_key, BATCH, TRAINED_FRAMES)
        total = jnp.zeros((), videos.dtype)
        for size in range(1, num_scales + 1):
            draw = jax.random.uniform(jax.random.fold_in(subset_key, size), (BATCH, TRAINED_FRAMES))
            members = jnp.sort(jax.lax.top_k(draw, size)[1], axis=1)
            clips = jnp.take_along_axis(videos, members[:, :, None], axis=1)
            logits = model.apply(variables, clips, method="scale_logits")
            total = total + optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        return total / num_scales

    @jax.jit
    def train(variables: Any) -> Any:
        def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
            variables, state = carry
            updates, state = optimizer.update(jax.grad(loss)(variables, key), state)
            return (optax.apply_updates(variables, updates), state), None

        keys = jax.random.split(jax.random.key(1), steps)
        return jax.lax.scan(step, (variables, optimizer.init(variables)), keys)[0][0]

    return model, train(variables)


def _float32(params: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a, np.float32), params)


def reference_run(case: Instance, seed: int) -> np.ndarray:
    """Values float [T, C] from 2^16 random coalitions: least squares on pairs, drawn with repeats on the device."""
    return np.asarray(
        _reference_run(without_empty(case.game), case.game.empty, case.params, case.video, jax.random.key(seed))
    )


@functools.partial(jax.jit, static_argnames="game")
def _reference_run(game: Game, empty: jax.Array, params: Any, video: jax.Array, key: jax.Array) -> jax.Array:
    num_frames = len(video)
    prepared = game.prepare(params, video)
    strata = least_squares.strata(num_frames, REFERENCE_RUN)
    small = surrogate_samples.pairs(num_frames, strata, key, jnp.asarray(empty).dtype)

    def worths(mask: Array) -> jax.Array:
        return game.link(logits_of_masks(game, prepared, mask))

    def odd(rows: jax.Array) -> jax.Array:
        return (worths(rows > 0) - worths(rows == 0)) / 2

    full = worths(masks.everyone(num_frames))[0]
    return least_squares.solve(small, in_chunks(odd, small, ROWS_AT_ONCE), full - empty, strata).values


GAMES: dict[str, Callable[[int, int], Instance]] = {"tsn": tsn, "trn": trn, "order": order}

"""Games that estimators are measured on: with random weights, trained on something, and three of one rule each.

- tsn: 174 classes; the scores of a mean over frames.
- order: 20 classes; a network of two hidden layers that sees the frames with weights that follow their rank.
- transformer: 10 classes; self-attention over the frames that are there. Its scores are all that is seen of it.
- trn: 20 classes, a multi-scale TRN trained to tell which of two things came first.
- demo: the multi-scale TRN that comes with the package, of 17 classes, on clips that it has not seen.
- step, pair, triple: 3 classes; worths jump when more than half of the frames are there, or all of two or three.
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
from esv_jax.base import Array, Game, Masks, Subsets, identity
from esv_jax.batches import in_chunks
from esv_jax.coalitions import masks
from esv_jax.estimators import least_squares, surrogate_samples
from esv_jax.explaining.worths import logits_of_masks, without_empty
from esv_jax.precise import matmul
from esv_jax.procedural import drawing, scripts
from esv_jax.saved import DEMO_MODEL, model_folder
from esv_jax.saved.game import game_of
from esv_jax.video.preprocess import resize_and_crop

HIGHEST = jax.lax.Precision.HIGHEST
FEATURE_DIM = 256
# The multi-scale TRN's synthetic task: prototype a, then prototype b, under noise; the class is the pair (a, b).
TRN_FEATURE_DIM = 32
TRN_HIDDEN = 64
NUM_PROTOTYPES = 5
NOISE = 1.5
TRAINED_FRAMES = 16
BATCH = 128
TOKEN_DIM = 32
HEADS = 4
BLOCKS = 2
CLIPS_AT_ONCE = 1024
# Worths before and after the jump of step, pair and triple.
JUMP = ((0.1, 0.5, 0.4), (0.75, 0.15, 0.1))
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


def transformer(instance: int, num_frames: int) -> Instance:
    """Worths of a random transformer with two blocks: `predict` gives probabilities, as a user's model does."""
    rng = np.random.default_rng(3000 + instance)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) / np.sqrt(shape[-2])

    params = {
        "enter": weights(TOKEN_DIM, TOKEN_DIM),
        "query": 2 * weights(BLOCKS, TOKEN_DIM, TOKEN_DIM),
        "key": 2 * weights(BLOCKS, TOKEN_DIM, TOKEN_DIM),
        "value": weights(BLOCKS, TOKEN_DIM, TOKEN_DIM),
        "widen": weights(BLOCKS, TOKEN_DIM, 2 * TOKEN_DIM),
        "narrow": weights(BLOCKS, 2 * TOKEN_DIM, TOKEN_DIM),
        "leave": 2 * weights(TOKEN_DIM, 10),
    }
    video = np.random.default_rng(55 * instance + num_frames).normal(size=(num_frames, TOKEN_DIM))
    game = esv_jax.clip_game(_transformer, empty=np.full(10, 1 / 10, np.float32), clips_at_once=CLIPS_AT_ONCE)
    return Instance(game, _float32(params), video.astype(np.float32))


def _transformer(params: Any, clips: jax.Array) -> jax.Array:
    """Clips [N, k, D] -> probabilities [N, C]; frames know their rank by two waves for each half of the features."""
    num_clips, size, _ = clips.shape
    angle = np.arange(size)[:, None] / 10_000 ** (np.arange(TOKEN_DIM // 2) / (TOKEN_DIM // 2))
    waves = jnp.asarray(np.concatenate([np.sin(angle), np.cos(angle)], axis=1), clips.dtype)
    tokens = matmul(clips, params["enter"]) + waves[None]
    for block in range(BLOCKS):
        seen = _normalized(tokens)
        query, key, value = (
            matmul(seen, params[name][block]).reshape(num_clips, size, HEADS, -1) for name in ("query", "key", "value")
        )
        match = jnp.einsum("nqhd,nkhd->nhqk", query, key, precision=HIGHEST) / (TOKEN_DIM / HEADS) ** 0.5
        met = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(match), value, precision=HIGHEST)
        tokens = tokens + met.reshape(tokens.shape)
        wide = jax.nn.gelu(matmul(_normalized(tokens), params["widen"][block]))
        tokens = tokens + matmul(wide, params["narrow"][block])
    return jax.nn.softmax(matmul(_normalized(tokens).mean(axis=1), params["leave"]))


def _normalized(tokens: jax.Array) -> jax.Array:
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)


def demo(instance: int, num_frames: int) -> Instance:
    """The demo's TRN on a clip that it has not seen, which is drawn here; shorter clips repeat frames."""
    (model, backbone), frames = _demo_models(), list(drawing.frames(scripts.script_of(1, instance)))
    chosen = np.stack([frames[int((i + 0.5) * len(frames) / num_frames)] for i in range(num_frames)])
    features = backbone.module.apply(backbone.variables, resize_and_crop(chosen, backbone.card.preprocess))
    return Instance(game_of(model), model.variables, np.asarray(features))


@functools.lru_cache(maxsize=1)
def _demo_models() -> tuple[model_folder.Model, Any]:
    """The model and its backbone."""
    model = model_folder.load_model(DEMO_MODEL)
    return model, model.backbone


def step(instance: int, num_frames: int) -> Instance:
    """Worths depend on the size alone and jump where it exceeds half of the frames. The same for every instance."""
    return _jump(np.ones(num_frames, bool), num_frames // 2 + 1)


def pair(instance: int, num_frames: int) -> Instance:
    """Worths jump where both of two frames are there."""
    return _all_of(2, instance, num_frames)


def triple(instance: int, num_frames: int) -> Instance:
    """Worths jump where all of three frames are there."""
    return _all_of(3, instance, num_frames)


def _all_of(count: int, instance: int, num_frames: int) -> Instance:
    counted = np.zeros(num_frames, bool)
    counted[np.random.default_rng([instance, count]).permutation(num_frames)[:count]] = True
    return _jump(counted, count)


def _jump(counted: np.ndarray, needed: int) -> Instance:
    """Worths jump when as many as are `needed` of the frames that are counted [T] are there: they are its video."""
    before, after = np.array(JUMP, np.float32)
    game = Game(before, _rule_and_frames, _jump_worths, identity, Masks())
    return Instance(
        game, {"before": before, "after": after, "needed": np.float32(needed)}, counted[:, None].astype(np.float32)
    )


def _rule_and_frames(params: Any, video: jax.Array) -> Any:
    return params, video


def _jump_worths(prepared: Any, mask: jax.Array) -> jax.Array:
    rule, video = prepared
    there = matmul(masks.as_float(mask, video.dtype), video)
    return jnp.where(there >= rule["needed"], rule["after"][None], rule["before"][None])


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
    if isinstance(case.game.form, Subsets):  # which must know how many coalitions of which size there are
        estimator = esv_jax.regression(max_evaluations=REFERENCE_RUN)
        found = esv_jax.explain(estimator, case.game, case.params, case.video, key=jax.random.key(seed))
        return np.asarray(found.values)
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


GAMES: dict[str, Callable[[int, int], Instance]] = {
    "tsn": tsn,
    "trn": trn,
    "order": order,
    "transformer": transformer,
    "demo": demo,
    "step": step,
    "pair": pair,
    "triple": triple,
}

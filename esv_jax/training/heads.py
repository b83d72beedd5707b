"""Training heads (TSN, multi-scale TRN) on stored features.

Element Shapley Values ask a model about every subset of a video's frames, so the heads are trained on all of them: the
loss is the cross entropy of the joint logits A(S), averaged over the sizes of S and over all S of a size among the
frames sampled from a clip. Joint logits are linear in the logits of the units that a model joins (single frames for
TSN, subsets of at most M frames for the TRN): A = joining @ units, with a matrix that is made once, by definition.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from esv_jax import batches, checks, files, models, temperature
from esv_jax.checks import InputError
from esv_jax.coalitions import lattice, masks
from esv_jax.data.feature_store import FeatureStore
from esv_jax.models.weights import shapes
from esv_jax.training import calibration, class_weights, loop, standardise, validation
from esv_jax.training.calibration import Calibration
from esv_jax.training.loop import Loss, Schedule
from esv_jax.training.standardise import Scaling
from esv_jax.video.frame_sampling import segment_centres

# 2^8 coalitions of 8 frames cost less than the heads' first layers; from 2^10 on they would dominate.
MAX_JOINED_FRAMES = 8
MAX_SCALES = 10
CLIPS_AT_ONCE = 16
HIGHEST = jax.lax.Precision.HIGHEST


class Recipe(NamedTuple):
    """How a head is trained, beside the schedule.

    Attributes:
      standardise: train on features of mean 0 and variance 1 (`training.standardise`); safe for any features. A TRN on
        features of about size 1 generalised better without.
      label_smoothing: share of every label that is spread over all classes, [0, 1).
      weigh_classes: count rare classes more, where some are (`training.class_weights`).
      validate_every, patience: of `loop.Selection`, where there are clips to validate on.
      calibrate: fit temperatures on these, and keep them where they help (`training.calibration`); epochs are then
        compared by their loss at the best temperatures.
    """

    standardise: bool = True
    label_smoothing: float = 0.0
    weigh_classes: bool = True
    validate_every: int = 1
    patience: int | None = None
    calibrate: bool = True


DEFAULT_RECIPE = Recipe()


class Head(NamedTuple):
    """A trained head.

    Attributes:
      model: as given, or with temperatures.
      variables: of it.
      history, epoch: as `loop.Trained`.
      class_weight: float64 [C], how much clips of every class counted; None: the same.
      calibration: what became of temperatures; None where none were fitted.
    """

    model: models.TSN | models.MultiscaleTRN
    variables: Any
    history: dict[str, np.ndarray]
    epoch: int
    class_weight: np.ndarray | None
    calibration: Calibration | None


class Clips(NamedTuple):
    """Features of n clips of different lengths.

    Attributes:
      rows: float [R, D], the frames of all clips.
      offset, length: int32 [n], clip i is rows offset[i] .. offset[i] + length[i].
      label: int32 [n], its class.
    """

    rows: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    label: np.ndarray


class Examples(NamedTuple):
    """What a head is trained on: clips, of which features x are read as (x - mean) / scale, float32 [D] each; and how
    much the clips of each class count, float32 [C]."""

    clips: Clips
    mean: np.ndarray
    scale: np.ndarray
    class_weight: np.ndarray


def examples_of(clips: Clips, scaling: Scaling, class_weight: np.ndarray) -> Examples:
    """The examples, in float32."""
    return Examples(clips, *(np.asarray(values, np.float32) for values in (*scaling, class_weight)))


def clips_of(features: Sequence[np.ndarray], labels: Sequence[int]) -> Clips:
    """Clips of the features [num_frames, D] of each, at least one, and their classes."""
    lengths = np.array([len(rows) for rows in features], np.int32)
    offsets = np.cumsum(lengths, dtype=np.int32) - lengths
    return Clips(np.concatenate(features), offsets, lengths, np.array(labels, np.int32))


def read_clips(store: FeatureStore, which: Sequence[int], num_frames: int, where: str) -> Clips:
    """The clips `which` of a store, at least one.

    Raises:
      InputError: a clip has fewer than `num_frames` frames, or features that are NaN or infinite; `where` names the
        store.
    """
    features = []
    for i in which:
        clip = store.clips[i]
        if clip.num_frames < num_frames:
            raise InputError(
                f"clip {clip.uid} of {where} has {clip.num_frames} frames, fewer than the {num_frames} to be sampled"
            )
        checks.check_finite(f"the features of clip {clip.uid} of {where}", store.features(i))
        features.append(np.asarray(store.features(i)))
    return clips_of(features, [store.header.classes.index(store.clips[i].label) for i in which])


def coalition_loss(model: models.TSN | models.MultiscaleTRN, num_frames: int, label_smoothing: float = 0.0) -> Loss:
    """The loss of `loop.train` for a head; its data are `Examples`, its state the variables besides "params".

    The params are those of features scaled behind the model's ReLU, if it has one (`standardise.folded`).

    A step samples one frame at random from each of `num_frames` equal segments of every clip, as TSN does, and of these
    at most 8 (or as many as the model has scales) at random, in temporal order: their subsets count.

    Raises:
      InputError: the model has more scales than frames to train them on, or than can be joined.
    """
    scales = num_scales(model)
    if scales > min(num_frames, MAX_SCALES):
        raise InputError(
            f"num_scales should be at most num_frames ({num_frames}) and {MAX_SCALES} for training, found {scales}"
        )
    joined = joined_frames(model, num_frames)
    matrix, weights = joining(joined, scales)
    if not 0 <= label_smoothing < 1:
        raise InputError(f"label_smoothing should be at least 0 and below 1, found {label_smoothing}")

    def loss(params: Any, state: Any, examples: Examples, rows: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        clips = examples.clips
        frame_key, subset_key, dropout_key = jax.random.split(key, 3)
        indices = sample_segments(frame_key, clips.length[rows], num_frames)
        if joined < num_frames:
            kept = sample_in_order(subset_key, len(rows), num_frames, joined)
            indices = jnp.take_along_axis(indices, kept, axis=1)
        frames = jnp.asarray(clips.rows)[clips.offset[rows][:, None] + indices]
        frames = _scaled(model, frames, jnp.asarray(examples.mean), jnp.asarray(examples.scale))
        units, state = _of_scaled(model).apply(
            {"params": params, **state},
            frames,
            method=unit_logits,
            rngs={"dropout": dropout_key},
            mutable=list(state),
        )
        logits = jnp.einsum("su,buc->bsc", jnp.asarray(matrix, units.dtype), units, precision=HIGHEST)
        label = jnp.asarray(clips.label)[rows]
        target = optax.smooth_labels(jax.nn.one_hot(label, model.num_classes, dtype=logits.dtype), label_smoothing)
        surprise = optax.softmax_cross_entropy(logits, target[:, None, :])
        weight = jnp.asarray(examples.class_weight)[label]
        right = logits[:, -1].argmax(axis=-1) == label
        metrics = {"accuracy": right.astype(jnp.float32).mean()}
        of_clip = (surprise * jnp.asarray(weights, units.dtype)[None]).sum(axis=1)
        return (weight * of_clip).mean(), (state, metrics)

    return loss


def _scaled(model: models.TSN | models.MultiscaleTRN, frames: Any, mean: Any, scale: Any) -> jax.Array:
    """What the first layer reads of frames [..., T, D], scaled."""
    frames = frames.astype(mean.dtype)
    frames = jnp.maximum(frames, 0) if model.input_relu else frames
    return (frames - mean[None, None]) / scale[None, None]


def _of_scaled(model: models.TSN | models.MultiscaleTRN) -> models.TSN | models.MultiscaleTRN:
    """The head of scaled features, which are behind the ReLU."""
    return model.clone(input_relu=False)


def train_head(
    model: models.TSN | models.MultiscaleTRN,
    clips: Clips,
    num_frames: int,
    schedule: Schedule,
    *,
    validated_on: Clips | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Head:
    """Trains a head by `coalition_loss`; raises what that and `loop.train` raise, which gets the `options`.

    Args:
      model: without temperatures.
      clips: to train on.
      num_frames: T, sampled of every clip.
      schedule: see there.
      validated_on: clips to select the epoch by, and to fit temperatures on; None: the last epoch is taken.
      recipe: see there.
      settings: as for `loop.train`.
    """
    loss, count = coalition_loss(model, num_frames, recipe.label_smoothing), len(clips.label)
    loop.check_schedule(schedule, count)
    feature_dim = clips.rows.shape[1]
    example = np.zeros((1, feature_dim), np.float32)
    shapes(model, example)  # before there are that many
    state = dict(jax.jit(model.init)(jax.random.key(schedule.seed), example))
    params = state.pop("params")
    scaling = standardise.none(feature_dim)
    if recipe.standardise:
        scaling = standardise.scaling_of(clips.rows, input_relu=model.input_relu)
    class_weight = class_weights.weights(clips.label, model.num_classes) if recipe.weigh_classes else None
    examples = examples_of(clips, scaling, np.ones(model.num_classes) if class_weight is None else class_weight)
    asked = selection = None
    if validated_on is not None:
        frames = _scaled(model, validation_frames(model, validated_on, num_frames), examples.mean, examples.scale)
        asked = validation.questions(_of_scaled(model), np.asarray(frames), validated_on.label)
        loss_at = functools.partial(_validation_loss, asked, recipe.calibrate)
        selection = loop.Selection(loss_at, recipe.validate_every, recipe.patience)
    settings = {**(settings or {}), **recipe._asdict()}
    settings["validated_on"] = None if validated_on is None else files.short_digest(validated_on)
    trained = loop.train(
        loss,
        params,
        state,
        examples,
        num_examples=count,
        schedule=schedule,
        selection=selection,
        settings=settings,
        **options,
    )
    variables = standardise.folded(model, {"params": trained.params, **trained.state}, scaling)
    fitted = None
    if asked is not None and recipe.calibrate:
        fitted = calibration.calibrated(asked.logits(trained.params, trained.state), asked.size, asked.label)
    if fitted is not None and fitted.helps:
        model = model.clone(num_temperatures=len(fitted.temperature))
        variables |= {temperature.COLLECTION: {temperature.NAME: fitted.temperature.astype(np.float32)}}
    return Head(model, variables, trained.history, trained.epoch, class_weight, fitted)


def _validation_loss(asked: validation.Questions, calibrate: bool, params: Any, state: Any) -> float:
    found = asked.logits(params, state)
    if calibrate:
        # Later epochs are often surer than they are right, and right more often. The one can be mended (Berta et al.
        # 2025, "Rethinking early stopping: refine, then calibrate").
        found = calibration.divide(found, asked.size, calibration.fit(found, asked.size, asked.label))
    return validation.loss(found, asked.size, asked.label)


def joined_frames(model: models.TSN | models.MultiscaleTRN, num_frames: int) -> int:
    """Of how many of the frames sampled from a clip all subsets count."""
    return min(num_frames, max(MAX_JOINED_FRAMES, num_scales(model)))


def validation_frames(model: models.TSN | models.MultiscaleTRN, clips: Clips, num_frames: int) -> np.ndarray:
    """Features [n, t, D] to validate on: those of `frames_of`, of which t = `joined_frames` are kept, as in training.

    Which ones is random, but always the same. Subsets of more frames would cost far more, and are told by these.
    """
    frames, kept = frames_of(clips, num_frames), joined_frames(model, num_frames)
    chosen = np.random.default_rng(0).random(frames.shape[:2]).argsort(axis=1)[:, :kept]
    return np.take_along_axis(frames, np.sort(chosen, axis=1)[:, :, None], axis=1)


def num_scales(model: models.TSN | models.MultiscaleTRN) -> int:
    """M; 1 for TSN, whose joint logits are the mean of single frames'."""
    return model.num_scales if isinstance(model, models.MultiscaleTRN) else 1


def unit_logits(model: models.TSN | models.MultiscaleTRN, frames: jax.Array) -> jax.Array:
    """Logits [B, U, C], in training mode, of the U subsets of at most M frames of every clip in frames [B, T, D].

    The subsets are in the order of `subsets_up_to(T, M)`. A Flax method of the two heads, for apply(method=...).
    """
    num_clips, num_frames = frames.shape[:2]
    flat = frames.reshape(num_clips * num_frames, -1)
    if isinstance(model, models.TSN):
        return model.frame_logits(flat, train=True).reshape(num_clips, num_frames, -1)
    logits = []
    for size in range(1, model.num_scales + 1):
        shares = model.project(flat, size).reshape(num_clips, num_frames * size, -1)
        # Which frame stands at which position in every subset: a product with 0 and 1 instead of gathering rows is
        # twice as fast to differentiate on CPUs.
        members = lattice.combinations(num_frames, size)
        chosen = (members[:, None, :] == np.arange(num_frames)[:, None]).reshape(len(members), -1)
        pre = jnp.einsum("np,bph->bnh", jnp.asarray(chosen, shares.dtype), shares, precision=HIGHEST)
        scale_logits = model.after_first(pre.reshape(-1, model.hidden_dim), size, train=True)
        logits.append(scale_logits.reshape(num_clips, len(chosen), -1))
    return jnp.concatenate(logits, axis=1)


def subsets_up_to(num_frames: int, size: int) -> np.ndarray:
    """All subsets of 1..size of the frames, smaller ones first, bool [U, T]."""
    sizes = range(1, size + 1)
    return np.concatenate([masks.of_members(lattice.combinations(num_frames, k), num_frames) for k in sizes])


def joining(num_frames: int, scales: int) -> tuple[np.ndarray, np.ndarray]:
    """How the logits of single subsets join to those of every coalition, and how much a coalition counts.

    Returns:
      matrix float32 [2^T - 1, U]: A(S) = sum_u matrix[S, u] f(u) is the mean over sizes s <= min(|S|, M) of the mean of
        f over the size-s subsets of S; coalitions in the order of subsets_up_to(T, T), the last is all frames.
      weights float32 [2^T - 1]: 1 / (T * number of coalitions of this size), as in the Shapley value; they sum to 1.
    """
    coalitions, units = subsets_up_to(num_frames, num_frames), subsets_up_to(num_frames, scales)
    size, unit_size = coalitions.sum(axis=1), units.sum(axis=1)
    within = ~(units[None, :, :] & ~coalitions[:, None, :]).any(axis=2)
    count = np.array([[max(1, math.comb(int(k), int(s))) for s in unit_size] for k in size])
    matrix = within / (np.minimum(size, scales)[:, None] * count)
    weights = np.array([1 / (num_frames * math.comb(num_frames, int(k))) for k in size])
    return matrix.astype(np.float32), weights.astype(np.float32)


def sample_segments(key: jax.Array, length: jax.Array, num_frames: int) -> jax.Array:
    """A random frame of each of `num_frames` equal segments, int32 [B, num_frames], for clips of length int32 [B].

    Segment i holds the frames floor(i L / n) .. floor((i + 1) L / n) - 1, at least one where L >= n.
    """
    edges = jnp.arange(num_frames + 1, dtype=jnp.int32)[None] * length[:, None] // num_frames
    start, width = edges[:, :-1], edges[:, 1:] - edges[:, :-1]
    step = (jax.random.uniform(key, start.shape) * width.astype(jnp.float32)).astype(jnp.int32)
    return start + jnp.minimum(step, width - 1)


def sample_in_order(key: jax.Array, num_clips: int, num_frames: int, size: int) -> jax.Array:
    """A random subset of `size` of 0..num_frames-1 for every clip, increasing, int32 [num_clips, size]."""
    _, kept = jax.lax.top_k(jax.random.uniform(key, (num_clips, num_frames)), size)
    return jnp.sort(kept, axis=1)


def predict(model: nn.Module, variables: Any, clips: Clips, num_frames: int) -> np.ndarray:
    """Logits [n, C] of every clip at the `num_frames` centres of its segments; joint logits exact."""
    apply = jax.jit(jax.vmap(model.apply, in_axes=(None, 0)))
    rows = batches.filled(len(clips.label), CLIPS_AT_ONCE)
    found = [np.asarray(apply(variables, frames_of(clips, num_frames, some))) for some in rows]
    return np.concatenate(found)[: len(clips.label)]


def frames_of(clips: Clips, num_frames: int, which: Any = slice(None)) -> np.ndarray:
    """Features [n, T, D] of `which` clips at the centres of their segments."""
    centres = np.stack([segment_centres(int(n), num_frames) for n in clips.length[which]])
    return clips.rows[clips.offset[which][:, None] + centres]

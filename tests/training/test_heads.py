import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from esv_jax import InputError
from esv_jax.data import feature_store
from esv_jax.models import TSN, MultiscaleTRN
from esv_jax.training import calibration, heads, loop, standardise, validation
from esv_jax.training.heads import Clips
from esv_jax.video.frame_sampling import segment_centres
from tests.models.oracles import joint_logits, randomised
from tests.oracles import softmax

RNG = np.random.default_rng(0)
MODELS = [TSN(3), MultiscaleTRN(2, 5, 3), MultiscaleTRN(4, 5, 3, input_relu=True, num_hidden_layers=2)]


def made(model, feature_dim=6):
    return randomised(jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, feature_dim), np.float32)))


def examples(clips, num_classes=3, class_weight=None):
    """Of features as they are, and classes that count the same."""
    weight = np.ones(num_classes) if class_weight is None else class_weight
    return heads.examples_of(clips, standardise.none(clips.rows.shape[1]), weight)


def coalitions(num_frames, largest):
    return [s for k in range(1, largest + 1) for s in itertools.combinations(range(num_frames), k)]


def clips_of(features, labels):
    lengths = np.array([len(f) for f in features], np.int32)
    offsets = np.cumsum(lengths, dtype=np.int32) - lengths
    return Clips(np.concatenate(features), offsets, lengths, np.array(labels, np.int32))


@pytest.mark.parametrize(("num_frames", "scales"), [(1, 1), (4, 1), (4, 3), (5, 5)])
def test_joining_is_the_mean_over_scales_of_the_mean_over_subsets(num_frames, scales):
    matrix, weights = heads.joining(num_frames, scales)
    units = {frozenset(row.nonzero()[0]): i for i, row in enumerate(heads.subsets_up_to(num_frames, scales))}
    assert len(units) == len(coalitions(num_frames, scales))
    rows = heads.subsets_up_to(num_frames, num_frames)
    logits = RNG.normal(size=(len(units), 3))
    joined = matrix @ logits
    for row, value in zip(rows, joined, strict=True):
        members = row.nonzero()[0]
        expected = joint_logits(lambda s, m=members: logits[units[frozenset(m[list(s)])]], len(members), scales)
        np.testing.assert_allclose(value, expected, atol=1e-6)
    assert rows[-1].all()
    by_size = [weights[rows.sum(axis=1) == k] for k in range(1, num_frames + 1)]
    np.testing.assert_allclose([w.sum() for w in by_size], 1 / num_frames, rtol=1e-6)
    assert all(np.ptp(w) == 0 for w in by_size)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_unit_logits_are_the_models_own(model):
    variables = made(model)
    frames = RNG.normal(size=(2, 5, 6)).astype(np.float32)
    out = jax.jit(lambda x: model.apply(variables, x, method=heads.unit_logits))(frames)
    subsets = [row.nonzero()[0] for row in heads.subsets_up_to(5, heads.num_scales(model))]
    for clip in range(2):
        for i, subset in enumerate(subsets):
            chosen = frames[clip, subset]
            if isinstance(model, TSN):
                expected = model.apply(variables, chosen)
            else:
                expected = model.apply(variables, chosen[None], method="scale_logits")[0]
            np.testing.assert_allclose(out[clip, i], expected, atol=1e-4)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_loss_is_the_cross_entropy_of_every_coalition(model):
    variables = made(model)
    # As many frames as segments, so that sampling has no choice.
    features = [RNG.normal(size=(4, 6)).astype(np.float16) for _ in range(3)]
    labels = [2, 0, 1]
    loss = jax.jit(heads.coalition_loss(model, 4))
    rows = np.array([2, 0], np.int32)
    data = examples(clips_of(features, labels))
    value, (state, metrics) = loss(variables["params"], {}, data, rows, jax.random.key(0))
    expected, right = [], []
    apply = jax.jit(model.apply)
    for clip in rows:
        sizes = []
        for size in range(1, 5):
            surprises = [
                -jax.nn.log_softmax(apply(variables, features[clip][list(subset)]))[labels[clip]]
                for subset in itertools.combinations(range(4), size)
            ]
            sizes.append(np.mean(surprises))
        expected.append(np.mean(sizes))
        right.append(int(apply(variables, features[clip]).argmax()) == labels[clip])
    np.testing.assert_allclose(value, np.mean(expected), rtol=1e-4)
    assert state == {}
    np.testing.assert_allclose(metrics["accuracy"], np.mean(right))


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_scaling_smoothing_and_weights_of_classes_in_the_loss(model):
    """Against cross entropy with smoothed labels in float64, of a head on features that were scaled by hand."""
    variables = made(model)
    features = [RNG.normal(size=(4, 6)).astype(np.float32) for _ in range(3)]
    labels, weight, smoothing = [2, 0, 1], np.array([0.5, 3.0, 1.25]), 0.3
    clips = clips_of(features, labels)
    scaling = standardise.Scaling(RNG.normal(size=6), RNG.uniform(0.5, 2, size=6))
    data = heads.examples_of(clips, scaling, weight)
    rows = np.array([2, 0, 1], np.int32)
    loss = jax.jit(heads.coalition_loss(model, 4, smoothing))
    value, _ = loss(variables["params"], {}, data, rows, jax.random.key(0))
    plain = model.clone(input_relu=False)
    apply = jax.jit(plain.apply)
    expected = []
    for clip in rows:
        read = np.maximum(features[clip], 0) if model.input_relu else features[clip]
        scaled = ((read - scaling.mean) / scaling.scale).astype(np.float32)
        target = np.full(3, smoothing / 3)
        target[labels[clip]] += 1 - smoothing
        sizes = []
        for size in range(1, 5):
            entropies = []
            for subset in itertools.combinations(range(4), size):
                logits = np.asarray(apply(variables, scaled[list(subset)]), np.float64)
                entropies.append(-(target * np.log(softmax(logits))).sum())
            sizes.append(np.mean(entropies))
        expected.append(weight[labels[clip]] * np.mean(sizes))
    np.testing.assert_allclose(value, np.mean(expected), rtol=1e-4)


def test_of_more_than_eight_frames_eight_random_ones_are_joined():
    frames = RNG.normal(size=(12, 1)).astype(np.float32)
    params = {"kernel": np.float32([[1, 0]]), "bias": np.zeros(2, np.float32)}  # logits (x, 0)
    loss = jax.jit(heads.coalition_loss(TSN(2), 12))
    clips, rows = examples(clips_of([frames], [0]), 2), np.int32([0])
    values = [loss(params, {}, clips, rows, jax.random.key(i))[0] for i in range(6)]
    matrix, weights = heads.joining(8, 1)
    possible = [
        weights @ np.log1p(np.exp(-matrix @ frames[list(subset), 0])) for subset in itertools.combinations(range(12), 8)
    ]
    distance = abs(np.array(values)[:, None] - np.array(possible)[None])
    assert distance.min(axis=1).max() < 1e-5
    assert len(set(distance.argmin(axis=1))) >= 5

    kept = heads.sample_in_order(jax.random.key(0), 500, 12, 8)
    assert kept.shape == (500, 8)
    assert (np.diff(kept, axis=1) > 0).all()
    counts = np.bincount(np.ravel(kept), minlength=12)
    assert counts.max() < 1.2 * counts.min()


@pytest.mark.parametrize("length", [4, 5, 7, 13])
def test_one_random_frame_of_every_segment(length):
    samples = np.asarray(heads.sample_segments(jax.random.key(0), jnp.full(2000, length, jnp.int32), 4))
    assert samples.shape == (2000, 4)
    for segment in range(4):
        frames = np.arange(segment * length // 4, (segment + 1) * length // 4)
        counts = np.bincount(samples[:, segment], minlength=length)
        assert set(counts.nonzero()[0]) == set(frames)
        assert counts[frames].min() > 0.8 * 2000 / len(frames)


def test_batch_norm_is_trained_along():
    model = MultiscaleTRN(2, 5, 3, batch_norm=True, dropout=0.2)
    variables = made(model)
    clips = examples(clips_of([RNG.normal(size=(6, 6)).astype(np.float32) for _ in range(4)], [0, 1, 2, 0]))
    state = {"batch_stats": variables["batch_stats"]}
    loss = jax.jit(heads.coalition_loss(model, 3))
    _, (after, _) = loss(variables["params"], state, clips, np.arange(4, dtype=np.int32), jax.random.key(0))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    changes = jax.tree.leaves(jax.tree.map(lambda a, b: abs(a - b).max(), after, state))
    assert min(changes) > 0


def test_the_trn_learns_order_and_the_tsn_cannot():
    """Two classes that hold the same frames, one way and the other way round."""
    forth = [np.eye(4, dtype=np.float32)[np.sort(RNG.integers(0, 4, 8))] for _ in range(24)]
    forth = [f + 0.05 * RNG.normal(size=f.shape).astype(np.float32) for f in forth if f[0].argmax() != f[-1].argmax()]
    clips = clips_of([*forth, *(f[::-1] for f in forth)], [0] * len(forth) + [1] * len(forth))
    accuracy = {}
    for model in (TSN(2), MultiscaleTRN(2, 16, 2)):
        variables = model.init(jax.random.key(0), np.zeros((1, 4), np.float32))
        schedule = loop.Schedule(epochs=30, batch_size=16, learning_rate=0.03)
        trained = loop.train(
            heads.coalition_loss(model, 4),
            variables["params"],
            {},
            examples(clips, 2),
            num_examples=len(clips.label),
            schedule=schedule,
        )
        logits = heads.predict(model, {"params": trained.params}, clips, 4)
        accuracy[type(model)] = (logits.argmax(axis=1) == clips.label).mean()
    assert accuracy[MultiscaleTRN] >= 0.95
    assert accuracy[TSN] <= 0.7


def test_predict_is_the_model_at_the_centres_of_segments():
    model = MODELS[1]
    variables = made(model)
    features = [RNG.normal(size=(n, 6)).astype(np.float16) for n in RNG.integers(4, 20, 2 * heads.CLIPS_AT_ONCE + 3)]
    out = heads.predict(model, variables, clips_of(features, [0] * len(features)), 4)
    assert out.shape == (len(features), 3)
    apply = jax.jit(model.apply)
    for logits, f in zip(out, features, strict=True):
        np.testing.assert_allclose(logits, apply(variables, f[segment_centres(len(f), 4)]), atol=1e-5)


@pytest.fixture
def store(tmp_path):
    header = feature_store.StoreHeader(3, "float32", ("a", "b"))
    with feature_store.create_or_append(tmp_path, header) as writer:
        for uid, label, length in (("x", "b", 5), ("y", "a", 3), ("z", "b", 4)):
            writer.append(uid, uid, label, "train", RNG.normal(size=(length, 3)).astype(np.float32))
    return tmp_path


def test_clips_of_a_store(store):
    opened = feature_store.open_store(store)
    clips = heads.read_clips(opened, [2, 0], 4, "the store")
    assert clips.length.tolist() == [4, 5]
    assert clips.offset.tolist() == [0, 4]
    assert clips.label.tolist() == [1, 1]
    np.testing.assert_array_equal(clips.rows, np.concatenate([opened.features(2), opened.features(0)]))


def test_clips_that_cannot_be_used(store):
    opened = feature_store.open_store(store)
    with pytest.raises(InputError, match="clip y of the store has 3 frames, fewer than the 4 to be sampled"):
        heads.read_clips(opened, [0, 1], 4, "the store")
    clips = (store / "clips.csv").read_text().splitlines()
    (store / "clips.csv").write_text("".join(f"{line.rpartition(',')[0]}\n" for line in clips))  # without checksums
    with open(store / "features.bin", "r+b") as file:
        file.seek(3 * 4)
        file.write(np.float32(np.nan).tobytes())
    with pytest.raises(
        InputError, match=r"the features of clip x of the store should be finite, found 1 NaN .*\(1, 0\)"
    ):
        heads.read_clips(feature_store.open_store(store), [0], 4, "the store")


@pytest.mark.parametrize(
    ("scales", "num_frames", "message"),
    [
        (5, 4, r"num_scales should be at most num_frames \(4\) and 10 for training, found 5"),
        (11, 12, r"num_scales should be at most num_frames \(12\) and 10 for training, found 11"),
    ],
)
def test_scales_that_cannot_be_trained(scales, num_frames, message):
    with pytest.raises(InputError, match=message):
        heads.coalition_loss(MultiscaleTRN(scales, 5, 3), num_frames)


def moving(num_clips, seed, noise=1.0):
    """Clips of two classes, of features far from 0 whose means differ by class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num_clips)
    features = [
        (100 + 10 * (noise * rng.normal(size=(6, 4)) + (label - 0.5) * np.array([1, 0, 0, 0]))).astype(np.float32)
        for label in labels
    ]
    return clips_of(features, labels)


SCHEDULE = loop.Schedule(epochs=12, batch_size=8, learning_rate=0.05)


@pytest.mark.parametrize("model", [TSN(2), MultiscaleTRN(2, 8, 2)], ids=["tsn", "trn"])
def test_a_head_is_selected_and_calibrated_on_validation_clips(model):
    clips, validated_on = moving(40, 0), moving(60, 1)
    head = heads.train_head(model, clips, 4, SCHEDULE, validated_on=validated_on)
    losses = head.history["validation_loss"]
    assert head.epoch == losses.argmin() + 1
    # Standardised: features of mean 100 do not hinder training.
    predicted = heads.predict(head.model, head.variables, clips, 4).argmax(axis=1)
    assert (predicted == clips.label).mean() > 0.7
    plain = model.clone(num_temperatures=0)
    without = {name: value for name, value in head.variables.items() if name != "calibration"}
    shown = validation.subsets(60, 4)
    frames = heads.frames_of(validated_on, 4)
    logits = validation.logits(plain, without, frames, shown.mask)
    at_best = calibration.divide(logits, shown.size, calibration.fit(logits, shown.size, validated_on.label))
    np.testing.assert_allclose(validation.loss(at_best, shown.size, validated_on.label), losses.min(), rtol=2e-3)
    uncalibrated = heads.train_head(
        model, clips, 4, SCHEDULE, validated_on=validated_on, recipe=heads.Recipe(calibrate=False)
    )
    assert uncalibrated.calibration is None
    assert (uncalibrated.history["validation_loss"] >= losses - 1e-6).all()
    assert head.calibration is not None
    assert head.model.num_temperatures == (4 if head.calibration.helps else 0)
    if head.calibration.helps:
        divided = validation.logits(head.model, head.variables, frames, shown.mask)
        expected = logits / head.calibration.temperature[shown.size - 1][None, :, None]
        np.testing.assert_allclose(divided, expected, rtol=1e-3, atol=1e-3)


def test_validation_frames_are_those_of_the_segments_or_eight_of_them():
    clips = clips_of([np.arange(n, dtype=np.float32)[:, None] for n in (12, 24, 30)], [0, 0, 0])
    np.testing.assert_array_equal(heads.validation_frames(TSN(2), clips, 8), heads.frames_of(clips, 8))
    found, every = heads.validation_frames(TSN(2), clips, 12), heads.frames_of(clips, 12)
    assert found.shape == (3, 8, 1)
    assert (np.diff(found[:, :, 0], axis=1) > 0).all()
    assert all(set(a.ravel()) < set(b.ravel()) for a, b in zip(found, every, strict=True))
    np.testing.assert_array_equal(heads.validation_frames(TSN(2), clips, 12), found)
    assert heads.validation_frames(MultiscaleTRN(10, 5, 2), clips, 12).shape == (3, 10, 1)


def test_of_more_than_eight_frames_eight_get_temperatures():
    clips = clips_of([RNG.normal(size=(12, 4)).astype(np.float32) for _ in range(6)], [0, 1] * 3)
    head = heads.train_head(TSN(2), clips, 12, SCHEDULE, validated_on=clips)
    assert len(head.calibration.temperature) == 8
    assert head.model.num_temperatures in (0, 8)


def test_without_clips_to_validate_on_the_last_epoch_is_taken():
    head = heads.train_head(TSN(2), moving(20, 0), 4, SCHEDULE)
    assert (head.epoch, head.calibration, head.model) == (12, None, TSN(2))
    assert set(head.history) == {"loss", "accuracy"}


def test_old_training_is_still_to_be_had():
    """Without standardising: the features as they are, in the first layer as it was drawn."""
    clips = moving(8, 0)
    recipe = heads.Recipe(standardise=False)
    schedule = loop.Schedule(epochs=1, batch_size=8, learning_rate=1e-12)
    head = heads.train_head(TSN(2), clips, 4, schedule, recipe=recipe)
    drawn = jax.jit(TSN(2).init)(jax.random.key(0), clips.rows[:1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), head.variables, dict(drawn))


def test_label_smoothing_that_is_none():
    with pytest.raises(InputError, match="label_smoothing should be at least 0 and below 1, found 1"):
        heads.coalition_loss(TSN(2), 4, 1)

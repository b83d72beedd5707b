"""The demo's model, as it is in the repository, on clips that it has never seen (of another seed)."""

import functools

import jax
import numpy as np
import pytest

from esv_jax.procedural import drawing, scripts
from esv_jax.saved import DEMO_MODEL, kept_check, model_folder
from esv_jax.video.frame_sampling import segment_centres
from esv_jax.video.preprocess import resize_and_crop

NUM_FRAMES, LAPS = 8, 3


@functools.cache
def model(kind):
    return model_folder.load_model(DEMO_MODEL.parent / kind)


@functools.cache
def new_clips():
    """Images uint8 [n, 8, 48, 48, 3] and classes [n]."""
    images, labels = [], []
    for index in range(LAPS * len(scripts.ACTIONS)):
        frames = list(drawing.frames(scripts.script_of(1, index)))
        chosen = np.stack([frames[i] for i in segment_centres(len(frames), NUM_FRAMES)])
        images.append(resize_and_crop(chosen, model("tsn").backbone.card.preprocess))
        labels.append(scripts.CLASS_NAMES[index % len(scripts.ACTIONS)])
    return np.stack(images), np.array(labels)


@functools.cache
def scorer(kind):
    """Logits [n, C] of images [n, T, H, W, 3]."""
    head, cnn = model(kind), model(kind).backbone

    def score(images):
        features = cnn.module.apply(cnn.variables, images.reshape(-1, *images.shape[2:]))
        return jax.vmap(head.module.apply, (None, 0))(head.variables, features.reshape(*images.shape[:2], -1))

    return jax.jit(score)


def predicted(kind, *, backwards=False):
    images, _ = new_clips()
    head, logits = model(kind), scorer(kind)(images[:, :: -1 if backwards else 1])
    return np.array(head.card.classes)[np.argmax(logits, axis=1)]


def in_pairs(labels):
    return np.isin(labels, [scripts.CLASS_NAMES[i] for pair in scripts.ORDER_PAIRS for i in pair])


def test_the_trn_knows_new_clips_and_the_tsn_not_the_order():
    _, labels = new_clips()
    paired = in_pairs(labels)
    trn, tsn = (predicted(kind) == labels for kind in ("multiscale_trn", "tsn"))
    assert trn.mean() >= 0.85
    assert tsn[paired].mean() < trn[paired].mean() - 0.3


def test_a_clip_backwards_is_of_the_opposite_class():
    _, labels = new_clips()
    opposite = {}
    for i, j in scripts.ORDER_PAIRS:
        a, b = scripts.CLASS_NAMES[i], scripts.CLASS_NAMES[j]
        opposite |= {a: b, b: a}
    paired = in_pairs(labels)
    expected = np.array([opposite[label] for label in labels[paired]])
    assert (predicted("multiscale_trn", backwards=True)[paired] == expected).mean() >= 0.85
    np.testing.assert_array_equal(predicted("tsn", backwards=True), predicted("tsn"))


@pytest.mark.parametrize("kind", ["multiscale_trn", "tsn"])
def test_the_card_says_how_it_was_made(kind):
    card = model(kind).card
    assert card.kind == kind
    assert set(card.classes) == set(scripts.CLASS_NAMES)
    np.testing.assert_allclose(card.prior, 1 / len(card.classes), rtol=1e-6)
    assert card.provenance["command"].startswith("python -m experiments.train_demo ")
    assert card.provenance["seed"] == 0
    figures = card.provenance["figures"]["test"]
    assert figures["clips"] >= 400
    if kind == "multiscale_trn":
        assert figures["accuracy"] >= 0.9


def test_it_is_small_and_names_no_place():
    files = [path for path in DEMO_MODEL.parent.rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= 3_000_000
    for path in files:
        assert not any(place in path.read_bytes() for place in (b"/tmp/", b"/work/", b"/home/", b"/root/"))


@pytest.mark.parametrize("kind", ["tsn", "multiscale_trn"])
def test_the_check_that_it_keeps_is_of_its_weights(kind):
    folder = DEMO_MODEL.parent / kind
    assert kept_check.warning(folder, model_folder.digest(model_folder.load_model(folder))) is None

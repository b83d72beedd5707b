"""Two small models and what they say of eight random videos."""

import functools

import jax
import numpy as np

import esv_jax
from esv_jax import models
from esv_jax.analyses.subject import Subject, Values
from esv_jax.explaining.batch import explain_batch
from esv_jax.saved.game import game_of
from esv_jax.saved.model_folder import Model, ModelCard

B, T, D = 8, 4, 3
CLASSES = ("moving left", "moving right", "resting")
C = len(CLASSES)
PRIOR = np.array([0.5, 0.25, 0.25], np.float32)
MODULES = {
    "tsn": models.TSN(num_classes=C),
    "multiscale_trn": models.MultiscaleTRN(num_scales=2, hidden_dim=6, num_classes=C),
}


@functools.cache
def subject(kind="tsn", counts=(2, 3, 4)):
    rng = np.random.default_rng(0)
    module = MODULES[kind]
    shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((T, D), np.float32))
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    card = ModelCard(kind, {}, D, CLASSES, PRIOR)
    model = Model(card, module, variables)
    videos = np.random.default_rng(1).normal(size=(B, T, D)).astype(np.float32)
    features = {n: videos[:, :n] for n in counts}
    game = game_of(model)
    values = {}
    for n in counts:
        out = explain_batch(esv_jax.exact(), game, variables, features[n])
        frame_index = np.tile(2 * np.arange(n), (B, 1))
        values[n] = Values(np.asarray(out.values), np.asarray(out.full), frame_index)
    return Subject(
        name={"tsn": "TSN", "multiscale_trn": "multi-scale TRN"}[kind],
        model=model,
        prior=PRIOR,
        classes=CLASSES,
        uid=tuple(f"v{i}" for i in range(B)),
        label=np.arange(B) % C,
        path=tuple(f"nowhere/{i:06d}.webm" for i in range(B)),
        num_frames_in_video=np.full(B, 2 * T),
        values=values,
        features=features,
        mean_feature=np.full(D, 0.1, np.float32),
        some_features=np.random.default_rng(2).normal(size=(5, D)).astype(np.float32),
    )

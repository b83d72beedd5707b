"""The attributions of every method for the same videos."""

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import esv_jax
from esv_jax import baselines, batches, files
from esv_jax.analyses.subject import Subject
from esv_jax.base import Attribution
from esv_jax.baselines import Baseline
from esv_jax.explaining.batch import explain_batch
from esv_jax.metrics import removal

ESV, GRAD_CAM, RANDOM = "ESV", "Grad-CAM", "random"
STEPS, SAMPLES = 256, 64  # of Integrated and Expected Gradients, and of SmoothGrad


class Attributions(NamedTuple):
    """The values of all methods for the videos of one subject.

    Attributes:
      values: by method, float32 [B, T, 2] for the true and the predicted class; Element Shapley Values first.
      completeness_gap: by method of Integrated Gradients, the largest |sum of values - (v(x) - v(reference))|.
    """

    values: dict[str, np.ndarray]
    completeness_gap: dict[str, float]


def of_features(subject: Subject) -> dict[str, Baseline]:
    """The baselines that read features, by name: those that the subject's model can answer."""
    found = {
        "class-score delta": baselines.leave_one_out(),
        "occlusion of 3": baselines.occlusion(3),
        "frame alone": baselines.frame_alone(),
    }
    if subject.is_host:
        return found
    found |= {
        "gradient x input": baselines.gradient_times_input(),
        "SmoothGrad x input": baselines.smooth_grad(samples=SAMPLES),
        "Int. Gradients (zero)": baselines.integrated_gradients(steps=STEPS),
    }
    if subject.mean_feature is not None and subject.some_features is not None:
        found |= {
            "Int. Gradients (mean)": baselines.integrated_gradients(reference=subject.mean_feature, steps=STEPS),
            "Expected Gradients": baselines.expected_gradients(subject.some_features, samples=STEPS),
        }
    return found


def attributions(subject: Subject, num_frames: int, *, seed: int) -> Attributions:
    """The values of all methods; Grad-CAM's where the model has its backbone and the video files are there."""
    classes = np.stack([subject.label, subject.values[num_frames].score.argmax(axis=1)], axis=1)
    videos = subject.features[num_frames]
    values = {ESV: np.stack([subject.esv_of(num_frames, which) for which in classes.T], axis=2)}
    gaps = {}
    for name, baseline in of_features(subject).items():
        out = _explained(subject, baseline, videos, classes, seed)
        values[name] = np.asarray(out.values)
        if name.startswith("Int"):
            gaps[name] = float(np.abs(out.values.sum(axis=1) - (out.full - out.empty)).max())
    if subject.can_show_frames():
        values[GRAD_CAM] = _grad_cam(subject, num_frames, classes)
    values[RANDOM] = np.asarray(_explained(subject, baselines.random(), videos, classes, seed).values)
    return Attributions(values, gaps)


def attributions_in(path: Path, settings: object, subject: Subject, num_frames: int, *, seed: int) -> Attributions:
    """`attributions`, of the file `path` (npz) if it was written for equal `settings`; else computed, and written."""
    mark = json.dumps(settings, sort_keys=True)
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["settings"]) == mark:
                values = {name: file[name] for name in file["methods"].tolist()}
                return Attributions(values, json.loads(str(file["completeness_gap"])))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # not there, or of an interrupted or another run: made anew
    found = attributions(subject, num_frames, seed=seed)
    notes = {"settings": mark, "methods": list(found.values), "completeness_gap": json.dumps(found.completeness_gap)}
    files.write_npz(path, {**notes, **found.values})
    return found


def of_videos(subject: Subject, videos: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """Values [B, T] for the classes label int [B] by every method that reads features, for any videos [B, T, D]."""
    esv = np.asarray(explain_batch(esv_jax.exact(), subject.game(), subject.params, videos).values)
    found = {ESV: removal.of_class(esv, label)}
    for name, baseline in of_features(subject).items():
        found[name] = np.asarray(_explained(subject, baseline, videos, label[:, None], 0).values)[..., 0]
    return found


def _explained(subject: Subject, baseline: Baseline, videos: np.ndarray, classes: np.ndarray, seed: int) -> Attribution:
    game, key = subject.game(), jax.random.key(seed)
    return baselines.explain_batch(baseline, game, subject.params, videos, key=key, classes=classes)


def _grad_cam(subject: Subject, num_frames: int, classes: np.ndarray) -> np.ndarray:
    backbone: Any = subject.folder_model.backbone
    game, module = subject.game(), backbone.module
    # Games are told apart by their functions, so this one is made once.
    cam_game = baselines.activation_game(game, lambda v, a: module.apply(v, a, method="from_activation"))
    params = {"head": subject.params, "backbone": backbone.variables}
    activation = jax.jit(lambda images: module.apply(backbone.variables, images, method="last_activation"))
    values = []
    for rows in batches.filled(len(subject.path), baselines.call.VIDEOS_AT_ONCE):
        activations = np.stack([np.asarray(activation(subject.frames(num_frames, int(i)))) for i in rows])
        out = baselines.explain_batch(baselines.grad_cam(), cam_game, params, activations, classes=classes[rows])
        values.append(np.asarray(out.values))
    return np.concatenate(values)[: len(subject.path)]

"""The attributions of every method for the same videos."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

import esv_jax
from esv_jax import baselines
from esv_jax.analyses.subject import Subject
from esv_jax.base import Attribution, Game
from esv_jax.baselines import Baseline
from esv_jax.checks import InputError
from esv_jax.explaining.batch import explain_batch
from esv_jax.metrics import removal
from esv_jax.saved.game import game_of
from esv_jax.video import decode
from esv_jax.video.preprocess import resize_and_crop

ESV, GRAD_CAM, RANDOM = "ESV", "Grad-CAM", "random"
STEPS = 256  # of Integrated Gradients
Methods = dict[str, np.ndarray]


def single_coalitions(subject: Subject) -> tuple[Game, Any]:
    """The model's game that takes single coalitions, and its variables."""
    game = game_of(subject.model, prior=subject.prior, all_subsets=subject.model.card.kind == "multiscale_trn")
    return game, subject.model.variables


def of_features(subject: Subject) -> dict[str, Baseline]:
    """The baselines that read features, by name."""
    return {
        "class-score delta": baselines.leave_one_out(),
        "frame alone": baselines.frame_alone(),
        "gradient x input": baselines.gradient_times_input(),
        "Int. Gradients (zero)": baselines.integrated_gradients(
            reference=np.zeros_like(subject.mean_feature), steps=STEPS
        ),
        "Int. Gradients (mean)": baselines.integrated_gradients(reference=subject.mean_feature, steps=STEPS),
    }


def attributions(subject: Subject, num_frames: int, *, seed: int) -> tuple[Methods, dict[str, float]]:
    """Values float32 [B, T, 2] by method, for the true and the predicted class; Element Shapley Values first.

    Grad-CAM is among them where the model has its backbone and the video files are there.

    Returns:
      The values, and by method of Integrated Gradients the largest error of completeness, |sum - (v(x) - v(r))|.
    """
    classes = np.stack([subject.label, subject.values[num_frames].score.argmax(axis=1)], axis=1)
    found = {ESV: np.stack([subject.esv_of(num_frames, which) for which in classes.T], axis=2)}
    incomplete = {}
    for name, baseline in of_features(subject).items():
        out = _explained(subject, baseline, subject.features[num_frames], classes, seed)
        found[name] = np.asarray(out.values)
        if name.startswith("Int"):
            incomplete[name] = float(np.abs(out.values.sum(axis=1) - (out.full - out.empty)).max())
    if can_show_frames(subject):
        found[GRAD_CAM] = _grad_cam(subject, num_frames, classes)
    found[RANDOM] = np.asarray(
        _explained(subject, baselines.random(), subject.features[num_frames], classes, seed).values
    )
    return found, incomplete


def of_videos(subject: Subject, videos: np.ndarray, label: np.ndarray) -> Methods:
    """Values [B, T] for the classes label int [B] by every method that reads features, for any videos [B, T, D]."""
    game = game_of(subject.model, prior=subject.prior)
    esv = np.asarray(explain_batch(esv_jax.exact(), game, subject.model.variables, videos).values)
    found = {ESV: removal.of_class(esv, label)}
    for name, baseline in of_features(subject).items():
        found[name] = np.asarray(_explained(subject, baseline, videos, label[:, None], 0).values)[..., 0]
    return found


def _explained(subject: Subject, baseline: Baseline, videos: np.ndarray, classes: np.ndarray, seed: int) -> Attribution:
    game, variables = single_coalitions(subject)
    key = jax.random.key(seed)
    return baselines.explain_batch(baseline, game, variables, videos, key=key, classes=classes)


def can_show_frames(subject: Subject) -> bool:
    """Whether the model has its backbone and all video files are there."""
    return subject.model.backbone is not None and all(Path(path).is_file() for path in subject.path)


def _grad_cam(subject: Subject, num_frames: int, classes: np.ndarray) -> np.ndarray:
    backbone: Any = subject.model.backbone
    game, variables = single_coalitions(subject)
    # Games are told apart by their functions, so this one is made once.
    module = backbone.module
    cam_game = baselines.activation_game(game, lambda v, a: module.apply(v, a, method="from_activation"))
    params = {"head": variables, "backbone": backbone.variables}
    activation = jax.jit(lambda images: module.apply(backbone.variables, images, method="last_activation"))
    values = []
    batch = baselines.call.VIDEOS_AT_ONCE
    num_videos = len(subject.path)
    for start in range(0, num_videos, batch):
        # The last batch is filled up from the first, so that one program serves all.
        rows = np.arange(start, start + batch) % num_videos
        activations = np.stack([np.asarray(activation(frames_of(subject, num_frames, int(i)))) for i in rows])
        out = baselines.explain_batch(baselines.grad_cam(), cam_game, params, activations, classes=classes[rows])
        values.append(np.asarray(out.values)[: num_videos - start])
    return np.concatenate(values)


def frames_of(subject: Subject, num_frames: int, video: int) -> np.ndarray:
    """The frames that the model is shown of a video, uint8 [T, size, size, 3], as its backbone wants them.

    Raises:
      InputError: the model has no backbone, or the video cannot be read.
    """
    backbone = subject.model.backbone
    if backbone is None or backbone.card.preprocess is None:
        raise InputError(f"the {subject.name} holds no backbone, which says how frames are to be cut")
    indices = subject.values[num_frames].frame_index[video]
    return resize_and_crop(decode.read_frames(subject.path[video], indices).images, backbone.card.preprocess)

"""What attributions must and must not depend on: trained weights, and the order of the frames."""

from typing import Any

import jax
import numpy as np

import esv_jax
from esv_jax.analyses import recorded
from esv_jax.analyses.methods import ESV
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.explaining.batch import explain_batch
from esv_jax.metrics import bootstrap, evidence, removal
from esv_jax.saved.game import game_of

_RANDOM_MODELS = 5


def random_weights(
    subjects: list[Subject], num_frames: int, of_evidence: dict[str, np.ndarray], *, seed: int
) -> Report:
    """How well the values of heads with fresh random weights find the evidence: means over five heads.

    Of the clips that the trained model is right about, as for its own values.
    """
    rows: list[tuple[Any, ...]] = []
    for subject in subjects:
        mask = recorded.masks(subject, num_frames, of_evidence)
        defined = np.isfinite(evidence.chance_mass(mask)) & subject.right(num_frames)
        if not defined.any():
            continue
        per_model = []
        for i in range(_RANDOM_MODELS):
            key = jax.random.fold_in(jax.random.key(seed), i)
            variables = subject.model.module.init(key, subject.features[num_frames][0])
            esv = _explain(subject, variables, subject.features[num_frames])
            of_label = removal.of_class(esv, subject.label)
            per_model.append(recorded.measures(of_label[defined], mask[defined]))
        for kind, measure in per_model[0]:
            per_video = np.mean([found[kind, measure] for found in per_model], axis=0)
            rows.append((subject.name, ESV, kind, measure, *with_interval(bootstrap.interval(per_video))))
    return Report({"s_random": Table(("model", "method", "ranking", "measure", "mean", "low", "high", "videos"), rows)})


def shuffled(subjects: list[Subject], num_frames: int, *, seed: int) -> Report:
    """How far values for the true class move when the frames of every clip are shuffled, each followed to its new
    place: the largest difference of a frame, and its mean against the mean size of values."""
    rows = []
    for subject in subjects:
        rng = np.random.default_rng(seed)
        videos, esv = subject.features[num_frames], subject.esv_of(num_frames, subject.label)
        order = rng.permuted(np.tile(np.arange(num_frames), (len(videos), 1)), axis=1)
        found = _explain(subject, subject.model.variables, np.take_along_axis(videos, order[:, :, None], axis=1))
        moved = removal.of_class(found, subject.label)
        difference = np.abs(moved - np.take_along_axis(esv, order, axis=1))
        rows.append((subject.name, float(difference.max()), float(difference.mean() / np.abs(esv).mean())))
    columns = ("model", "largest_difference", "mean_difference_over_mean_size")
    return Report({"s_shuffled": Table(columns, rows)})


def _explain(subject: Subject, variables: Any, videos: np.ndarray) -> np.ndarray:
    game = game_of(subject.model, prior=subject.prior)
    return np.asarray(explain_batch(esv_jax.exact(), game, variables, videos).values)

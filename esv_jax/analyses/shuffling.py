"""Shuffled frames: whether values depend on the order of the frames, as they do where the model does."""

import numpy as np
import pandas as pd

import esv_jax
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.explaining.batch import explain_batch
from esv_jax.metrics import removal


def analyse(study: Study) -> Report:
    """How far values for the true class move when the frames of every clip are shuffled, each followed to its new
    place: the largest difference of a frame, and its mean against the mean size of values."""
    rows = []
    for subject in study.subjects:
        rng = np.random.default_rng(study.seed)
        some = slice(study.slow_videos if subject.is_host else None)
        label, videos = subject.label[some], subject.features[study.num_frames][some]
        esv = subject.esv_of(study.num_frames, subject.label)[some]
        order = rng.permuted(np.tile(np.arange(study.num_frames), (len(videos), 1)), axis=1)
        shuffled = np.take_along_axis(videos, order[:, :, None], axis=1)
        found = explain_batch(esv_jax.exact(), subject.game(), subject.params, shuffled)
        moved = removal.of_class(np.asarray(found.values), label)
        difference = np.abs(moved - np.take_along_axis(esv, order, axis=1))
        rows.append((subject.name, float(difference.max()), float(difference.mean() / np.abs(esv).mean())))
    columns = ["model", "largest_difference", "mean_difference_over_mean_size"]
    tables = {"s_shuffled": pd.DataFrame(rows, columns=columns)}
    return Report(tables, page=page(tables))


def page(tables: Tables) -> Tables:
    return {"shuffled": tables["s_shuffled"]}

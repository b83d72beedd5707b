"""g. The paper's approximation: how close to exact values, and how long it takes."""

import time
import timeit
from typing import Any

import jax
import numpy as np
import pandas as pd

import esv_jax
from esv_jax.analyses import charts, report
from esv_jax.analyses.report import Report, Tables
from esv_jax.analyses.study import Study
from esv_jax.analyses.subject import Subject
from esv_jax.explaining.batch import explain_batch
from esv_jax.metrics import agreement, removal

PER_SIZE = (8, 32, 128)
ITERATIONS = (1, 4, 16)
LENGTHS = (8, 16, 24, 32)
TIMED_PER_SIZE = 64
_REPEATS = 20
_KEY = ["model", "num_frames", "m", "iterations"]


def analyse(study: Study) -> Report:
    """Correlation with exact values over the frames of a clip, by the coalitions of a size m and the iterations whose
    cells are pooled; processor time by these, and against the number of frames.

    The store's values for `approximated_frames` are to be exact. Times are those of the machine it runs on.
    """
    num_frames, chosen = study.approximated_frames, slice(study.slow_videos)
    # Of a model on the host it would time the model.
    subjects = [subject for subject in study.subjects if not subject.is_host]
    if num_frames is None or not subjects:
        return Report({})
    close, timed, by_frames = [], [], []
    for subject in subjects:
        label, videos = subject.label[chosen], subject.features[num_frames][chosen]
        exact = subject.esv_of(num_frames, subject.label)[chosen]
        for m in PER_SIZE:
            for count in ITERATIONS:
                values, milliseconds = _run(subject, videos, m, count, study.seed)
                per_video = agreement.pearson(removal.of_class(values, label), exact)
                key = (subject.name, num_frames, m, count)
                close.append((*key, *report.mean(per_video[np.isfinite(per_video)])))
                timed.append((*key, milliseconds))
        for length in LENGTHS:
            # What the frames hold does not matter to the time, so those there are repeated.
            source = subject.features[max(subject.features)][chosen].transpose(1, 0, 2)
            videos = np.resize(source, (length, *source.shape[1:])).transpose(1, 0, 2)
            milliseconds = _run(subject, videos, TIMED_PER_SIZE, 1, study.seed)[1]
            by_frames.append((subject.name, length, TIMED_PER_SIZE, 1, milliseconds))
    tables = {
        "g_closeness": pd.DataFrame(close, columns=[*_KEY, *report.MEAN]),
        "g_time": pd.DataFrame(timed, columns=[*_KEY, "milliseconds"]),
        "g_time_by_frames": pd.DataFrame(by_frames, columns=[*_KEY, "milliseconds"]),
    }
    figures = {"g_closeness": lambda: _figure(tables["g_closeness"], tables["g_time_by_frames"])}
    return Report(tables, figures, page(tables))


def page(tables: Tables) -> Tables:
    timed, by_frames = (tables[n].rename(columns={"milliseconds": "mean"}) for n in ("g_time", "g_time_by_frames"))
    return {
        "closeness": report.pivot(tables["g_closeness"], "m", ["model", "iterations"], "m; iterations:"),
        "times": report.pivot(timed, "m", ["model", "iterations"], "m; iterations:"),
        "times_by_frames": report.pivot(by_frames, "num_frames", ["model"], "frames shown"),
    }


def _run(subject: Subject, videos: np.ndarray, m: int, iterations: int, seed: int) -> tuple[np.ndarray, float]:
    """Values [B, T, C] of videos [B, T, D], and the processor time of a video in milliseconds."""
    # As in the paper, multi-scale models are joined from the sampled children.
    game, estimator = subject.game(all_subsets=False), esv_jax.stratified(per_size=m, iterations=iterations)
    plan = jax.device_put(estimator.plan(videos.shape[1], key=jax.random.key(seed)))

    def run() -> np.ndarray:
        return np.asarray(explain_batch(estimator, game, subject.params, videos, plan=plan).values)

    values = run()
    took = min(timeit.repeat(run, timer=time.process_time, number=1, repeat=_REPEATS))
    return values, took / len(videos) * 1000


def _figure(close: pd.DataFrame, timed: pd.DataFrame) -> Any:
    figure, axes = charts.subplots(1, 2, 2.7)
    left, right = axes[0]
    for i, (name, mine) in enumerate(close.groupby("model", sort=False)):
        for j, (count, line) in enumerate(mine.groupby("iterations")):
            look = charts.style(i) | {"linestyle": charts.DASHES[j], "alpha": 1.0}
            word = "iteration" if count == 1 else "iterations"
            left.plot(line["m"], line["mean"], label=f"{name}, {count} {word}", **look)
    for i, (name, mine) in enumerate(timed.groupby("model", sort=False)):
        right.plot(mine["num_frames"], mine["milliseconds"], label=name, **charts.style(i))
    left.set_xscale("log", base=2)
    left.set_xticks(PER_SIZE, [str(m) for m in PER_SIZE])
    left.minorticks_off()
    left.set(xlabel="m, coalitions of a size", ylabel="correlation with exact ESVs")
    left.legend(loc="lower right", fontsize=6.5)
    right.set(xlabel="frames shown", ylabel=f"processor time per clip, ms (m = {TIMED_PER_SIZE})", ylim=(0, None))
    right.set_xticks(LENGTHS)
    right.legend()
    return figure

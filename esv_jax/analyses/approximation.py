"""g. The paper's approximation: how close to exact values, and how long it takes."""

import functools
import time
from typing import Any

import jax
import numpy as np

import esv_jax
from esv_jax.analyses import charts
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.evaluation import agreement, bootstrap, removal
from esv_jax.explain_batch import explain_batch
from esv_jax.model_game import game_of

PER_SIZE = (8, 32, 128)
ITERATIONS = (1, 4, 16)
LENGTHS = (8, 16, 24, 32)
TIMED_PER_SIZE = 64
_REPEATS = 20


def analyse(subjects: list[Subject], num_frames: int, *, num_videos: int, seed: int) -> Report:
    """Correlation with exact values over the frames of a clip, by the coalitions of a size m and the iterations
    whose cells are pooled; the processor time of one iteration against the number of frames.

    The store's values for `num_frames` are to be exact. Times are those of the machine it runs on.
    """
    close: list[tuple[Any, ...]] = []
    timed: list[tuple[Any, ...]] = []
    for subject in subjects:
        close += _closeness(subject, num_frames, num_videos, seed)
        timed += _times(subject, num_videos)
    tables = {
        "g_closeness": Table(("model", "num_frames", "m", "iterations", "mean", "low", "high", "videos"), close),
        "g_time": Table(("model", "m", "num_frames", "milliseconds"), timed),
    }
    return Report(tables, {"g_closeness": lambda: _figure(tables["g_closeness"], tables["g_time"], subjects)})


def _closeness(subject: Subject, num_frames: int, num_videos: int, seed: int) -> list[tuple[Any, ...]]:
    game, videos = game_of(subject.model, prior=subject.prior), subject.features[num_frames][:num_videos]
    label = subject.label[: len(videos)]
    exact = subject.esv_of(num_frames, subject.label)[: len(videos)]
    rows = []
    for m in PER_SIZE:
        for iterations in ITERATIONS:
            estimator = esv_jax.stratified(per_size=m, iterations=iterations)
            plan = estimator.plan(num_frames, key=jax.random.key(seed))
            # One by one: a program for a single clip compiles in half the time, and most of the time is compiling.
            explain = jax.jit(functools.partial(esv_jax.explain, estimator, game))
            values = np.stack([explain(subject.model.variables, video, plan=plan).values for video in videos])
            per_video = agreement.pearson(removal.of_class(values, label), exact)
            per_video = per_video[np.isfinite(per_video)]
            rows.append((subject.name, num_frames, m, iterations, *with_interval(bootstrap.interval(per_video))))
    return rows


def _times(subject: Subject, num_videos: int) -> list[tuple[Any, ...]]:
    """Processor time of a video; what the frames hold does not matter to it, so those there are repeated."""
    game = game_of(subject.model, prior=subject.prior)
    source = subject.features[max(subject.features)][: min(num_videos, 8)]
    rows = []
    for num_frames in LENGTHS:
        videos = np.resize(source.transpose(1, 0, 2), (num_frames, len(source), source.shape[2])).transpose(1, 0, 2)
        estimator = esv_jax.stratified(per_size=TIMED_PER_SIZE)
        plan = jax.device_put(estimator.plan(num_frames, key=jax.random.key(0)))

        def run(videos: np.ndarray = videos, plan: Any = plan, estimator: Any = estimator) -> None:
            out = explain_batch(estimator, game, subject.model.variables, videos, plan=plan)
            jax.block_until_ready(out)

        run()
        took = []
        for _ in range(_REPEATS):
            start = time.process_time()
            run()
            took.append(time.process_time() - start)
        rows.append((subject.name, TIMED_PER_SIZE, num_frames, min(took) / len(videos) * 1000))
    return rows


def _figure(close: Table, timed: Table, subjects: list[Subject]) -> Any:
    figure, axes = charts.subplots(1, 2, 2.7)
    left, right = axes[0]
    for i, subject in enumerate(subjects):
        for j, count in enumerate(ITERATIONS):
            mine = close.where(model=subject.name, iterations=count)
            look = charts.style(i) | {"linestyle": charts.DASHES[j], "alpha": 1.0}
            word = "iteration" if count == 1 else "iterations"
            left.plot(mine.numbers("m"), mine.numbers("mean"), label=f"{subject.name}, {count} {word}", **look)
        mine = timed.where(model=subject.name)
        right.plot(mine.numbers("num_frames"), mine.numbers("milliseconds"), label=subject.name, **charts.style(i))
    left.set_xscale("log", base=2)
    left.set_xticks(PER_SIZE, [str(m) for m in PER_SIZE])
    left.minorticks_off()
    left.set(xlabel="m, coalitions of a size", ylabel="correlation with exact ESVs")
    left.legend(loc="lower right", fontsize=6.5)
    right.set(xlabel="frames shown", ylabel=f"processor time per clip, ms (m = {TIMED_PER_SIZE})", ylim=(0, None))
    right.set_xticks(LENGTHS)
    right.legend()
    return figure

"""g. The paper's approximation: how close to exact values, and how long it takes."""

import time
from typing import Any

import jax
import numpy as np

import esv_jax
from esv_jax.analyses import charts
from esv_jax.analyses.report import Report
from esv_jax.analyses.subject import Subject
from esv_jax.analyses.tables import Table, with_interval
from esv_jax.explaining.batch import explain_batch
from esv_jax.metrics import agreement, bootstrap, removal
from esv_jax.saved.game import game_of

PER_SIZE = (8, 32, 128)
ITERATIONS = (1, 4, 16)
LENGTHS = (8, 16, 24, 32)
TIMED_PER_SIZE = 64
_REPEATS = 20


def analyse(subjects: list[Subject], num_frames: int, *, num_videos: int, seed: int) -> Report:
    """Correlation with exact values over the frames of a clip, by the coalitions of a size m and the iterations whose
    cells are pooled; processor time by these, and against the number of frames.

    The store's values for `num_frames` are to be exact. Times are those of the machine it runs on.
    """
    close: list[tuple[Any, ...]] = []
    timed: list[tuple[Any, ...]] = []
    by_frames: list[tuple[Any, ...]] = []
    for subject in subjects:
        label = subject.label[:num_videos]
        exact = subject.esv_of(num_frames, subject.label)[:num_videos]
        for m in PER_SIZE:
            for count in ITERATIONS:
                values, milliseconds = _run(subject, subject.features[num_frames][:num_videos], m, count, seed)
                per_video = agreement.pearson(removal.of_class(values, label), exact)
                per_video = per_video[np.isfinite(per_video)]
                close.append((subject.name, num_frames, m, count, *with_interval(bootstrap.interval(per_video))))
                timed.append((subject.name, num_frames, m, count, milliseconds))
        for length in LENGTHS:
            # What the frames hold does not matter to the time, so those there are repeated.
            source = subject.features[max(subject.features)][:num_videos].transpose(1, 0, 2)
            videos = np.resize(source, (length, *source.shape[1:])).transpose(1, 0, 2)
            milliseconds = _run(subject, videos, TIMED_PER_SIZE, 1, seed)[1]
            by_frames.append((subject.name, length, TIMED_PER_SIZE, 1, milliseconds))
    tables = {
        "g_closeness": Table(("model", "num_frames", "m", "iterations", "mean", "low", "high", "videos"), close),
        "g_time": Table(("model", "num_frames", "m", "iterations", "milliseconds"), timed),
        "g_time_by_frames": Table(("model", "num_frames", "m", "iterations", "milliseconds"), by_frames),
    }
    return Report(tables, {"g_closeness": lambda: _figure(tables["g_closeness"], tables["g_time_by_frames"], subjects)})


def _run(subject: Subject, videos: np.ndarray, m: int, iterations: int, seed: int) -> tuple[np.ndarray, float]:
    """Values [B, T, C] of videos [B, T, D], and the processor time of a video in milliseconds."""
    game = game_of(subject.model, prior=subject.prior)
    estimator = esv_jax.stratified(per_size=m, iterations=iterations)
    plan = jax.device_put(estimator.plan(videos.shape[1], key=jax.random.key(seed)))

    def run() -> np.ndarray:
        return np.asarray(explain_batch(estimator, game, subject.model.variables, videos, plan=plan).values)

    values = run()
    took = []
    for _ in range(_REPEATS):
        start = time.process_time()
        run()
        took.append(time.process_time() - start)
    return values, min(took) / len(videos) * 1000


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

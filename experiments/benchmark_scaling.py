"""How the cost of attributions grows with the number of frames, exact and sampled, beside what it costs at least.

    esv-jax benchmark_scaling --out=out/scaling            (about 5 minutes on 2 cores)
    esv-jax benchmark_scaling --quick --out=out/scaling    (under 2 minutes)

Times are the best of some repetitions after compilation. They are also given in units of one 2048 x 2048 x 2048 float32
matrix product in NumPy, timed in the same run, so that figures of different days and machines compare.
The limits are counted, not measured: the multiply-adds that the answer needs at that product's rate, and the bytes that
must be written and read once at the rate of a large copy. `beside_milliseconds` is the best time beside another process
that never rests, at the lowest priority: machines that people use are not idle. Writes scaling.csv and scaling.png.
"""

import contextlib
import functools
import importlib.util
import math
import platform
import resource
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import flags

import esv_jax
from esv_jax import checks, models
from esv_jax.base import Plan
from esv_jax.benchmarks import peers
from esv_jax.results import pictures

from . import cli

OUT = cli.DEFINE_path("out", None, "Folder for scaling.csv and scaling.png.", required=True)
QUICK = flags.DEFINE_bool("quick", False, "Fewer and smaller cases.")
NUM_CLASSES = flags.DEFINE_integer("num_classes", 174, "C.", lower_bound=2)
FEATURE_DIM = flags.DEFINE_integer("feature_dim", 256, "D.", lower_bound=1)
HIDDEN_DIM = flags.DEFINE_integer("hidden_dim", 256, "H of every head.", lower_bound=1)
NUM_SCALES = flags.DEFINE_integer("num_scales", 8, "M.", lower_bound=1)
PER_SIZE = flags.DEFINE_integer("per_size", 64, "m of the sampled cases.", lower_bound=1)

UNIT_SIDE = 2048
COPY_BYTES = 2**25
# NumPy's threads keep a core busy for a while after a product.
PAUSE_SECONDS = 0.2
BATCH = 64
MANY_PER_SIZE = 1024
PEER_FRAMES = 16
# What `recommended` samples: players, evaluations, where exact values would take far more.
SAMPLED = ((14, 256), (16, 512))
BATCHED = f"exact, batch of {BATCH}"


class Case(NamedTuple):
    """One line of the table; `run` gives the attribution, `flops` and `num_bytes` are the least it can do."""

    model: str
    estimator: str
    num_frames: int
    flops: float
    num_bytes: float
    run: Callable[[], object]


def main() -> None:
    folder = cli.output_folder(OUT.value)
    print(
        f"{jax.devices()[0].device_kind}, {jax.device_count()} device(s), jax {jax.__version__}, {platform.machine()}"
    )
    rows = []
    for case in _cases():
        rows.append(_measure(case))
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "scaling.csv", index=False, lineterminator="\r\n")
    table = table.astype({"milliseconds": float, "units": float})
    for (model, estimator), mine in table.groupby(["model", "estimator"], sort=False):
        if estimator in ("stratified", "orderings"):
            print(f"{model}, {estimator}: time grows as T^{_slope(mine):.2f}")
    with pictures.drawing({}):
        pictures.save(_picture(table), folder / "scaling.png", dpi=150)
    print(f"{folder / 'scaling.csv'} and {folder / 'scaling.png'} written")


def _cases() -> Iterator[Case]:
    exact = {
        "tsn": (8, 12, 16) if QUICK.value else (8, 12, 16, 20, 24),
        "trn": (8, 12) if QUICK.value else (8, 12, 16, 20),
    }
    sampled = (8, 32, 128) if QUICK.value else (8, 16, 32, 64, 128, 256, 512, 1024)
    for model in ("tsn", "trn"):
        game, params = _game(model)
        for num_frames in exact[model]:
            yield _case(model, "exact", num_frames, esv_jax.exact(), game, params)
        flops, num_bytes = _least(model, exact[model][0], None)
        videos = jax.random.normal(jax.random.key(exact[model][0]), (BATCH, exact[model][0], FEATURE_DIM.value))
        explain_one = functools.partial(esv_jax.explain, esv_jax.exact(), game)
        run = functools.partial(jax.jit(jax.vmap(explain_one, in_axes=(None, 0))), params, videos)
        yield Case(model, BATCHED, exact[model][0], BATCH * flops, BATCH * num_bytes, run)
        if model == "tsn" and importlib.util.find_spec("shap") is not None:
            flops, num_bytes = _least(model, PEER_FRAMES, None)
            yield Case(model, "shap's ExactExplainer", PEER_FRAMES, flops, num_bytes, _peer(params))
        stratified = esv_jax.stratified(per_size=PER_SIZE.value)
        for num_frames in sampled:
            orderings = esv_jax.orderings(max_evaluations=PER_SIZE.value * num_frames)
            yield _case(model, "stratified", num_frames, stratified, game, params)
            yield _case(model, "orderings", num_frames, orderings, game, params)
        for num_frames, budget in SAMPLED:
            recommended = esv_jax.recommended(max_evaluations=budget)
            yield _case(model, f"recommended({budget})", num_frames, recommended, game, params)
        if not QUICK.value:
            many = esv_jax.stratified(per_size=MANY_PER_SIZE)
            yield _case(model, f"stratified m={MANY_PER_SIZE}", 64, many, game, params)


def _case(
    model: str, name: str, num_frames: int, estimator: esv_jax.Estimator, game: esv_jax.Game, params: object
) -> Case:
    plan = None if name == "exact" else estimator.plan(num_frames, key=jax.random.key(0))
    flops, num_bytes = _least(model, num_frames, plan)
    video = jax.random.normal(jax.random.key(num_frames), (num_frames, FEATURE_DIM.value))
    # As for many videos: the plan is on the device.
    run = functools.partial(esv_jax.explain, estimator, game, params, video, plan=jax.device_put(plan))
    return Case(model, name, num_frames, flops, num_bytes, run)


def _game(model: str) -> tuple[esv_jax.Game, object]:
    empty = np.full(NUM_CLASSES.value, 1 / NUM_CLASSES.value, np.float32)
    frames = jnp.zeros((2, FEATURE_DIM.value))
    if model == "tsn":
        tsn = models.TSN(num_classes=NUM_CLASSES.value)
        return esv_jax.tsn_game(tsn, empty=empty), tsn.init(jax.random.key(0), frames)
    trn = models.MultiscaleTRN(num_scales=NUM_SCALES.value, hidden_dim=HIDDEN_DIM.value, num_classes=NUM_CLASSES.value)
    return esv_jax.trn_game(trn, empty=empty, all_subsets=False), trn.init(jax.random.key(0), frames)


def _peer(params: Any) -> Callable[[], object]:
    """shap's exact values of the TSN's game, given the logits of the single frames."""
    tsn = models.TSN(num_classes=NUM_CLASSES.value)
    video = jax.random.normal(jax.random.key(PEER_FRAMES), (PEER_FRAMES, FEATURE_DIM.value))
    logits = np.asarray(tsn.apply(params, video, method="frame_logits"))

    def worths(mask: np.ndarray) -> np.ndarray:
        size = mask.sum(axis=1, keepdims=True)
        mean = mask.astype(logits.dtype) @ logits / np.maximum(size, 1)
        power = np.exp(mean - mean.max(axis=1, keepdims=True))
        return np.where(size > 0, power / power.sum(axis=1, keepdims=True), 1 / NUM_CLASSES.value)

    return lambda: peers.exact_explainer(worths, PEER_FRAMES)


def _least(model: str, num_frames: int, plan: Plan | None) -> tuple[float, float]:
    """(floating point operations, bytes) that the answer needs however it is computed.

    TRN: every frame through the first layer at every position it can take, a product of [H] x [H, C] and k additions
    of [H] for every coalition of k <= M frames, an addition of [C] for every pair of a coalition and its child; both:
    the worths weighed into the values. Bytes: the joint logits of every coalition written and read once (TRN), the
    per-frame tables and the result. TSN exact: the three products of
    `games.frame_mean_sums`.
    """
    num_classes, hidden, scales = NUM_CLASSES.value, HIDDEN_DIM.value, NUM_SCALES.value
    if plan is None:
        rows = {k: math.comb(num_frames, k) for k in range(1, num_frames + 1)}
        pairs = sum(k * n for k, n in rows.items())
    else:
        rows = dict(enumerate(plan.sizes, start=1))
        pairs = sum(int((children >= 0).sum()) for children in plan.lineage)
    total = sum(rows.values())
    if model == "tsn":
        table = 4 * num_frames * (FEATURE_DIM.value + 2 * num_classes)
        if plan is None:
            return 6.0 * total * num_classes, table
        return 4.0 * total * num_frames * num_classes, table + 4 * total * num_frames
    heads = sum(n * (2 * hidden * num_classes + k * hidden) for k, n in rows.items() if k <= scales)
    places = sum(k * (num_frames - k + 1) for k in range(1, min(scales, num_frames) + 1))
    heads += 2 * places * FEATURE_DIM.value * hidden
    weigh = 2 * num_frames * num_classes * total if plan is None else 4 * num_frames * num_classes * total
    return float(heads + pairs * num_classes + weigh), 8.0 * total * num_classes


def _measure(case: Case) -> dict[str, object]:
    jax.clear_caches()
    _forget_peak()
    start = time.perf_counter()
    jax.block_until_ready(case.run())
    first = time.perf_counter() - start
    best = _best_seconds(case)
    peak = _peak_megabytes()
    unit, copy = _unit_seconds(), _copy_seconds()
    with _busy_process():
        beside = _best_seconds(case)
    flop_seconds = case.flops / (2 * UNIT_SIDE**3) * unit
    byte_seconds = case.num_bytes / (2 * COPY_BYTES) * copy
    return {
        "model": case.model,
        "estimator": case.estimator,
        "frames": case.num_frames,
        "milliseconds": f"{1e3 * best:.3f}",
        "beside_milliseconds": f"{1e3 * beside:.3f}",
        "units": f"{best / unit:.4f}",
        "first_seconds": f"{first:.2f}",
        "of_flop_limit": f"{flop_seconds / best:.3f}",
        "of_byte_limit": f"{byte_seconds / best:.3f}",
        "peak_megabytes": peak,
        "unit_milliseconds": f"{1e3 * unit:.1f}",
    }


def _best_seconds(case: Case) -> float:
    seconds: list[float] = []
    time.sleep(PAUSE_SECONDS)
    while len(seconds) < 3 or (sum(seconds) < 2 and len(seconds) < 20):
        start = time.perf_counter()
        jax.block_until_ready(case.run())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@contextlib.contextmanager
def _busy_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "import os\nos.nice(19)\nwhile True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def _forget_peak() -> None:
    """Linux counts the peak anew from here; elsewhere peaks are those of the run so far."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_megabytes() -> int:
    """Of the process's memory, compiler and libraries included."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def _unit_seconds() -> float:
    a = np.random.default_rng(0).random((UNIT_SIDE, UNIT_SIDE), np.float32)
    return min(timeit.repeat(lambda: a @ a, number=1, repeat=4))


def _copy_seconds() -> float:
    source = np.zeros(COPY_BYTES, np.uint8)
    target = np.ones_like(source)
    return min(timeit.repeat(lambda: np.copyto(target, source), number=1, repeat=4))


def _slope(table: pd.DataFrame) -> float:
    """Exponent of T in the times, by least squares on logarithms."""
    return float(np.polyfit(np.log(table["frames"]), np.log(table["milliseconds"]), 1)[0])


def _picture(table: pd.DataFrame) -> Any:
    figure = checks.require("matplotlib.figure", extra="plots").Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    looks = {"tsn": ("o", "#0072B2", "TSN"), "trn": ("s", "#D55E00", "multi-scale TRN")}
    for estimator, dashes, how in (("exact", "-", "exact"), ("stratified", "--", f"sampled, m = {PER_SIZE.value}")):
        for model, (marker, colour, name) in looks.items():
            chosen = table[(table["model"] == model) & (table["estimator"] == estimator)]
            axes.loglog(chosen["frames"], chosen["units"], marker + dashes, color=colour, label=f"{name}, {how}")
    axes.set_xlabel("frames")
    axes.set_ylabel("time / time of one 2048³ matrix product")
    ticks = sorted(set(table["frames"]))
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    cli.run(main)

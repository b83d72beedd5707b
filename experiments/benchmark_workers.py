"""What workers cost and what they survive: waiting tasks, a set on processors, kills, devices, a large set.

    esv-jax benchmark_workers --out=out/workers

Prints a table for each part; --part=tasks,cpu,kills,devices,large chooses. Needs the extra `ray`. `kills` needs Linux.
Runs are whole commands, compute_esvs as a user gives it; times are medians of --repeats, plain and with workers in
turn.
"""

import contextlib
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from esv_jax import files, models
from esv_jax.data import feature_store
from esv_jax.explaining import on_ray
from esv_jax.saved import model_folder

from . import cli

PARTS = ("tasks", "cpu", "kills", "devices", "large")
PART = flags.DEFINE_multi_enum("part", list(PARTS), list(PARTS), "Parts; repeatable.")
OUT = cli.DEFINE_path("out", None, "Folder to write to.", required=True)
TASK_S = flags.DEFINE_float("task_seconds", 0.2, "tasks: how long one waits.", 0.01, 60.0)
WORKERS = flags.DEFINE_multi_integer("num_workers", [1, 8, 16], "tasks: numbers of workers; repeatable.", 1)
REPEATS = flags.DEFINE_integer("repeats", 3, "cpu: runs of each.", 1)
VIDEOS = flags.DEFINE_integer("videos", 2000, "cpu and kills: videos of the set.", 100)
LARGE = flags.DEFINE_integer("large_videos", 200_000, "large: videos of the set.", 100)

DIM, CLASSES = 64, tuple(f"class {c}" for c in range(20))
FRAMES, FRAMES_OF_LARGE = 14, 8
BATCH = 32  # videos of a chunk
WAIT_S = 300.0


class Ran(NamedTuple):
    """A command: seconds from its start, CPU seconds of it and of what it waited for, bytes it held at most."""

    wall: float
    cpu: float
    first_chunk: float
    last_chunk: float
    memory: int


def main() -> None:
    out = cli.output_folder(OUT.value)
    parts = {"tasks": _tasks, "cpu": _cpu, "kills": _kills, "devices": _devices, "large": _large}
    for name in PARTS:
        if name in PART.value:
            print(f"## {name}", flush=True)
            parts[name](out)


def _wait(given: float) -> Callable[[], float]:
    time.sleep(given)
    return lambda: given


def _tasks(_: Path) -> None:
    """Waiting tasks: the time that handing out takes."""
    print("| workers | tasks | s | share of the time that a worker waits |\n|--:|--:|--:|--:|")
    for count in WORKERS.value:
        tasks = 25 * count
        with on_ray.workers(count) as hired:
            dict(hired.executor(_wait, lambda _: 1.0, range(4 * count)))  # until all are there
            start = time.perf_counter()
            dict(hired.executor(_wait, lambda _: TASK_S.value, range(tasks)))
            seconds = time.perf_counter() - start
        print(f"| {count} | {tasks} | {seconds:.2f} | {tasks * TASK_S.value / count / seconds:.3f} |", flush=True)


def _cpu(out: Path) -> None:
    """A set on processors: one worker against this process."""
    _make_set(out, VIDEOS.value)
    _run(out, "warm")  # the compilation cache
    plain, worker = [], []
    for _ in range(REPEATS.value):
        plain.append(_run(out, "plain"))
        worker.append(_run(out, "worker", "--workers=1"))
    _check_same(out, "worker")
    print("| | s | s between first and last chunk | CPU s | first chunk after s |\n|---|--:|--:|--:|--:|")
    for name, runs in (("this process", plain), ("one worker", worker)):
        of_all = (
            statistics.median(values)
            for values in (
                [run.wall for run in runs],
                [run.last_chunk - run.first_chunk for run in runs],
                [run.cpu for run in runs],
                [run.first_chunk for run in runs],
            )
        )
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in of_all)} |", flush=True)


def _kills(out: Path) -> None:
    """SIGKILL while a set is computed: the store has to be that of the plain command."""
    _make_set(out, VIDEOS.value)
    _run(out, "plain")
    print("| killed | s without a chunk at most | the store is that of the plain command | left after 10 s |")
    print("|---|--:|---|--:|", flush=True)
    for what in ("a worker", "the driver, and the command again"):
        shutil.rmtree(out / "killed", ignore_errors=True)
        process = _started(out, "killed", "--workers=2")
        _wait_for_chunks(out / "killed", 6)
        if what == "a worker":
            os.kill(_workers_of(process.pid)[0], signal.SIGKILL)
            gap = _longest_gap(process, out / "killed")
            time.sleep(10)
            left = len(_workers_of(process.pid))
        else:
            process.kill()
            process.wait()
            time.sleep(10)
            left = len(_workers_of(process.pid))
            process = _started(out, "killed", "--workers=2")
            gap = _longest_gap(process, out / "killed")
        if process.wait(WAIT_S):
            sys.exit((out / "killed.log").read_text())
        _check_same(out, "killed")
        print(f"| {what} | {gap:.1f} | yes | {left} |", flush=True)


def _devices(out: Path) -> None:
    """Processors that stand for four devices, of as many threads as one."""
    _make_set(out, VIDEOS.value)
    for count in (1, 4):
        flags_of_xla = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}", "NPROC": "4"}
        _run(out, f"devices{count}", environment=flags_of_xla)
    _check_same(out, "devices4", "devices1")
    print("4 forced devices and 1, NPROC=4: the same store", flush=True)


def _large(out: Path) -> None:
    """Memory, and what each process does a chunk."""
    folder = out / "large"
    if not folder.exists():
        _write_features(folder, LARGE.value, FRAMES_OF_LARGE)
        _write_model(out)
    ran = _run(out, "large.zarr", "--workers=2", features=folder, num_frames=FRAMES_OF_LARGE)
    chunks = _chunk_files(out / "large.zarr")
    size = sum(file.stat().st_size for file in (out / "large.zarr").rglob("*") if file.is_file())
    print(
        f"{LARGE.value} videos, {len(chunks)} chunks, {size / 2**20:.0f} MiB: {ran.wall:.0f} s, first chunk after "
        f"{ran.first_chunk:.0f} s; the driver held at most {ran.memory / 2**20:.0f} MiB",
        flush=True,
    )


def _make_set(out: Path, count: int) -> None:
    if not (out / "features").exists():
        _write_features(out / "features", count, FRAMES)
        _write_model(out)


def _write_features(folder: Path, count: int, num_frames: int) -> None:
    rng = np.random.default_rng(0)
    header = feature_store.StoreHeader(DIM, "float16", CLASSES)
    with feature_store.create_or_append(folder, header) as writer:
        for i in range(count):
            features = rng.normal(size=(num_frames, DIM)).astype(np.float32)
            writer.append(f"v{i}", f"v{i}.webm", CLASSES[i % len(CLASSES)], "test", features)


def _write_model(out: Path) -> None:
    module = models.MultiscaleTRN(4, 32, len(CLASSES))
    variables = jax.jit(module.init)(jax.random.key(0), np.zeros((4, DIM), np.float32))
    options = {"num_scales": 4, "hidden_dim": 32, "num_classes": len(CLASSES)}
    prior = np.full(len(CLASSES), 1 / len(CLASSES), np.float32)
    card = model_folder.ModelCard("multiscale_trn", options, DIM, CLASSES, prior)
    model_folder.save_model(out / "trn", card, variables)


def _started(
    out: Path,
    name: str,
    *more: str,
    features: Path | None = None,
    num_frames: int = FRAMES,
    environment: dict[str, str] | None = None,
) -> Any:
    package = __package__ or "experiments"
    given = [f"--features={features or out / 'features'}", f"--model={out / 'trn'}", f"--out={out / name}"]
    options = [f"--num_frames={num_frames}", f"--batch_size={BATCH}", f"--compilation_cache={out / 'programs'}", *more]
    command = [sys.executable, "-m", f"{package}.compute_esvs", *given, *options]
    with (out / f"{name}.log").open("w") as log:
        return subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=log, stderr=log)


def _run(out: Path, name: str, *more: str, **options: Any) -> Ran:
    shutil.rmtree(out / name, ignore_errors=True)
    begun = time.time()
    process = _started(out, name, *more, **options)
    _, code, usage = os.wait4(process.pid, 0)
    wall = time.time() - begun
    if code:
        sys.exit((out / f"{name}.log").read_text())
    times = [file.stat().st_mtime - begun for file in _chunk_files(out / name)]
    return Ran(wall, _cpu_of(usage), min(times), max(times), usage.ru_maxrss * 1024)


def _cpu_of(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _check_same(out: Path, name: str, wanted: str = "plain") -> None:
    if files.digests(out / name) != files.digests(out / wanted):
        sys.exit(f"{out / name} is not the store that {out / wanted} is")


def _chunk_files(store: Path) -> list[Path]:
    return [*store.glob("num_frames=*/esv/c/*/0/0")]


def _wait_for_chunks(store: Path, count: int) -> None:
    end = time.monotonic() + WAIT_S
    while len(_chunk_files(store)) < count:
        if time.monotonic() > end:
            sys.exit(f"{store} has not got {count} chunks in {WAIT_S:.0f} s")
        time.sleep(0.05)


def _longest_gap(process: Any, store: Path) -> float:
    """Until it ends: the longest time in which no chunk came."""
    longest, last, count = 0.0, time.monotonic(), len(_chunk_files(store))
    while process.poll() is None:
        now_there = len(_chunk_files(store))
        if now_there != count:
            count, last = now_there, time.monotonic()
        longest = max(longest, time.monotonic() - last)
        time.sleep(0.05)
    return longest


def _workers_of(driver: int) -> list[int]:
    return [pid for pid, command in _processes(driver) if "ray::_Worker" in command]


def _processes(driver: int) -> Iterator[tuple[int, str]]:
    """Those that started after the driver did."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and int(folder.name) > driver:
                yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


if __name__ == "__main__":
    cli.run(main)

"""A storm: commands killed at random moments and started again, until they end; what they wrote is what it should be.

    KILLS=50 python -m pytest -m slow tests/slow        # 50 kills of each command, half an hour on two idle cores

Kills are spread over a command's life: one in five while it starts, the others after the first change in its folder.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from esv_jax.data import feature_store
from esv_jax.saved import DEMO_MODEL, model_folder
from tests.video.videos import write_video

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("KILLS", "50"))
SEED = 0
STARTING = 0.2  # share of the kills
ORPHANS_END_S = 2.0
MARK = f"ESV_JAX_STORM={os.getpid()}"  # which only what we start has in its environment
COMMANDS = {
    "compute_esvs": ["--num_frames=4", "--num_frames=6", "--batch_size=1"],
    "train": ["--epochs=30", "--num_frames=4", "--hidden_dim=32", "--save_every=0"],
    "extract_features": ["--num_processes=2"],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(0),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="orphans are found by /proc"),
]


class Life(NamedTuple):
    """Of an uninterrupted run: seconds to the first change in its folder, and from there to its end."""

    starting: float
    writing: float


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features with the demo's backbone, and clips."""
    root = tmp_path_factory.mktemp("inputs")
    backbone = model_folder.load_model(DEMO_MODEL).backbone
    classes = model_folder.read_card(DEMO_MODEL).classes
    dim = backbone.card.feature_dim
    header = feature_store.StoreHeader(
        dim, "float32", classes, model_folder.identity(backbone), backbone.card.preprocess
    )
    rng = np.random.default_rng(0)
    with feature_store.create_or_append(root / "features", header) as writer:
        for i in range(150):
            rows = rng.normal(size=(4 + i % 7, dim)).astype(np.float32)
            writer.append(f"v{i}", f"v{i}.mp4", classes[i % 5], "test" if i % 3 == 0 else "train", rows)
    model_folder.save_model(root / "features" / "backbone", backbone.card, backbone.variables)

    (root / "clips").mkdir()
    names = [f"{i}.mp4" for i in range(40)]
    for i, name in enumerate(names):
        write_video(root / "clips" / name, "mpeg4", 20 + i)
    lines = [f"{name},{'odd' if i % 2 else 'even'}" for i, name in enumerate(names)]
    (root / "clips" / "labels.csv").write_text("\n".join(["path,label", *lines, ""]))
    return root


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_and_started_again_a_command_ends_with_what_it_would_have_made(
    name: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rng = random.Random(f"{SEED} {name}")
    whole, out = tmp_path / "whole", tmp_path / "out"
    for _ in range(2):  # the first one compiles
        shutil.rmtree(whole, ignore_errors=True)
        life = uninterrupted(command(name, inputs, whole), whole)
    right = contents(whole)
    counts: Counter[str] = Counter()
    while counts["kills"] < KILLS or out.exists():
        log = tmp_path / "out.log"
        process = start(command(name, inputs, out), log)
        try:
            moment = killed(process, out, life, rng) if counts["kills"] < KILLS else None
            if moment is None:
                process.wait()
        finally:
            process.kill()
            process.wait()
        where = f"after {dict(counts)}, seed {SEED}"
        if moment is not None:
            left = orphans()
            counts.update({"kills": 1, moment: 1, "orphans": len(left)})
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            assert process.returncode == 0, f"{where}: {log.read_text()}"
            counts["ended"] += 1
            found = contents(out)
            differ = sorted(file for file in {*found, *right} if found.get(file, 0) != right.get(file, 0))
            assert not differ, f"{where}: {differ} in {out} differ from those in {whole}"
            shutil.rmtree(out)
    with capsys.disabled():
        print(f"\n{name} ({life.starting:.1f} s + {life.writing:.1f} s): {dict(counts)}")
    assert counts["orphans"] == 0


def command(name: str, inputs: Path, out: Path) -> list[str]:
    given = {
        "compute_esvs": [f"--features={inputs / 'features'}", f"--model={DEMO_MODEL}"],
        "train": [f"--features={inputs / 'features'}"],
        "extract_features": [f"--clips={inputs / 'clips'}", f"--labels={inputs / 'clips' / 'labels.csv'}"],
    }[name]
    # Compiled programs are kept, so that most of a life is writing.
    kept = f"--compilation_cache={inputs / 'compiled'}"
    return [sys.executable, "-m", f"experiments.{name}", *given, *COMMANDS[name], kept, f"--out={out}"]


def start(line: list[str], log: Path) -> subprocess.Popen:
    """Starts a command, what it says in a file: orphans would keep a pipe open."""
    environment = {**os.environ, **dict([MARK.split("=")]), "JAX_PLATFORMS": "cpu"}
    with log.open("w") as said:
        return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=said, stderr=said)


def uninterrupted(line: list[str], out: Path) -> Life:
    began, before = time.monotonic(), listing(out)
    log = out.with_suffix(".log")
    process = start(line, log)
    while listing(out) == before and process.poll() is None:
        time.sleep(0.01)
    changed = time.monotonic()
    assert process.wait() == 0, log.read_text()
    return Life(changed - began, time.monotonic() - changed)


def killed(process: subprocess.Popen, out: Path, life: Life, rng: random.Random) -> str | None:
    """Kills a process at a random moment, and says at which; None if it ended before."""
    before = listing(out)
    if rng.random() < STARTING:
        wait(process, rng.uniform(0, life.starting))
    else:
        delay = rng.uniform(0, life.writing)
        while listing(out) == before and process.poll() is None:
            time.sleep(0.01)
        wait(process, delay)
    if process.poll() is not None:
        return None
    process.kill()
    return "starting" if listing(out) == before else "writing"


def wait(process: subprocess.Popen, seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def orphans() -> list[int]:
    """The processes of a command that has been killed that still run 2 seconds later."""
    end = time.monotonic() + ORPHANS_END_S
    while (found := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_ours(pid)]) and (
        time.monotonic() < end
    ):
        time.sleep(0.05)
    return found


def is_ours(pid: int) -> bool:
    try:
        return MARK.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another's
        return False


def listing(folder: Path) -> set[tuple[str, int, int]]:
    """The files of a folder, their sizes and times."""
    found = set()
    for place, _, names in os.walk(folder):  # which passes over folders that are removed meanwhile
        for path in (Path(place, name) for name in names):
            with contextlib.suppress(OSError):  # renamed or removed meanwhile
                status = path.stat()
                found.add((str(path), status.st_size, status.st_mtime_ns))
    return found


def contents(folder: Path) -> dict[str, Any]:
    """All files by name, bytes or, of a model (whose weights' files have random names), its digest and its figures."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if "params" in name.parts:  # `load_model` finds what is missing, changed or too many
            continue
        if path.name == model_folder.CARD_FILE:
            model = model_folder.load_model(path.parent)
            found[str(name)] = model_folder.digest(model), model.card.provenance.get("figures")
        else:
            found[str(name)] = None if path.is_dir() else path.read_bytes()
    return found

"""Scripts with --workers: the files of the plain command, bit for bit; and what fails on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import esv_jax
from esv_jax.data import feature_store
from esv_jax.explaining import on_ray
from tests.data import object_store
from tests.experiments.scripts import run_script
from tests.experiments.test_compute_esvs import CLASSES, DIM, add_clips, root
from tests.explaining import ray_cluster
from tests.results.stores import files_of
from tests.video.videos import write_video

__all__ = ["root"]
ROOT = Path(__file__).parents[2]
LENGTHS = [6, 5, 9, 7, 5, 8, 6]
FAILING = """
import os
import numpy as np

def predict(clips):
    if (clips > 50).any() and os.path.exists("broken"):
        raise ValueError("no such frames, please\\nand a second line")
    return np.stack([clips.mean((1, 2)), clips[:, 0, 0], 0 * clips[:, 0, 0]], axis=1)

def factory():
    return predict
"""


@pytest.fixture
def compute(root, tmp_path, capsys, monkeypatch):
    def run(*flags, out, features=tmp_path / "features", model=root / "multiscale_trn"):
        given = [f"--features={features}", f"--model={model}", f"--out={tmp_path / out}", "--num_frames=4", *flags]
        return run_script("compute_esvs", *given, capsys=capsys, monkeypatch=monkeypatch)

    return run


def damage(features, uid):
    """Changes a bit of a clip's features."""
    store = feature_store.open_store(features)
    (clip,) = [clip for clip in store.clips if clip.uid == uid]
    with open(features / "features.bin", "r+b") as file:
        file.seek(clip.offset * DIM * 4 + 5)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


@pytest.fixture(scope="module")
def address():
    pytest.importorskip("ray")
    with ray_cluster.cluster(2) as cluster:
        yield cluster.address


def test_the_store_is_that_of_the_plain_command(root, tmp_path):
    """As a user runs it, on this machine alone; a video is damaged."""
    pytest.importorskip("ray")
    add_clips(tmp_path / "features", LENGTHS)
    damage(tmp_path / "features", "v3")

    def compute(out, *flags):
        given = [f"--features={tmp_path / 'features'}", f"--model={root / 'multiscale_trn'}", f"--out={tmp_path / out}"]
        options = [
            "--batch_size=2",
            "--num_frames=4",
            "--num_frames=6",
            "--estimator=orderings",
            "--max_evaluations=24",
        ]
        command = [sys.executable, "-m", "experiments.compute_esvs", *given, *options, "--max_evaluations=24", *flags]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)

    plain, on_workers = compute("plain"), compute("ray", "--workers=2")
    assert plain.returncode == on_workers.returncode == 1
    assert "  failed: v3: the clip v3 in " in plain.stdout
    assert plain.stdout == on_workers.stdout.replace(str(tmp_path / "ray"), str(tmp_path / "plain"))
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "plain")


def test_workers_that_have_no_disk_in_common_are_sent_what_they_need(tmp_path, compute, monkeypatch, address):
    add_clips(tmp_path / "features", LENGTHS)
    damage(tmp_path / "features", "v3")
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(on_ray._Crew, "sees", lambda self, path: False)
    assert compute("--batch_size=2", out="plain").exit_code == 1
    on_workers = compute("--workers=2", "--batch_size=2", out="ray")
    assert on_workers.exit_code == 1
    assert "workers busy" in on_workers.stderr
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "plain")


def test_a_video_that_fails_costs_no_other_one(tmp_path, compute):
    add_clips(tmp_path / "features", LENGTHS)
    assert compute("--batch_size=2", out="sound").exit_code == 0
    whole = esv_jax.results.open(tmp_path / "sound")
    for uid in ("v3", "v4"):
        damage(tmp_path / "features", uid)
    first = compute("--batch_size=2", out="s")
    again = compute("--batch_size=2", out="s")
    for ran in (first, again):
        assert ran.exit_code == 1
        assert "num_frames=4: 7 videos, 0 left out\n  failed: v3: " in ran.stdout
        assert ran.stderr.splitlines()[-1].startswith(
            f"error: 2 videos failed and have no values in {tmp_path / 's'}, v3 (4 frames), v4 (4 frames): the reasons "
        )
    dataset = esv_jax.results.open(tmp_path / "s")
    failed = json.loads(dataset.attrs["failed"])
    assert list(failed) == ["v3", "v4"]
    assert failed["v3"].startswith("the clip v3 in features is damaged: its features, or its line, are not those that")
    assert dataset["uid"].values.tolist() == ["v0", "v1", "v2", "v5", "v6"]
    np.testing.assert_array_equal(dataset["esv"], whole["esv"][[0, 1, 2, 5, 6]])
    # In the store itself the rows are there, and are no numbers.
    import zarr

    rows = zarr.open_group(tmp_path / "s", mode="r")["num_frames=4/esv"][:]
    assert np.isnan(rows).all(axis=(1, 2)).tolist() == [False] * 3 + [True] * 2 + [False] * 2


def test_what_failed_is_tried_again_if_that_is_asked_for(tmp_path, compute, monkeypatch):
    (tmp_path / "failing.py").write_text(FAILING)
    (tmp_path / "priors.csv").write_text("class,prior\n0,0.2\n1,0.3\n2,0.5\n")
    (tmp_path / "classes.csv").write_text("name,id\nrun,0\njump,1\nsit,2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken").touch()
    rng = np.random.default_rng(0)
    with feature_store.create_or_append("features", feature_store.StoreHeader(DIM, "float32", CLASSES)) as writer:
        for i in range(5):
            frames = rng.normal(size=(4, DIM)).astype(np.float32)
            writer.append(f"v{i}", "", "run", "test", np.where(i in (0, 3), frames + 100, frames))
    flags = ["--priors=priors.csv", "--classes=classes.csv", "--max_evaluations=16"]
    ran = compute(*flags, out="s", model="failing:factory")
    assert ran.exit_code == 1
    said = "the model raised ValueError: no such frames, please"
    assert f"  failed: v0: {said}\n  failed: v3: {said}\n" in ran.stdout
    before = files_of(tmp_path / "s")
    assert json.loads(before["num_frames=4/failed/3.json"]) == {"v3": said}
    (tmp_path / "broken").unlink()
    assert compute(*flags, out="s", model="failing:factory").exit_code == 1
    assert files_of(tmp_path / "s") == before
    assert compute("--retry_failed", *flags, out="s", model="failing:factory").exit_code == 0
    assert compute(*flags, out="whole", model="failing:factory").exit_code == 0
    assert files_of(tmp_path / "s") == files_of(tmp_path / "whole")


def test_where_all_fail_at_first_nothing_is_taken_for_a_fault_of_videos(tmp_path, compute):
    add_clips(tmp_path / "features", LENGTHS)
    for i in range(4):
        damage(tmp_path / "features", f"v{i}")
    ran = compute("--batch_size=1", out="s")
    assert ran.exit_code == 1
    assert "error: the first 3 videos failed, and none has values: " in ran.stderr
    assert not [name for name in files_of(tmp_path / "s") if "failed" in name or ("/c/0" in name and "esv" in name)]


def test_workers_without_ray_say_what_to_install(tmp_path, compute, monkeypatch):
    add_clips(tmp_path / "features", LENGTHS)
    monkeypatch.setitem(sys.modules, "ray", None)
    ran = compute("--workers=2", out="s")
    assert ran.exit_code == 1
    assert (
        ran.stderr == "error: the package 'ray' is needed for this and is not installed: pip install 'esv-jax[ray]'\n"
    )
    assert not os.path.exists(tmp_path / "s")


def test_by_time_is_for_this_process(tmp_path, compute):
    add_clips(tmp_path / "features", LENGTHS)
    ran = compute("--workers=2", "--by_time", out="s")
    assert "--by_time measures a model folder in this process, not --workers: say --max_evaluations" in ran.stderr


@pytest.mark.parametrize("seen", [True, False])
def test_features_are_those_of_the_plain_command(tmp_path, capsys, monkeypatch, address, seen):
    monkeypatch.setenv("RAY_ADDRESS", address)
    if not seen:
        monkeypatch.setattr(on_ray._Crew, "sees", lambda self, path: False)
    (tmp_path / "clips").mkdir()
    for i, length in enumerate((7, 3, 5, 4)):
        write_video(tmp_path / "clips" / f"{i}.avi", "mpeg4", length)
    (tmp_path / "clips" / "1.avi").write_bytes(b"no video")
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{i}.avi,run\n" for i in (2, 1, 3, 0)))

    def extract(out, *flags):
        given = [f"--clips={tmp_path / 'clips'}", f"--labels={tmp_path / 'labels.csv'}", f"--out={tmp_path / out}"]
        return run_script("extract_features", *given, *flags, capsys=capsys, monkeypatch=monkeypatch)

    plain = extract("plain", "--num_processes=0", "--batch_size=4")
    on_workers = extract("ray", "--workers=2", "--batch_size=4")
    assert plain.exit_code == on_workers.exit_code == 1
    assert "1 of 4 clips could not be used" in on_workers.stderr
    for name in ("store.json", "clips.csv", "features.bin"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_features_on_an_object_store(tmp_path, compute):
    add_clips(tmp_path / "features", LENGTHS)
    assert compute(out="here").exit_code == 0
    with object_store.serving() as put:
        object_store.put_store(put, tmp_path / "features", "mine")
        ran = compute(features="s3://lab/mine", out="there")
        assert ran.exit_code == 0, ran.stderr
        none = compute(features="s3://lab/none", out="none")
    here, there = (esv_jax.results.open(tmp_path / name) for name in ("here", "there"))
    np.testing.assert_array_equal(there["esv"], here["esv"])
    assert there["uid"].values.tolist() == here["uid"].values.tolist()
    assert none.stderr == "error: there is no feature store s3://lab/none: it has no store.json\n"


def test_coverage_is_that_of_the_plain_command(tmp_path, capsys, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)

    def measure(out, *flags):
        given = ["--game=pair", "--frames=5", "--evaluations=16", "--evaluations=24", "--runs=3", *flags]
        options = ["--estimator=regression", "--estimator=orderings", f"--out={tmp_path / out}"]
        ran = run_script("benchmark_coverage", *given, *options, capsys=capsys, monkeypatch=monkeypatch)
        assert ran.exit_code == 0, ran.stderr
        return pd.read_csv(tmp_path / out / "coverage.csv").drop(columns="seconds")

    pd.testing.assert_frame_equal(measure("ray", "--workers=2"), measure("plain"), rtol=1e-4)

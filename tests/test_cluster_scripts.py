"""The scripts for clusters in docs/cluster."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "cluster"


def test_the_job_of_slurm_starts_ray_everywhere_and_then_the_command(tmp_path):
    """With tools that only say how they are called; workers of a cluster are tested in test_on_ray.py."""
    for name in ("hostname", "srun", "ray"):
        said = "echo first" if name == "hostname" else f'echo "{name} $@" >> calls'
        (tmp_path / name).write_text(f"#!/bin/sh\n{said}\n")
        (tmp_path / name).chmod(0o755)

    def ran(num_nodes, *command):
        (tmp_path / "calls").write_text("")
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NUM_NODES": f"{num_nodes}"}
        script = [shutil.which("bash"), FOLDER / "slurm.sh", *command]
        run = subprocess.run(
            script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return run, (tmp_path / "calls").read_text().splitlines()

    run, calls = ran(3, "sh", "-c", "sleep 0.5; echo at $RAY_ADDRESS")
    assert run.stdout == "at first:6379\n", run.stderr
    assert calls == [
        "ray start --head --port=6379 --disable-usage-stats",
        "srun --nodes=2 --ntasks=2 --exclude=first ray start --address=first:6379 --disable-usage-stats --block",
        "ray stop",
    ]
    assert ran(1, "true")[1] == ["ray start --head --port=6379 --disable-usage-stats", "ray stop"]
    run, calls = ran(1, "false")
    assert run.returncode == 1
    assert calls[-1] == "ray stop"


def test_the_job_of_kuberay_is_one():
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    gpus = [group["replicas"] * _gpus(group) for group in spec["workerGroupSpecs"]]
    assert f"--workers={sum(gpus)} " in job["spec"]["entrypoint"]
    mounted = {m["mountPath"] for m in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert all(f"{path}/" in job["spec"]["entrypoint"] for path in mounted)


def _gpus(group):
    (container,) = group["template"]["spec"]["containers"]
    return container["resources"]["limits"]["nvidia.com/gpu"]

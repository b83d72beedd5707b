"""The wheel, in an empty folder: one top-level name, the command `esv-jax`, and the demo's model."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from esv_jax.procedural import files, scripts

ROOT = Path(__file__).parent.parent
SOURCES = ("esv_jax", "experiments", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, because setuptools leaves its build folder among the sources."""
    sources, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, sources / name)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    ran = subprocess.run([sys.executable, "-c", build], cwd=sources, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder of packages that the wheel alone is in, unpacked as pip would."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def python(installed, tmp_path):
    """Runs Python in an empty folder, where packages are the wheel's and those of this environment."""

    def run(code, *arguments):
        env = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def esv_jax_command(python):
    """Runs what pip would make the script `esv-jax` of."""
    script = "from importlib.metadata import entry_points as e; e(group='console_scripts')['esv-jax'].load()()"
    return lambda *arguments: python(script, *arguments)


def test_it_takes_no_top_level_name_but_its_own(wheel):
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"esv_jax"}


def test_it_is_what_runs_and_names_itself_in_what_it_records(python, installed):
    ran = python("from esv_jax.experiments import cli; print(cli.__file__); print(cli.command('train', 'x y'))")
    assert ran.stdout == f"{installed / 'esv_jax' / 'experiments' / 'cli.py'}\nesv-jax train 'x y'\n", ran.stderr


def test_alone_it_lists_every_script_with_a_line(esv_jax_command):
    ran = esv_jax_command()
    assert (ran.returncode, ran.stderr) == (0, "")
    listed = dict(line.split(maxsplit=1) for line in ran.stdout.splitlines()[2:])
    scripts = {path.stem for path in (ROOT / "experiments").glob("*.py") if "cli.run(main)" in path.read_text()}
    assert set(listed) == scripts
    assert listed["train"] == "Trains a head (TSN or multi-scale TRN) on the features of labelled clips."


@pytest.mark.parametrize(
    ("given", "hint"), [("explain-video", "did you mean explain_video?"), ("xyz", "esv-jax alone lists them")]
)
def test_an_unknown_command_is_one_sentence(esv_jax_command, given, hint):
    ran = esv_jax_command(given, "--out=out")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"error: there is no command {given!r}: {hint}\n"


def test_it_explains_a_clip_with_the_demos_model(esv_jax_command, tmp_path):
    pytest.importorskip("av")
    pytest.importorskip("PIL")
    pytest.importorskip("matplotlib")
    seed, index = 1, 0  # the demo's model has seen seed 0
    files.start(tmp_path, seed)
    files.write_clip(tmp_path, seed, index)
    ran = esv_jax_command("explain_video", f"--video={files.video_path(tmp_path, index)}", "--out=out")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("wrote report.png, page.html, attribution.npz and attribution.json to out\n")
    with np.load(tmp_path / "out" / "attribution.npz") as found:
        np.testing.assert_allclose(found["values"].sum(axis=0), found["full"] - found["empty"], atol=1e-5)
        assert found["class_names"][found["full"].argmax()] == scripts.CLASS_NAMES[index]
    told = json.loads((tmp_path / "out" / "attribution.json").read_text())["provenance"]
    assert told["model"]["name"] == "multiscale_trn"

"""The steps of reproduce, with scripts that are only said to have run."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from esv_jax import files
from tests.experiments.scripts import imported, run_script


@pytest.fixture
def reproduce(tmp_path, capsys, monkeypatch):
    """Runs it until --data's steps are done; gives what was run and how it ended. `fails` is a step that fails."""

    def run(*arguments, fails=None):
        ran = []

        def pretend(command, check):
            ran.append(command[2].removeprefix("experiments."))
            return SimpleNamespace(returncode=int(ran[-1] == fails))

        monkeypatch.setattr(subprocess, "run", pretend)
        out = (f"--out={tmp_path / 'out'}", f"--page={tmp_path / 'page.md'}")
        return ran, run_script("reproduce", *out, *arguments, capsys=capsys, monkeypatch=monkeypatch)

    return run


def test_a_step_that_failed_is_run_again_and_what_was_done_is_not(reproduce):
    ran, ended = reproduce(fails="train")
    assert ran == ["make_videos", "make_videos", "extract_features", "train"]
    assert ended.exit_code == 1
    assert "the step 'train tsn' failed" in ended.stderr
    ran, ended = reproduce(fails="analyse")
    assert ran == ["train", "train", "compute_esvs", "compute_esvs", "analyse"]
    assert "[features] done before" in ended.stdout


def test_two_runs_at_once_are_refused(reproduce, tmp_path):
    (tmp_path / "out").mkdir()
    with files.exclusive_lock(tmp_path / "out", f"the run in {tmp_path / 'out'}"):
        ran, ended = reproduce()
    assert ran == []
    assert ended.stderr == f"error: another process is writing the run in {tmp_path / 'out'}\n"


def test_a_run_with_other_flags_is_refused(reproduce):
    reproduce(fails="train")
    ran, ended = reproduce("--clips_per_class=50")
    assert ran == []
    assert ended.exit_code == 1
    assert "holds a run with other flags" in ended.stderr


def test_other_data(reproduce):
    _, ended = reproduce("--data=clips", "--clips=x")
    assert "--data=clips needs --labels" in ended.stderr
    ran, ended = reproduce("--data=tracks", "--tracks=x.csv", "--class_names=a,b", fails="train")
    assert ran == ["track_features", "train"]


def test_other_data_never_overwrites_the_page(tmp_path, capsys, monkeypatch):
    ended = run_script("reproduce", f"--out={tmp_path}", "--data=tracks", capsys=capsys, monkeypatch=monkeypatch)
    assert ended.exit_code == 1
    assert "needs --page" in ended.stderr


def test_the_page_tells_the_commands_with_their_folder_as_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r").mkdir()
    steps = {"train tsn": {"arguments": ["train", "--features=r/features", "--model=rest", "--out=r"]}}
    Path("r/steps.json").write_text(json.dumps(steps))
    with imported("reproduce") as module:
        told = module._commands(Path("r"))
    assert told == "python -m experiments.train --features=OUT/features --model=rest --out=OUT"

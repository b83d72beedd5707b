"""The steps of reproduce, with scripts that are only said to have run."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from esv_jax import files
from esv_jax.saved import model_folder
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


def test_other_data_gets_a_page_of_numbers(reproduce, tmp_path, monkeypatch):
    figures = {"accuracy": {"train": 1.0, "test": 0.75}, "clips": {"train": 60, "test": 8}}
    monkeypatch.setattr(model_folder, "read_card", lambda _: SimpleNamespace(provenance={"figures": figures}))
    analysis = tmp_path / "out" / "analysis"
    analysis.mkdir(parents=True)
    arguments = ("--data=tracks", "--tracks=x.csv", "--class_names=a,b", "--title=Tracks")
    assert "asks for 'scales'" in reproduce(*arguments)[1].stderr
    for name in (
        "scales",
        "supporting",
        "lengths",
        "mistakes",
        "areas",
        "dropped",
        "agreement",
        "closeness",
        "shuffled",
    ):
        (analysis / f"{name}.md").write_text(f"table of {name}")
    ran, _ = reproduce(*arguments)
    assert ran == []
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("### Tracks\n\n**Models**\n\n| model | clips | how many | accuracy, 8 frames |\n| --- |")
    assert "| multiscale_trn | test | 8 | 0.750 |\n\n**h. Accuracy for every number of frames**\n\ntable of sc" in text
    assert text.endswith("**Shuffled frames**\n\ntable of shuffled\n")

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from esv_jax.data import annotations
from esv_jax.procedural import scripts
from esv_jax.video import decode
from tests.experiments.scripts import run_script


@pytest.fixture
def make_videos(tmp_path, capsys, monkeypatch):
    def run(*arguments):
        return run_script(
            "make_videos", f"--out={tmp_path / 'set'}", *arguments, capsys=capsys, monkeypatch=monkeypatch
        )

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "videos").iterdir())}


def length_of(path):
    return decode.read_frames(path, [0]).num_frames_in_video


def test_one_held_out_clip_of_a_class(make_videos, tmp_path):
    ran = make_videos("--split=test", "--class_name=Something falling like a rock")
    assert ran.exit_code == 0
    [clip] = annotations.read_labels_csv(tmp_path / "set" / "labels.csv")
    assert (clip.label, clip.split) == ("Something falling like a rock", "test")
    assert str(clip.path) in ran.stdout
    assert length_of(clip.path) == len(scripts.script_of(0, int(clip.path.stem)).poses)


def test_more_clips_leave_the_first_as_they_are_and_missing_ones_are_made_again(make_videos, tmp_path):
    two_classes = ("--class_name=Something appearing", "--class_name=Moving something up")
    assert make_videos(*two_classes, "--clips_per_class=1").exit_code == 0
    first = contents(tmp_path / "set")
    assert list(first) == ["000002.webm", "000006.webm"]
    untouched, missing = (tmp_path / "set" / "videos" / name for name in first)
    missing.unlink()
    os.utime(untouched, ns=(0, 0))
    ran = make_videos(*two_classes, "--clips_per_class=2")
    assert "3 clips made, 4 in the folder" in ran.stdout
    assert untouched.stat().st_mtime_ns == 0
    second = contents(tmp_path / "set")
    assert first.items() <= second.items()
    assert {clip.split for clip in annotations.read_labels_csv(tmp_path / "set" / "labels.csv")} == {
        "test",
        "validation",
    }


def test_several_processes_draw_the_same_and_end_when_killed(make_videos, tmp_path):
    folder = tmp_path / "set"
    command = [sys.executable, "-m", "experiments.make_videos", f"--out={folder}", "--clips_per_class=2", "--workers=2"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("videos/*.webm"))) < 2:
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=60)  # the workers, which hold its stderr too, have ended
    made = len(list(folder.glob("videos/*.webm")))
    assert made < 34
    again = make_videos("--clips_per_class=2", "--workers=1")
    assert f"{34 - made} clips made, 34 in the folder" in again.stdout
    lengths = {int(path.stem): length_of(path) for path in folder.glob("videos/*.webm")}
    assert lengths == {number: len(scripts.script_of(0, number).poses) for number in range(34)}


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--class_name=Eating something", "--class_name should be one of .*'Eating something'"),
        ("--seed=1", "holds clips of the set .*choose another folder"),
        ("--clips_per_class=1000000000000", r"not an integer in the range \[1, 100000\]"),
    ],
)
def test_mistakes_are_told_in_a_sentence(make_videos, argument, said):
    assert make_videos("--split=test", "--class_name=Something appearing").exit_code == 0
    ran = make_videos("--split=test", argument)
    assert ran.exit_code == 1
    assert re.search(f"^(error|FATAL).*{said}", ran.stderr, re.MULTILINE)

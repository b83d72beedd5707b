import csv

import numpy as np
import pytest

from tests.experiments.scripts import run_script
from tests.results.stores import write

LENGTHS = {f"v{i}": 3 + i for i in range(5)}


@pytest.fixture
def export(tmp_path, capsys, monkeypatch):
    write(tmp_path / "s.zarr", LENGTHS)

    def run(*given, out="t.csv"):
        given = [f"--store={tmp_path / 's.zarr'}", f"--out={tmp_path / out}", *given]
        return run_script("export_esvs", *given, capsys=capsys, monkeypatch=monkeypatch)

    return run


def test_tables_and_npz_whatever_the_capitals_of_their_endings(tmp_path, export):
    ran = export("--class_name=sit", "--class_name=Sit", out="t.CSV")
    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout == f"wrote {tmp_path / 't.CSV'}: 5 videos, 2 frames of each\n"
    with (tmp_path / "t.CSV").open(encoding="utf-8", newline="") as file:
        assert [row["class_name"] for row in csv.DictReader(file)] == ["sit"] * 10
    assert export(out="t.NPZ").exit_code == 0
    with np.load(tmp_path / "t.NPZ", allow_pickle=False) as read:
        assert read["uid"].tolist() == list(LENGTHS)


@pytest.mark.parametrize(
    ("given", "out", "message"),
    [
        ([], "t.txt", "error: --out should end in .csv, or in .npz and have no --class_name, found "),
        (["--class_name=sit"], "t.npz", "error: --out should end in .csv, or in .npz and have no --class_name, found "),
        (["--class_name=sat"], "t.csv", "error: unknown class 'sat': the model knows 3 classes; close names are 'sit'"),
        (["--num_frames=8"], "t.csv", "error: {folder}/s.zarr holds values of 2 frames, not of 8"),
    ],
)
def test_mistakes(tmp_path, export, given, out, message):
    ran = export(*given, out=out)
    assert ran.exit_code == 1
    assert ran.stderr.startswith(message.format(folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_values_that_changed_are_not_exported(tmp_path, export):
    file = tmp_path / "s.zarr" / "num_frames=2" / "esv" / "c" / "2" / "0" / "0"
    file.write_bytes(bytes(file.stat().st_size))
    for out in ("t.csv", "t.npz"):
        ran = export(out=out)
        assert ran.exit_code == 1
        assert ran.stderr.startswith(f"error: {file} has changed since it was written: run the command that made it")
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]

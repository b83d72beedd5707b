import csv
import json

import numpy as np
import pytest

import esv_jax
from esv_jax.checks import InputError
from esv_jax.results import export
from tests.results.stores import write

LENGTHS = {f"v{i}": 3 + i for i in range(5)}


@pytest.fixture
def dataset(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS, sampled=True)
    return esv_jax.results.open(tmp_path / "s.zarr")


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_of_chosen_classes(tmp_path, dataset):
    export.save_csv(dataset, tmp_path / "t.csv", ["sit", "run"])
    lines = read(tmp_path / "t.csv")
    assert [(line["uid"], line["class_name"], line["frame"]) for line in lines] == [
        (uid, name, t) for uid in LENGTHS for name in ("sit", "run") for t in "01"
    ]
    for line in lines:
        v, t, c = int(line["uid"][1:]), int(line["frame"]), int(line["class"])
        assert np.float32(line["esv"]) == dataset["esv"].values[v, t, c]
        assert np.float32(line["std_error"]) == dataset["std_error"].values[v, t, c]
        assert np.float32(line["low"]) == dataset["low"].values[v, t, c]
        assert np.float32(line["high"]) == dataset["high"].values[v, t, c]
        assert np.float32(line["score"]) == dataset["score"].values[v, c]
        assert np.float32(line["prior"]) == dataset["prior"].values[c]
        assert int(line["frame_index"]) == dataset["frame_index"].values[v, t]
        assert int(line["label"]) == dataset["label"].values[v]


def test_csv_of_a_store_without_intervals_has_empty_cells(tmp_path, dataset):
    export.save_csv(dataset.drop_vars(["low", "high"]), tmp_path / "t.csv")
    assert {(line["low"], line["high"]) for line in read(tmp_path / "t.csv")} == {("", "")}


def test_csv_of_every_videos_own_class(tmp_path, dataset):
    export.save_csv(dataset, tmp_path / "t.csv")
    assert [(line["uid"], int(line["class"])) for line in read(tmp_path / "t.csv")[::2]] == [
        (uid, i % 3) for i, uid in enumerate(LENGTHS)
    ]


def test_a_class_named_twice_is_written_once(tmp_path, dataset):
    export.save_csv(dataset, tmp_path / "t.csv", ["sit", "SIT", "run", "sit"])
    assert [line["class_name"] for line in read(tmp_path / "t.csv")] == ["sit", "sit", "run", "run"] * len(LENGTHS)


@pytest.mark.parametrize(
    ("cell", "formula"),
    [
        *((text, True) for text in ("=1+1", "@sum", "\tx", "\r=1", "\n", "+1+1", "-cmd|' /C calc'!A0", "-SUM(A1)")),
        *((text, False) for text in ("-5KQ66BBWC4", "-5", "+1", "-a_b-c", "1e5", "a=b", "", "'", " lead", "é@")),
    ],
)
def test_cells_that_a_spreadsheet_runs(tmp_path, dataset, cell, formula):
    strange = dataset.assign(uid=("video", [cell, *dataset["uid"].values.tolist()[1:]]))
    assert export.is_formula(cell) == formula
    if formula:
        with pytest.raises(InputError, match=r"t.csv would have cells that a spreadsheet runs .*: write them as .npz"):
            export.save_csv(strange, tmp_path / "t.csv")
    else:
        export.save_csv(strange, tmp_path / "t.csv")
        assert read(tmp_path / "t.csv")[0]["uid"] == cell


def test_names_and_numbers_are_read_back_as_they_were(tmp_path):
    uids = ["0012", "a,b", "1e3", "nan", 'é "q"', "x/y.mp4", " lead", "-5KQ66BBWC4", "a\nb", "x" * 300]
    write(tmp_path / "odd.zarr", dict.fromkeys(uids, 3))
    dataset = esv_jax.results.open(tmp_path / "odd.zarr")
    export.save_csv(dataset, tmp_path / "t.csv")
    lines = read(tmp_path / "t.csv")
    assert [line["uid"] for line in lines[::2]] == uids
    for line in lines:
        v = uids.index(line["uid"])
        assert np.float32(line["esv"]) == dataset["esv"].values[v, int(line["frame"]), int(line["class"])]


def test_npz_holds_everything_without_pickles(tmp_path, dataset):
    export.save_npz(dataset, tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as file:
        assert set(file) == {*map(str, dataset.variables), "attributes"}
        for name in dataset.variables:
            np.testing.assert_array_equal(file[name], dataset[name].values)
        assert json.loads(str(file["attributes"])) == dataset.attrs


def test_mistakes(tmp_path, dataset):
    with pytest.raises(InputError, match="unknown class 'sat'"):
        export.save_csv(dataset, tmp_path / "t.csv", ["sat"])
    for save in (export.save_csv, export.save_npz):
        with pytest.raises(InputError, match=r"t cannot be written: No such file"):
            save(dataset, tmp_path / "nowhere" / "t")
    assert [file.name for file in tmp_path.iterdir()] == ["s.zarr"]

import csv
import io
import sys

import numpy as np
import pytest

from esv_jax import results
from esv_jax.checks import InputError
from esv_jax.results import export
from tests.results.stores import CLASSES, write

LENGTHS = {f"v{i}": 3 + i for i in range(5)}


@pytest.mark.parametrize("sampled", [False, True])
def test_it_holds_what_the_csv_of_all_classes_holds(tmp_path, sampled):
    write(tmp_path / "s.zarr", LENGTHS, sampled=sampled)
    export.save_csv(results.open(tmp_path / "s.zarr"), tmp_path / "t.csv", CLASSES)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    table = results.frame_table(tmp_path / "s.zarr")
    assert len(table) == len(rows) == 5 * 2 * 3
    for column, name in (("uid", "uid"), ("class", "class_name")):
        assert table[column].tolist() == [row[name] for row in rows]
    assert table["label"].tolist() == [CLASSES[int(row["label"])] for row in rows]
    for name in ("frame", "frame_index", "esv", "std_error", "score", "prior", "low", "high"):
        np.testing.assert_array_equal(table[name].to_numpy(np.float64), [float(np.float32(row[name])) for row in rows])


def test_chosen_classes_and_labels_that_are_not_known(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS)
    table = results.frame_table(tmp_path / "s.zarr", 2, ["sit", "Run", "sit"])
    assert table["class"].tolist()[:4] == ["sit", "sit", "run", "run"]
    whole = results.frame_table(tmp_path / "s.zarr")
    expected = whole[(whole["uid"] == "v3") & (whole["class"] == "run")]["esv"].to_numpy()
    found = table[(table["uid"] == "v3") & (table["class"] == "run")]["esv"].to_numpy()
    np.testing.assert_array_equal(found, expected)


def test_mistakes(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="there is no results store"):
        results.frame_table(tmp_path / "s.zarr")
    write(tmp_path / "s.zarr", LENGTHS)
    with pytest.raises(InputError, match="unknown class 'sat'"):
        results.frame_table(tmp_path / "s.zarr", classes=["sat"])
    module = sys.modules["esv_jax.results.frame_table"]  # whose name in the package is the function's
    monkeypatch.setattr(module, "MOST_ROWS", 29)
    with pytest.raises(InputError, match="would have 30 rows, and at most 29 are made"):
        results.frame_table(tmp_path / "s.zarr")

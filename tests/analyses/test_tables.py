import numpy as np
import pytest

from esv_jax.analyses import page, tables
from esv_jax.analyses.tables import Table
from esv_jax.checks import InputError
from esv_jax.metrics import bootstrap

TABLE = Table(("model", "n", "mean", "low", "high"), [("a", 1, 0.5, 0.25, 0.75), ("b, c", 2, -1.5, -2.0, 1e-9)])


def test_csv_there_and_back(tmp_path):
    tables.write(tmp_path / "t.csv", TABLE)
    assert tables.read(tmp_path / "t.csv") == TABLE
    assert (tmp_path / "t.csv").read_text().splitlines()[1] == "a,1,0.5,0.25,0.75"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("content", [None, "", "a,b\n1\n"])
def test_what_is_no_table(tmp_path, content):
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=r"t\.csv"):
        tables.read(tmp_path / "t.csv")


def test_choosing_and_showing():
    assert TABLE.where(model="b, c").column("n") == [2]
    np.testing.assert_array_equal(TABLE.numbers("mean"), [0.5, -1.5])
    assert tables.markdown(TABLE.where(n=1), digits=2).splitlines() == [
        "| model | n | mean | low | high |",
        "| --- | --- | --- | --- | --- |",
        "| a | 1 | 0.50 | 0.25 | 0.75 |",
    ]
    found = bootstrap.interval(np.array([[1.0, 2.0], [3.0, 2.0]]))
    assert tables.with_interval(found, (1,)) == (2.0, 2.0, 2.0, 2)


def test_pivot():
    rows = [("x", "TSN", 0.1, 0.0, 0.2), ("x", "TRN", 0.3, 0.2, 0.4), ("y", "TRN", 0.5, 0.5, 0.5)]
    found = page.pivot(Table(("method", "model", "mean", "low", "high"), rows), "method", ["model"])
    assert found.columns == ("method", "TSN", "TRN")
    assert found.rows == [
        ("x", "0.100 [0.000, 0.200]", "0.300 [0.200, 0.400]"),
        ("y", "", "0.500 [0.500, 0.500]"),
    ]


def test_template():
    assert page.filled_in("a {{x}} b {{y}} {{x}}", {"x": "1", "y": "2"}) == "a 1 b 2 1"
    with pytest.raises(InputError, match=r"asks for 'z', found \['x'\]"):
        page.filled_in("{{z}}", {"x": "1"})

"""How tables are written, and what the page of results shows of them."""

import csv
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from esv_jax.analyses import agreements, discarding, mistakes, positions, recorded, report, supporting
from esv_jax.analyses.report import MEAN, Report
from esv_jax.analyses.study import every_analysis
from esv_jax.checks import InputError
from esv_jax.metrics import bootstrap

HOME = Path(__file__).resolve().parents[2]
TABLE = pd.DataFrame([("a", 1, 0.5, 1e-9), ("b, c", 12, -1 / 3, 2e6 / 3)], columns=["model", "n", "mean", "x"])


def committed(name):
    """A table of docs/results, rows of str, int and float: numbers are what Python reads as such."""
    with (HOME / "docs" / "results" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        columns, *rows = csv.reader(file)
    text = ("model", "class", "clip", "true", "predicted", "runner_up", "method", "measure", "group")
    whole = (
        "videos",
        "num_frames",
        "frame",
        "position",
        "removed",
        "m",
        "iterations",
        "times",
        "worst_frame",
        "smooth",
    )
    kinds = []
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        number = column not in text and all(v.lstrip("-")[:1].isdigit() for v in values)
        kinds.append(
            str if not number else int if column in (*whole, "worst_position", "position_1", "position_2") else float
        )
    parsed = [[kind(value) for kind, value in zip(kinds, row, strict=True)] for row in rows]
    return pd.DataFrame(parsed, columns=columns)


COMMITTED = {path.stem: committed(path.stem) for path in sorted((HOME / "docs" / "results").glob("*.csv"))}


def test_names_that_look_like_something_else(tmp_path):
    names = ["1", "01", "NA", "nan", "a|b", "None"]
    numbers = [0.5, np.nan, 1.0, 2.0, 3.0, 4.0]
    report.save(tmp_path, Report({"t": pd.DataFrame({"model": names, "mean": numbers})}))
    found = report.read(tmp_path / "t.csv")
    assert found["model"].tolist() == names
    np.testing.assert_array_equal(found["mean"], numbers)
    assert report.markdown(found.iloc[4:5]).splitlines()[-1] == "| a\\|b | 3.000 |"


def test_csv_as_committed(tmp_path):
    report.save(tmp_path, Report(COMMITTED))
    for name in COMMITTED:
        assert (tmp_path / f"{name}.csv").read_bytes() == (HOME / "docs" / "results" / f"{name}.csv").read_bytes()


@pytest.mark.parametrize("name", list(every_analysis()))
def test_page_as_committed(name, tmp_path):
    """RESULTS.md holds every analysis's tables of the page, made of the numbers in docs/results."""
    module = importlib.import_module(f"esv_jax.analyses.{name}")
    if name == "portraits":
        assert not hasattr(module, "page")
        return
    report.save(tmp_path, Report({}, page=module.page(COMMITTED)))
    text, template = (
        (HOME / path).read_text(encoding="utf-8") for path in ("RESULTS.md", "experiments/results.template.md")
    )
    made = list(tmp_path.iterdir())
    assert made
    for path in made:
        assert f"\n\n{path.read_text(encoding='utf-8')}\n\n" in text
        assert "{{" + path.stem + "}}" in template


def test_csv(tmp_path):
    report.save(tmp_path, Report({"t": TABLE, "empty": TABLE[:0]}))
    assert (tmp_path / "t.csv").read_text() == 'model,n,mean,x\na,1,0.5,1e-09\n"b, c",12,-0.333333,666667\n'
    assert (tmp_path / "empty.csv").read_text() == "model,n,mean,x\n"


def test_markdown():
    assert report.markdown(TABLE[:1]).splitlines() == [
        "| model | n | mean | x |",
        "| --- | --- | --- | --- |",
        "| a | 1 | 0.500 | 0.000 |",
    ]
    # 0.1234999 is 0.1235 in a csv file, so 0.123 or 0.124 by its next digits; 0.0625 lies in the middle for certain.
    assert report.number(0.12349999) == format(0.1235, ".3f")
    assert report.number(0.062499999) == format(0.0625, ".3f") == "0.062"
    assert report.number(-1.66893e-06, ".1e") == "-1.7e-06"


def test_means():
    per_video = np.random.default_rng(0).normal(size=(9, 2))
    found = bootstrap.interval(per_video)
    expected = np.stack([found.mean, found.low, found.high, [9, 9]], axis=1)
    np.testing.assert_allclose(report.means(per_video), expected)
    np.testing.assert_allclose(report.mean(per_video[:, 1]), expected[1])


def test_pivot():
    rows = [("x", "TSN", 0.1, 0.0, 0.2), ("x", "TRN", 0.3, 0.2, 0.4), ("b", "TRN", 0.5, 0.5, 0.5)]
    table = pd.DataFrame(rows, columns=["method", "model", "mean", "low", "high"])
    assert report.pivot(table, "method", ["model"], "ESV against").to_dict("records") == [
        {"ESV against": "x", "TSN": "0.100 [0.000, 0.200]", "TRN": "0.300 [0.200, 0.400]"},
        {"ESV against": "b", "TSN": "", "TRN": "0.500 [0.500, 0.500]"},
    ]
    short = report.pivot(table[["method", "model", "mean"]], "model", ["method", "model"], "m")
    assert list(short.columns) == ["m", "x, TSN", "x, TRN", "b, TRN"]
    assert short["b, TRN"].tolist() == ["", "0.500"]


def test_template():
    assert report.filled_in("a {{x}} b {{y}} {{x}}", {"x": "1", "y": "2"}) == "a 1 b 2 1"
    with pytest.raises(InputError, match=r"asks for 'z', found \['x'\]"):
        report.filled_in("{{z}}", {"x": "1"})


def shown(module, name, **tables):
    return module.page(tables)[name].to_dict("records")


def test_areas_are_those_for_the_true_class_and_of_the_accuracy():
    rows = [
        ("A", ranked_by, "ESV", "highest", measure, mean, 0.0, 1.0, 9)
        for ranked_by, measure, mean in (
            ("predicted", "accuracy", 0.1),
            ("true", "accuracy", 0.2),
            ("true", "score of the true class", 0.3),
        )
    ]
    tables = {
        "e_areas": pd.DataFrame(rows, columns=["model", "ranked_by", "method", "first", "measure", *MEAN]),
        "e_dropped": COMMITTED["e_dropped"],
    }
    assert shown(discarding, "areas", **tables) == [{"method": "ESV", "A, highest": "0.200 [0.000, 1.000]"}]
    assert shown(discarding, "score_areas", **tables) == [{"method": "ESV", "A, highest": "0.300 [0.000, 1.000]"}]


def test_agreement_is_that_with_esvs():
    rows = [("A", "sign", "random", "ESV", 0.1, 0.0, 1.0, 9), ("A", "sign", "ESV", "random", 0.2, 0.0, 1.0, 9)]
    table = pd.DataFrame(rows, columns=["model", "measure", "method", "other", *MEAN])
    tables = {"f_agreement": table, "f_completeness": COMMITTED["f_completeness"]}
    assert shown(agreements, "agreement", **tables) == [{"ESV against": "random", "A, sign": "0.200 [0.000, 1.000]"}]


def test_evidence_tells_random_weights_from_trained_ones():
    columns = ["model", "method", "smooth", "ranking", "measure", *MEAN]
    trained = [
        ("A", "ESV", 1, "signed", measure, mean, 0.0, 1.0, 9)
        for measure, mean in (("AUROC", 0.7), (recorded.BEYOND_POSITION, 0.2), ("mass inside", 0.4))
    ]
    trained.append(("A", "ESV", 3, "signed", "AUROC", 0.8, 0.0, 1.0, 9))
    random = pd.DataFrame([("A", "ESV", 1, "signed", "AUROC", 0.5, 0.0, 1.0, 9)], columns=columns)
    tables = {"r_evidence": pd.DataFrame(trained, columns=columns), "s_random": random}
    assert shown(recorded, "evidence", **tables) == [
        {
            "values": "A: ESV",
            "signed, AUROC": "0.700 [0.000, 1.000]",
            f"signed, {recorded.BEYOND_POSITION}": "0.200 [0.000, 1.000]",
        },
        {
            "values": "A: ESV, mean of 3",
            "signed, AUROC": "0.800 [0.000, 1.000]",
            f"signed, {recorded.BEYOND_POSITION}": "",
        },
        {
            "values": "A: ESV of random weights",
            "signed, AUROC": "0.500 [0.000, 1.000]",
            f"signed, {recorded.BEYOND_POSITION}": "",
        },
    ]


def test_classes_named_as_totals_are_no_totals():
    rows = [("A", "total", "right", 0.1, 0.0, 1.0, 9), ("A", "class", "right", 0.2, 0.0, 1.0, 3)]
    table = pd.DataFrame(rows, columns=["model", "of", "group", *MEAN])
    assert shown(supporting, "supporting", a_supporting=table) == [{"clips": "right", "A": "0.100 [0.000, 1.000]"}]


def test_leanings_name_the_classes():
    columns = ["model", "class", *MEAN, "early", "middle", "late", "leans"]
    rows = [("A", name, 0.5, 0.4, 0.6, 9, 0.3, 0.3, 0.4, leans) for name, leans in (("x", "late"), ("y", "late"))]
    found = shown(positions, "leanings", b_by_class=pd.DataFrame(rows, columns=columns))
    assert [row["classes"] for row in found] == [0, 0, 2, 0]
    assert found[2] == {"model": "A", "leans": "late", "classes": 2, "which": "x; y"}


def test_no_mistakes_leave_a_table_without_rows():
    assert report.markdown(mistakes.page({"d_summary": COMMITTED["d_summary"][:0]})["mistakes"]) == (
        "| misclassified clips |\n| --- |"
    )

"""Other packages are held to their budget and heard, and the table of errors says what was measured."""

import warnings

import numpy as np
import pandas as pd
import pytest

import esv_jax
from esv_jax.benchmarks import black_box, games, peers, report


def test_worths_of_one_class_are_the_games(monkeypatch):
    case = games.transformer(0, 4)
    target = black_box.top_class(case)
    mask = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]], bool)
    expected = np.asarray(esv_jax.worths(*case, mask))
    assert target == expected[1].argmax()
    np.testing.assert_allclose(black_box.worths_of(case, target)(mask), expected[:, target], atol=1e-6)
    # Beyond so many frames there is no table.
    monkeypatch.setattr(black_box, "TABLE_FRAMES", 3)
    for other in (case, games.order(0, 4)):
        of_other = np.asarray(esv_jax.worths(*other, mask))[:, target]
        np.testing.assert_allclose(black_box.worths_of(other, target)(mask), of_other, atol=1e-6)


def test_evaluations_are_counted_and_no_more_than_allowed():
    worths = black_box.Counted(lambda rows: rows.sum(axis=1).astype(float), budget=3)
    assert worths(np.array([[1, 0], [1, 1]])).tolist() == [1, 2]
    assert worths(np.array([0, 1])).tolist() == [1]
    assert worths.evaluations == 3
    with pytest.raises(black_box.OverBudget, match="asked for 4 coalitions where 3 were allowed"):
        worths(np.array([0, 1]))


def test_each_different_warning_and_failure_is_said_once_by_the_peers_name():
    def peer(text, fails):
        warnings.warn(text, UserWarning, stacklevel=1)
        if fails:
            raise ValueError("too few: 7")
        return np.zeros(2)

    said = []
    listener = peers.Listener(said.append)
    assert listener.run("a", peer, "one tree alone, 24 rows\nand more", False).tolist() == [0, 0]
    listener.run("a", peer, "one tree alone, 48 rows", False)
    listener.run("b", peer, "one tree alone, 48 rows", False)
    assert listener.run("a", peer, "other", True) is None
    assert listener.run("a", peer, "other", True) is None
    assert said == [
        "a warns: one tree alone, 24 rows",
        "b warns: one tree alone, 48 rows",
        "a failed: ValueError: too few: 7",
        "a warns: other",
    ]


def runs_of(errors):
    """Runs of one cell by estimator: values off by the errors of a game whose values are 1."""
    rows = [
        ("tsn", 2, 64, name, "0", str(seed), 0.1, f"{1 + error} {1 + error}", "0.9 0.9", "1.1 1.5")
        for name, of_runs in errors.items()
        for seed, error in enumerate(of_runs)
    ]
    columns = ["game", "frames", "evaluations", "estimator", "instance", "seed", "seconds", "values", "low", "high"]
    return report.measured(pd.DataFrame(rows, columns=columns), {("tsn", 2, "0"): np.array([1.0, 1.2])})


def test_the_table_compares_medians_with_the_best_other(tmp_path, capsys):
    runs = runs_of({"recommended": [0.1, 0.2, 5.0], "shapiq a": [0.4, 0.1, 0.4], "shapiq b": [3.0, 3.0, 3.0]})
    expected = ((0.2**2 + 0.0**2) / 2) / ((1 + 1.2**2) / 2)
    np.testing.assert_allclose(runs.loc[1, "nmse"], expected)
    assert runs["covered"].tolist() == [1.0] * 9
    report.write(runs, tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "shapiq a" in table.splitlines()[2]
    medians = runs.groupby("estimator")["nmse"].median()
    ratio = medians["recommended"] / medians["shapiq a"]
    assert f"| {ratio:.2g} [" in table
    assert (tmp_path / "errors.png").exists()
    lost = int(ratio > 1.05)
    assert f"1 cells: `recommended` has more than 1.05 times the best other's error in {lost}" in table


def test_intervals_that_miss_are_counted():
    runs = runs_of({"recommended": [0.1]})
    assert runs["covered"].tolist() == [1.0]
    runs = report.measured(runs.assign(low="0.9 1.3", high="1.1 1.5"), {("tsn", 2, "0"): np.array([1.0, 1.2])})
    assert runs["covered"].tolist() == [0.5]
    runs = report.measured(runs.assign(low="", high=""), {("tsn", 2, "0"): np.array([1.0, 1.2])})
    assert runs["covered"].isna().all()

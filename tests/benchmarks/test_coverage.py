"""The figures of coverage, on made-up runs, and that the runs are those of the estimators."""

import jax
import numpy as np
import pandas as pd
import pytest

import esv_jax
from esv_jax.benchmarks import coverage, games
from tests.experiments.scripts import run_script


def test_figures_of_made_up_runs():
    """Two frames, two classes, four runs; the last cell's error is below 1 % of the largest, and is not counted."""
    exact = np.array([[1.0, 2.0], [3.0, 4.0]])
    error = np.array([[1, 2], [2, 0.001]]) * np.array([1, -1, 1, -1])[:, None, None]
    half = np.array([[2, 1], [4, 0]]) * np.ones((4, 1, 1))
    half[0, 0, 1] = 3  # one of four holds
    found = coverage.coverage(coverage.Runs(exact + error, exact + error - half, exact + error + half), exact)
    assert found.cells == 3
    assert found.mean == pytest.approx((1 + 0.25 + 1) / 3)
    assert found.worst == 0.25
    assert found.width == pytest.approx((2 / 1 + 1.5 / 2 + 4 / 2) / 3 / 1.96)
    assert found.nmse == pytest.approx((1 + 4 + 4) / (1 + 4 + 9 + 16), abs=1e-6)


def test_intervals_that_are_longer_on_one_side():
    exact = np.ones((1, 1))
    values = np.array([2.0, 0.0])[:, None, None]
    found = coverage.coverage(coverage.Runs(values, values - [[[3.0]]], values + 0.5), exact)
    assert (found.mean, found.worst) == (0.5, 0.5)
    assert found.width == pytest.approx(1.75 / 1.96)


def test_infinite_intervals_hold_everything_and_rounding_is_no_error():
    exact = np.ones((2, 2))
    wide = coverage.coverage(
        coverage.Runs(exact + np.ones((3, 1, 1)), np.full((3, 2, 2), -np.inf), np.full((3, 2, 2), np.inf)), exact
    )
    assert (wide.mean, wide.worst, wide.width) == (1, 1, np.inf)
    right = coverage.coverage(coverage.Runs(*(np.tile(exact + 1e-7, (3, 1, 1)),) * 3), exact)
    assert right.cells == 0
    assert np.isnan([right.mean, right.worst, right.width]).all()
    assert right.nmse < 1e-12


@pytest.mark.parametrize("name", ["transformer", "order", "demo"])
def test_a_tabulated_game_is_the_same_game(name):
    case = games.GAMES[name](0, 4)
    table = coverage.tabulated(case)
    mask = np.arange(1, 16)[:, None] >> np.arange(4) & 1
    np.testing.assert_allclose(esv_jax.worths(*table, mask), esv_jax.worths(*case, mask), atol=1e-6)


def test_runs_of_many_plans_are_those_of_each():
    case = coverage.tabulated(games.order(0, 6))
    estimator = esv_jax.regression(max_evaluations=30)
    runs = coverage.of_plans(estimator, case, 3)
    assert runs.values.shape == (3, 6, 20)
    alone = esv_jax.explain(estimator, *case, key=jax.random.key(2))
    for many, one in zip(runs, (alone.values, *alone.interval()), strict=True):
        np.testing.assert_allclose(many[2], one, atol=1e-6)


def test_the_script_measures_once_and_writes_a_table(tmp_path, capsys, monkeypatch):
    def run():
        return run_script(
            "benchmark_coverage",
            f"--out={tmp_path}",
            *("--game=pair", "--frames=6", "--evaluations=32", "--runs=3", "--estimator=regression"),
            capsys=capsys,
            monkeypatch=monkeypatch,
        )

    assert run().exit_code == 0
    rows = pd.read_csv(tmp_path / "coverage.csv")
    assert rows[["game", "frames", "evaluations", "estimator", "runs"]].to_numpy().tolist() == [
        ["pair", 6, 32, "regression", 3]
    ]
    assert rows["nmse"][0] < 1e-10
    assert "| pair | 6 | 32 | regression | 3 |" in (tmp_path / "table.md").read_text()
    again = run()
    assert again.exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "coverage.csv"), rows)


def test_frames_whose_exact_values_are_not_to_be_had_are_refused(tmp_path, capsys, monkeypatch):
    ran = run_script("benchmark_coverage", f"--out={tmp_path}", "--frames=20", capsys=capsys, monkeypatch=monkeypatch)
    assert ran.exit_code != 0
    assert "--frames should be at most 16" in ran.stderr

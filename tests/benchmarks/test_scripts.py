"""The benchmark of estimators as a command."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.experiments.scripts import imported, run_script


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (5, [10, 15, 20]),
        (12, [24, 36, 48, 128, 256, 512, 1024, 2048]),
        (32, [64, 96, 128, 256, 512, 1024, 2048]),
    ],
)
def test_budgets_begin_at_two_for_each_frame_and_end_below_all_coalitions(num_frames, expected):
    with imported("benchmark_estimators") as script:
        script.flags.FLAGS(["benchmark_estimators", "--out=nowhere"])
        assert script._budgets(num_frames) == expected


def test_runs_are_kept_and_not_repeated(tmp_path, capsys, monkeypatch):
    def run():
        return run_script(
            "benchmark_estimators",
            f"--out={tmp_path}",
            *("--game=step", "--frames=6", "--evaluations=20", "--seeds=2"),
            *("--estimator=regression", "--estimator=orderings"),
            capsys=capsys,
            monkeypatch=monkeypatch,
        )

    assert run().exit_code == 0
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert sorted(runs["estimator"]) == ["orderings", "orderings", "regression", "regression"]
    assert (runs["asked"] <= 20).all()
    again = run()
    assert again.exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "runs.csv"), runs)
    assert "| step | 6 | 20 |" in again.stdout


def test_the_benchmark_of_anyones_model_keeps_its_runs_and_says_what_was_aimed_at(tmp_path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("shap")

    def run():
        return run_script(
            "benchmark_host",
            f"--out={tmp_path}",
            *("--model=mlp", "--evaluations=60", "--seeds=2", "--part=errors"),
            capsys=capsys,
            monkeypatch=monkeypatch,
        )

    assert run().exit_code == 0
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert {"esv_jax", "shap KernelExplainer", "shap PermutationExplainer"} <= set(runs["estimator"])
    assert (runs["asked"] <= 60).all()
    again = run()
    assert again.exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "runs.csv"), runs)
    assert "| mlp | 60 |" in again.stdout
    assert "1 cells: ours has more than 1.05 times" in again.stdout
    cell = json.loads((tmp_path / "results.json").read_text())["errors"][0]
    assert cell["ratio"][0] == pytest.approx(cell["medians"]["esv_jax"] / cell["medians"][cell["best"]])


def test_the_relative_error_and_lines_of_the_benchmark_of_anyones_model():
    pytest.importorskip("shap")
    pytest.importorskip("sklearn")
    with imported("benchmark_host") as script:
        assert script.error(np.array([1.0, 2.0]), np.array([1.0, 1.0])) == pytest.approx(0.5**0.5)
        assert script.lines_of("mlp", "esv_jax") < script.lines_of("mlp", "shap KernelExplainer")


def test_the_benchmark_of_interactions_keeps_its_runs_and_counts_cells(tmp_path, capsys, monkeypatch):
    pytest.importorskip("shapiq")

    def run():
        return run_script(
            "benchmark_interactions",
            f"--out={tmp_path}",
            *("--game=pair", "--frames=6", "--evaluations=40", "--seeds=1"),
            capsys=capsys,
            monkeypatch=monkeypatch,
        )

    assert run().exit_code == 0
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert {"esv_jax", "shapiq KernelSHAP-IQ", "shapiq SVARM-IQ"} <= set(runs["estimator"])
    assert (runs["asked"] <= 40).all()
    again = run()
    assert again.exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "runs.csv"), runs)
    assert "| pair | 40 |" in again.stdout
    assert "1 cells: at most half of the best other's error in " in again.stdout

import numpy as np
import pandas as pd
import pytest

from esv_jax.benchmarks import report


def test_intervals_of_runs_that_hold_the_reference_are_counted():
    runs = pd.DataFrame(
        [("tsn", 3, "a", "1 2 3", "0 2.5 2", "2 3 3.5"), ("tsn", 3, "b", "1 2 3", "", "")],
        columns=["game", "frames", "instance", "values", "low", "high"],
    )
    found = report.measured(runs, {("tsn", 3, name): np.array([1.0, 2.0, 3.0]) for name in "ab"})
    assert found["covered"].tolist() == pytest.approx([2 / 3, np.nan], nan_ok=True)

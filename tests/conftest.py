"""All tests run with strict dtype and rank promotion; warnings are errors (pyproject.toml).

With NO_SKIPS in the environment, as in `.ci/run`, a test that is skipped, for want of a package or else, has failed.
"""

import os

import jax
import pytest

from tests import precision

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Runs the test with 64-bit types enabled."""
    with precision.x64():
        yield


def _refuse_skips(report):
    if report.skipped and os.environ.get("NO_SKIPS"):
        report.outcome, report.longrepr = "failed", f"skipped, where nothing may be: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _refuse_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _refuse_skips((yield))

"""All tests run with strict dtype and rank promotion; warnings are errors (pyproject.toml).

With NO_SKIPS in the environment, as in `.ci/run`, a test that is skipped, for want of a package or else, has failed.
"""

import gc
import os
from pathlib import Path

import jax
import pytest

from tests import precision

# Programs are compiled once for both workers, and not again when the tests are run again.
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".pytest_cache" / "programs"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
# A limit makes it lock files: without, one process reads what another has not finished writing, and crashes.
jax.config.update("jax_compilation_cache_max_size", 2**33)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_module():
    """Compiled programs are let go with the module that asked for them: those of all tests take 10 GB and more."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def x64():
    """Runs the test with 64-bit types enabled."""
    with precision.x64():
        yield


@pytest.fixture
def torch_alone(monkeypatch):
    """One thread, as both workers share the cores; and no model changes the settings of all others."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_, **__: None)
    yield
    torch.set_num_threads(before)


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


def pytest_terminal_summary(terminalreporter):
    told = [report for report in terminalreporter.stats.get("passed", []) if "test_bad_inputs.py::" in report.nodeid]
    if told:
        terminalreporter.write_line(f"{len(told)} kinds of bad input: one sentence each")

"""Runs the scripts of `experiments` in this process, as a shell would, without paying for an interpreter each time."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from absl import flags

import experiments
from experiments import cli


class Ran(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


@contextmanager
def imported(name: str) -> Iterator[object]:
    """The script's module, whose flags are forgotten afterwards: two scripts may define the same ones."""
    before, modules_before = set(flags.FLAGS), set(sys.modules)
    module = importlib.import_module(f"experiments.{name}")
    try:
        yield module
    finally:
        flags.FLAGS.remove_flag_values([flag for flag in flags.FLAGS if flag not in before])
        flags.FLAGS.unparse_flags()
        for new in set(sys.modules) - modules_before:
            package, _, module_name = new.rpartition(".")
            if package == "experiments":
                del sys.modules[new]
                delattr(experiments, module_name)


def run_script(name: str, *arguments: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """What `python -m experiments.NAME ARGUMENTS` prints and returns."""
    capsys.readouterr()
    with imported(name) as module, monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [f"experiments/{name}.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.run(module.main)
    code = ended.value.code
    printed = capsys.readouterr()
    return Ran(0 if code is None else int(code), printed.out, printed.err)

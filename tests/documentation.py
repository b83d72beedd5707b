"""Pages of the documentation: their blocks of code, found by headings, or run one after the other as written."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.experiments.scripts import run_script

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
NUMBER = re.compile(r"-?\d+\.?\d*")
# The last digits differ on other processors and with other versions, and bars of tables with them.
TOLERANCE = 0.011
BARS_AND_SPACE = re.compile(r"[█\s]+")


class Block(NamedTuple):
    """A fenced block, and what the page says that it prints: the block of text right behind it, or None."""

    language: str
    code: str
    prints: str | None


def read(name):
    """The text of a page in docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def sections(text):
    """Heading -> what stands below it."""
    return dict(re.findall(r"^##+ ([^\n]*)\n(.*?)(?=^##|\Z)", text, flags=re.DOTALL | re.MULTILINE))


def blocks(text):
    """The blocks of Python and of commands."""
    found = re.findall(r"```(python|sh)\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, flags=re.DOTALL)
    return [Block(language, code, prints or None) for language, code, prints in found]


def run(name, names, *, capsys, monkeypatch):
    """Runs a page's blocks in the folder that the process is in, and compares what they print with what the page says.

    Args:
      name: the page in docs/.
      names: what its Python takes as given; gets what it makes.
    """
    for block in blocks(read(name)):
        capsys.readouterr()
        if block.language == "python":
            exec(block.code, names)
            printed = capsys.readouterr().out
        else:
            printed = "".join(_command(line, capsys, monkeypatch) for line in _commands(block.code))
        if block.prints is not None:
            same(printed, block.prints)


def same(printed, told):
    """Words are equal, and numbers nearly."""
    said, written = (BARS_AND_SPACE.sub("", NUMBER.sub("#", text)) for text in (printed, told))
    assert said == written
    numbers, told_numbers = (np.array(NUMBER.findall(text), float) for text in (printed, told))
    np.testing.assert_allclose(numbers, told_numbers, atol=TOLERANCE)


def _commands(code):
    return [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]


def _command(line, capsys, monkeypatch):
    start, module, *arguments = shlex.split(line, comments=True)[1:]
    assert (start, module.split(".")[0]) == ("-m", "experiments"), line
    ran = run_script(module.split(".")[1], *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert ran.exit_code == 0, ran.stderr
    return ran.stdout

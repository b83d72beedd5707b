"""The README's Python runs as written, and what it says of the scripts is true of them."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tests import documentation

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs_and_its_values_add_up(monkeypatch):
    # Readers have JAX's defaults, not the strict promotion of our tests.
    monkeypatch.setattr("builtins.print", lambda *args: None)
    names = {}
    (code,) = documentation.python_blocks(README)
    exec(code, names)
    np.testing.assert_allclose(names["out"].values.sum(axis=0), names["out"].full - names["out"].empty, atol=1e-5)
    assert not names["out"].sampled


def test_more_from_python_runs_and_its_values_add_up(monkeypatch):
    monkeypatch.setattr("builtins.print", lambda *args: None)
    names = {}
    blocks = documentation.python_blocks(documentation.read("from_python.md"))
    assert len(blocks) == 4
    exec(blocks[0], names)
    np.testing.assert_allclose(names["out"].values.sum(axis=0), names["out"].full - names["out"].empty, atol=1e-5)
    exec(blocks[1], names)
    assert names["out"].std_error.shape == (8, 3)
    assert bool(jnp.isfinite(names["outs"].values).all())
    assert names["outs"].values.shape == (2, 8, 3)
    exec(blocks[2], names)
    exec(blocks[3], names)
    upper = np.triu_indices(8)
    np.testing.assert_allclose(
        names["pairs"].values[upper].sum(axis=0), names["out"].full - names["out"].empty, atol=1e-5
    )
    whole = np.stack([np.zeros(8, bool), np.ones(8, bool)])
    of_ends = names["esv_jax"].worths(names["game"], names["params"], names["video"], whole)
    np.testing.assert_allclose(of_ends, np.stack([names["out"].empty, names["out"].full]), atol=1e-6)


def test_interactions_of_the_guide():
    blocks = documentation.python_blocks(documentation.read("from_python.md"))
    names = {"key": jax.random.key(5)}
    exec(blocks[0], names)
    (code,) = documentation.python_blocks(documentation.read("interactions.md"))
    exec(code, names)
    assert names["out"].values.shape == (8, 8, 3)


def test_every_flag_in_the_readme_exists():
    used = set()
    for script, line in re.findall(r"python -m experiments\.(\w+)((?: \\\n|[^\n])*)", README):
        source = (ROOT / "experiments" / f"{script}.py").read_text(encoding="utf-8")
        for flag in re.findall(r"--(\w+)", line):
            assert f'"{flag}"' in source, f"{script} has no flag --{flag}"
            used.add((script, flag))
    assert len(used) >= 6


def test_files_that_the_readme_links_to_are_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link

"""The code of docs/questions.md runs as written, and its arithmetic gives its table."""

import re

import numpy as np
import pytest

from tests import documentation
from tests.interop import vlms

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PAGE = documentation.read("questions.md")
CALL, TOKENS, COSTS = documentation.python_blocks(PAGE)
KINDS = [name for name in vlms.MAKERS if name != "video_llama_3" or hasattr(transformers, "VideoLlama3Config")]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_call_is_of_ten_lines():
    assert len([line for line in CALL.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("kind", KINDS)
def test_the_call_of_every_model(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    case = vlms.case(kind)
    inputs = case.inputs(range(len(vlms.FRAMES) // case.merged))
    names = {"model": case.model, "inputs": inputs, "processor": case.tokenizer}
    # Exact, or a sample, as the suite's time allows.
    budget = 512 if case.merged == 2 else 64
    exec(CALL.replace("max_evaluations=512", f"max_evaluations={budget}"), names)
    out = names["out"]
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-5)
    assert len(out.values) == len(vlms.FRAMES) // case.merged + 5
    assert (tmp_path / "q7.esv").exists()
    assert "FirstLook(full=" in capsys.readouterr().out


def test_tokens_of_a_classifier():
    config = transformers.VideoMAEConfig(
        num_frames=8, image_size=32, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, num_labels=3
    )
    model = transformers.VideoMAEForVideoClassification(config)
    names = {"model": model, "empty": np.full(3, 1 / 3), "video": np.random.default_rng(0).normal(size=(8, 3, 32, 32))}
    exec(TOKENS, names)
    assert names["out"].values.shape == (4, 3)


def test_the_arithmetic_gives_the_table():
    names: dict = {}
    exec(COSTS, names)
    rows = re.findall(r"^\|[^|]*\(`([^`]*)`\) \| ([^\n]*) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 4
    for given, shown in rows:
        share, *seconds = names["costs"](*map(float, given.split(",")))
        told = [f"{x:.0f} s" if x < 100 else f"{x / 60:.1f} min" for x in seconds]
        assert " | ".join([f"{100 * share:.0f} %", *told]) == shown

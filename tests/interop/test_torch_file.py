"""Needs PyTorch; all that follows the reading of a file is tested without it."""

import os
import subprocess

import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.interop.torch_file import read_state_dict

torch = pytest.importorskip("torch")

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "bn.num_batches_tracked": torch.tensor(3)}
PREFIXED = {f"module.{name}": value for name, value in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [STATE, {"state_dict": STATE, "epoch": 3}, {"model": PREFIXED, "best": 0.5}, {"state_dict": PREFIXED}, PREFIXED],
)
def test_a_state_dict_wherever_it_is(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    found = read_state_dict(tmp_path / "x.pth")
    assert sorted(found) == sorted(STATE)
    np.testing.assert_array_equal(found["conv.weight"], np.float32([[0, 1, 2], [3, 4, 5]]))
    assert found["conv.weight"].dtype == np.float32
    assert found["bn.num_batches_tracked"] == 3


def test_files_of_before_pytorch_1_6(tmp_path):
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read_state_dict(tmp_path / "old.pth")["conv.weight"], STATE["conv.weight"].numpy())


def test_less_precise_floats_become_float32(tmp_path):
    torch.save({"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.ones(2, dtype=torch.float16)}, tmp_path / "x.pth")
    assert [value.dtype for value in read_state_dict(tmp_path / "x.pth").values()] == [np.float32] * 2


class Harmful:
    def __reduce__(self):
        return subprocess.run, (["touch", "harm"],)


def test_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": STATE, "options": Harmful()}, "x.pth")
    with pytest.raises(InputError, match=r"x.pth is not a PyTorch checkpoint, or holds more than weights"):
        read_state_dict("x.pth")
    assert os.listdir() == ["x.pth"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no tensors"),
        ([1, 2], "should hold a state dict, found list"),
        ({"state_dict": {"a": 3}}, "should hold tensors by name, found 'a' of type int"),
        ({"epoch": 3, "weights": STATE}, "should hold tensors by name, found 'epoch' of type int"),
    ],
)
def test_files_that_hold_no_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputError, match=message):
        read_state_dict(tmp_path / "x.pth")


def test_files_that_are_not_pytorchs(tmp_path):
    with pytest.raises(InputError, match="there is no checkpoint"):
        read_state_dict(tmp_path / "none.pth")
    torch.save(STATE, tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"path,label\n"):
        (tmp_path / "bad.pth").write_bytes(damaged)
        with pytest.raises(InputError, match=r"bad\.pth (is not|cannot be read as) a PyTorch checkpoint"):
            read_state_dict(tmp_path / "bad.pth")

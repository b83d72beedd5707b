"""Needs PyTorch; all that follows the reading of a file is tested without it."""

import gzip
import io
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.interop.torch_file import read_state_dict

torch = pytest.importorskip("torch")

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "bn.num_batches_tracked": torch.tensor(3)}
PREFIXED = {f"module.{name}": value for name, value in STATE.items()}


def before(prefix):
    return {prefix + name: value for name, value in STATE.items()}


OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": PREFIXED, "best": 0.5},
        {"state_dict": PREFIXED},
        PREFIXED,
        {"epoch": 3, "weights": STATE},
        {"model_state_dict": STATE, "optimizer_state_dict": OPTIMIZER, "loss": 0.3},
        {"model_state": STATE, "optimizer_state": OPTIMIZER, "cfg": "x"},
        {"net": STATE, "acc": 0.6},
        {"params": STATE},
        {"a name of its own": STATE, "optimizer": OPTIMIZER},
        {"checkpoint": {"model": STATE}, "epoch": 3},
        {"state_dict": before("model."), "optimizer_states": [OPTIMIZER], "pytorch-lightning_version": "2.0"},
        before("_orig_mod."),
        before("module._orig_mod.model.net."),
        {"model": {name.replace(".", "._orig_mod.", 1): value for name, value in STATE.items()}},
        {name.encode(): value for name, value in STATE.items()},
        {name: torch.nn.Parameter(value) if value.is_floating_point() else value for name, value in STATE.items()},
        STATE | {"conv.weight": STATE["conv.weight"].to_sparse()},
        STATE | {"conv.weight": torch.cat([torch.ones(1, 3), STATE["conv.weight"]])[1:]},
        STATE | {"conv.weight": torch._neg_view(-STATE["conv.weight"])},
        STATE | {"conv.weight": STATE["conv.weight"].to(torch.float8_e4m3fn)},
    ],
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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": STATE, "model_ema": before("x."), "epoch": 1}, "the weights are those of 'model', not 'model_ema'"),
        ({"model": STATE, "criterion": before("x.")}, "the weights are those of 'model', not 'criterion'"),
        ({"ema": STATE, "optimizer": OPTIMIZER}, "the weights are those of 'ema', an average of the model's"),
    ],
)
def test_which_of_several_is_read_is_said(tmp_path, caplog, content, said):
    torch.save(content, tmp_path / "x.pth")
    assert sorted(read_state_dict(tmp_path / "x.pth")) == sorted(STATE)
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path / 'x.pth'}: {said}"]


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
        ({"epoch": 3, **STATE}, "should hold tensors by name, found 'epoch' of type int"),
        ({3: STATE["conv.weight"]}, "should hold tensors by name, found 3 of type int"),
        (
            {"generator": STATE, "critic": STATE, "epoch": 1},
            "several state dicts \\('generator', 'critic'\\): save the",
        ),
        ({"a": STATE["conv.weight"] + 1j}, "'a' in .* is complex \\(torch.complex64\\)"),
        ({"a": torch.empty(5, 8, device="meta")}, "'a' in .* has a shape but no values"),
        (
            {name: torch.ones(1, dtype=torch.half).expand(2**27) for name in "abc"},
            "should hold at most 268,435,456 numbers, found 402,653,184",
        ),
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


def zipped(name, content, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html><title>Virus scan warning</title></html>", "is not .*, but an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "is not .*, but a Git LFS pointer"),
        (gzip.compress(b"weights"), "is not .*, but a gzip file"),
        ((26).to_bytes(8, "little") + b'{"a": {"dtype": "F32"...}}', "is not .*, but a safetensors file"),
        (pickle.dumps({"blobs": {"w": [1.0]}}, 2), "is not .*, but a pickle of something else"),
        (zipped("weights.txt", "1 2 3"), "is not .*, but a zip of something else"),
        (zipped("m/code/__torch__.py", "class M: ..."), "is not .*, but a TorchScript archive, which holds code"),
        (bytes(5000), "is not .*, but a file of zeros"),
        (zipped("x/data.pkl", bytes(10**7), zipfile.ZIP_DEFLATED), "is a compressed zip of 10,000,000 bytes"),
    ],
    ids=["html", "lfs", "gzip", "safetensors", "pickle", "zip", "torchscript", "zeros", "bomb"],
)
def test_files_of_another_kind_are_called_by_their_names(tmp_path, content, what):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=rf"x\.pth {what}"):
        read_state_dict(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions")
def test_quantised_weights_are_not_the_models(tmp_path):
    torch.save({"a": torch.quantize_per_tensor(STATE["conv.weight"], 0.1, 0, torch.qint8)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"'a' in .* is quantised"):
        read_state_dict(tmp_path / "x.pth")

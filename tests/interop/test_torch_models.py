"""Heads against PyTorch's own evaluation of the modules they come from. Needs PyTorch."""

import itertools

import numpy as np
import pytest

from esv_jax.interop import heads
from esv_jax.interop.torch_file import read_state_dict
from esv_jax.models import TRN

torch = pytest.importorskip("torch")

K, D, H, C = 3, 5, 7, 4


def sequential(num_hidden, batch_norm, input_relu, dropout):
    """Play Fair's TRN, its batch norms as they are after training."""
    layers, width = [torch.nn.Flatten()], K * D
    if input_relu:
        layers.append(torch.nn.ReLU())
    for _ in range(num_hidden):
        layers.append(torch.nn.Linear(width, H, bias=not batch_norm))
        if batch_norm:
            norm = torch.nn.BatchNorm1d(H)
            for values in (norm.weight.data, norm.bias.data, norm.running_mean):
                values.normal_()
            norm.running_var.uniform_(0.5, 2)
            layers.append(norm)
        layers.append(torch.nn.ReLU())
        if dropout:
            layers.append(torch.nn.Dropout(0.5))
        width = H
    layers.append(torch.nn.Linear(width, C))
    module = torch.nn.Module()
    module.model = torch.nn.Sequential(*layers)
    return module.eval()


@pytest.mark.parametrize(
    ("num_hidden", "batch_norm", "input_relu", "dropout"), [*itertools.product([1, 3], *[[False, True]] * 3)]
)
def test_a_trn_says_what_pytorchs_says(tmp_path, num_hidden, batch_norm, input_relu, dropout):
    torch.manual_seed(num_hidden)
    module = sequential(num_hidden, batch_norm, input_relu, dropout)
    torch.save({"model": {f"module.{n}": value for n, value in module.state_dict().items()}}, tmp_path / "trn.pth")
    imported = heads.trn(read_state_dict(tmp_path / "trn.pth"), "trn.pth", num_frames=K)
    clips = np.random.default_rng(0).normal(size=(6, K, D)).astype(np.float32)
    with torch.no_grad():
        expected = module.model(torch.from_numpy(clips)).numpy()
    np.testing.assert_allclose(TRN(**imported.options).apply(imported.variables, clips), expected, atol=1e-5)

"""Needs PyTorch; Hugging Face's models are tested as the page has them, in tests/test_any_model.py."""

import numpy as np
import pytest

import esv_jax
from esv_jax import InputError
from tests import oracles

torch = pytest.importorskip("torch")

T, C = 4, 3
EMPTY = np.full(C, 1 / C, np.float32)
VIDEO = np.random.default_rng(0).normal(size=(T, 2, 5, 6)).astype(np.float32)


class Net(torch.nn.Module):
    """Sees time and the axes of images, and has dropout."""

    def __init__(self, axes):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(T, 2, C, generator=generator))
        self.dropout, self.frozen, self.axes = torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(C).eval(), axes

    def forward(self, clips):
        assert not torch.is_grad_enabled()
        assert clips.dtype == self.weight.dtype
        return self.dropout(torch.einsum(f"{self.axes},tcs->bs", clips, self.weight))


def expected(video):
    weight = Net("btchw").weight.detach().numpy().astype(np.float64)

    def worth(coalition):
        if not coalition:
            return EMPTY
        rows = [min(coalition, key=lambda i: (abs(i - t), i)) for t in range(T)]
        return oracles.softmax(np.einsum("tchw,tcs->s", video[rows].astype(np.float64), weight))

    return oracles.permutation_shapley(worth, T)


@pytest.mark.parametrize("layout", ["BTCHW", "BCTHW", "TBCHW"])
def test_values_of_a_module_in_each_layout(layout):
    model = Net(layout.lower()).train()
    model.frozen.eval()
    modes = [module.training for module in model.modules()]
    game = esv_jax.torch_game(empty=EMPTY, layout=layout)
    for video in (VIDEO, torch.from_numpy(VIDEO)):
        out = esv_jax.explain(esv_jax.exact(), game, model, video)
        np.testing.assert_allclose(out.values, expected(VIDEO), atol=2e-5)
    assert [module.training for module in model.modules()] == modes == [True, True, False]


def test_other_precisions_are_those_of_the_parameters():
    model = Net("btchw").to(torch.bfloat16)
    out = esv_jax.explain(esv_jax.exact(), esv_jax.torch_game(empty=EMPTY), model, VIDEO)
    assert np.isfinite(out.values).all()
    assert out.values.dtype == np.float32


def test_an_archive_knows_the_weights(tmp_path):
    game, model = esv_jax.torch_game(empty=EMPTY), Net("btchw")
    esv_jax.explain(esv_jax.exact(), game, model, VIDEO, archive=tmp_path / "a.esv")
    with torch.no_grad():
        model.weight += 1
    with pytest.raises(InputError, match=r"a\.esv should be of this question, found one of model .*Net"):
        esv_jax.explain(esv_jax.exact(), game, model, VIDEO, archive=tmp_path / "a.esv")


@pytest.mark.parametrize(
    ("options", "model", "sentence"),
    [
        ({"layout": "BCHW"}, None, 'layout should name each axis once, like "BTCHW"'),
        ({"layout": "BTD", "removal": "blur"}, None, "blur is for layouts with H and W, found 'BTD'"),
        ({}, "resnet", r"the model should be a torch\.nn\.Module, found str"),
        (
            {"layout": "BTD"},
            torch.nn.Identity(),
            r"video should have the axes of the layout 'BTD' without B, found",
        ),
    ],
    ids=str,
)
def test_mistakes_are_told(options, model, sentence):
    with pytest.raises(InputError, match=sentence):
        esv_jax.explain(esv_jax.exact(), esv_jax.torch_game(empty=EMPTY, **options), model, VIDEO)


def test_one_clip_with_its_mask_is_no_view_that_cannot_be_written():
    class Masked(torch.nn.Module):
        def forward(self, clips, mask):
            clips += 0
            return (clips * mask[..., None]).sum(dim=1)

    video = np.ones((3, 2), np.float32)
    game = esv_jax.torch_game(
        empty=np.zeros(2, np.float32), removal="attention_mask", link="identity", layout="BTD", batch_size=1
    )
    out = esv_jax.explain(esv_jax.exact(), game, Masked(), video)
    np.testing.assert_allclose(out.values, np.ones((3, 2)), atol=1e-6)

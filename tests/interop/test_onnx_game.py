"""ONNX files as games, against their own arithmetic in NumPy."""

from pathlib import Path

import numpy as np
import pytest

import esv_jax
from esv_jax import InputError
from tests import oracles

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
T, D, C = 4, 3, 5
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(D, C)).astype(np.float32)
VIDEO = RNG.normal(size=(T, D)).astype(np.float32)
EMPTY = np.full(C, 0.2, np.float32)


def write(path, weights=WEIGHTS, *, batch="N", layout="BTD", outputs=("scores",), kind=onnx.TensorProto.FLOAT):
    """tanh(clips @ weights) summed over time."""
    helper = onnx.helper
    nodes = [
        helper.make_node("MatMul", ["clips", "w"], ["product"])
        if layout == "BTD"
        else helper.make_node("Einsum", ["clips", "w"], ["product"], equation="bdt,dc->btc"),
        helper.make_node("Tanh", ["product"], ["bent"]),
        helper.make_node("ReduceSum", ["bent", "axis"], [outputs[0]], keepdims=0),
        *(helper.make_node("Identity", ["bent"], [name]) for name in outputs[1:]),
    ]
    shape = [batch, T, D] if layout == "BTD" else [batch, D, T]
    given = helper.make_tensor_value_info("clips", kind, shape)
    found = [
        helper.make_tensor_value_info(name, kind, [batch, C] if i == 0 else [batch, T, C])
        for i, name in enumerate(outputs)
    ]
    constants = [
        helper.make_tensor("w", kind, [D, C], weights.ravel()),
        helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(nodes, "model", [given], found, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def worth(coalition, weights=WEIGHTS):
    if not coalition:
        return EMPTY
    frames = VIDEO[[min(coalition, key=lambda i: (abs(i - t), i)) for t in range(T)]].astype(np.float64)
    return oracles.softmax(np.tanh(frames @ weights).sum(axis=0))


@pytest.mark.parametrize("options", [{}, {"batch": 1}, {"batch": 4}, {"layout": "BDT"}, {"outputs": ["logits", "all"]}])
@pytest.mark.parametrize("as_session", [False, True])
def test_values_equal_the_permutation_oracle(tmp_path, options, as_session):
    path = write(tmp_path / "model.onnx", **options)
    game = esv_jax.onnx_game(empty=EMPTY, layout=options.get("layout", "BTD"), batch_size=6)
    model = pytest.importorskip("onnxruntime").InferenceSession(path) if as_session else path
    out = esv_jax.explain(esv_jax.exact(), game, model, VIDEO)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, T), atol=3e-6)


def test_an_archive_knows_what_is_in_the_file(tmp_path):
    path, archive = write(tmp_path / "model.onnx"), tmp_path / "a.esv"
    game = esv_jax.onnx_game(empty=EMPTY, layout="BTD")
    esv_jax.explain(esv_jax.exact(), game, path, VIDEO, archive=archive)
    write(path, 2 * WEIGHTS)
    with pytest.raises(InputError, match="found one of model "):
        esv_jax.explain(esv_jax.exact(), game, path, VIDEO, archive=archive)
    out = esv_jax.explain(esv_jax.exact(), game, path, VIDEO)
    np.testing.assert_allclose(out.full, worth(range(T), 2 * WEIGHTS), atol=1e-6)


def test_mistakes_are_told(tmp_path):
    def explain(path, **options):
        game = esv_jax.onnx_game(empty=EMPTY, **{"layout": "BTD", **options})
        esv_jax.explain(esv_jax.exact(), game, path, VIDEO)

    (tmp_path / "text.onnx").write_text("<html>")
    with pytest.raises(InputError, match=r"text\.onnx should be an ONNX model: "):
        explain(tmp_path / "text.onnx")
    with pytest.raises(InputError, match=r"missing\.onnx cannot be read"):
        explain(Path(tmp_path / "missing.onnx"))
    two = write(tmp_path / "two.onnx", outputs=["a", "b"])
    with pytest.raises(InputError, match="found a list of ndarray, ndarray: return the scores alone"):
        explain(two)
    explain(two, output="a")
    with pytest.raises(InputError, match="output should be one of the model's, a, b, found 'c'"):
        explain(two, output="c")
    with pytest.raises(InputError, match='layout should name each axis once, like "BTCHW"'):
        explain(two, layout="TD")
    with pytest.raises(InputError, match="removal should be one that changes clips, found 'attention_mask'"):
        explain(two, removal="attention_mask")
    game = esv_jax.onnx_game(empty=EMPTY, layout="BTD", removal="zero")
    with pytest.raises(InputError, match="video should be one array, found the modalities frames"):
        esv_jax.explain(esv_jax.exact(), game, two, {"frames": VIDEO})
    with pytest.raises(InputError, match="video should have the axes of the layout 'BTCHW' without B"):
        explain(two, layout="BTCHW")

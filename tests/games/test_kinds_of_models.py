"""Models of other packages as host games, in a few lines; scikit-learn and onnxruntime where they are installed."""

import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from tests import oracles

T, D, C = 5, 4, 3
RNG = np.random.default_rng(0)
VIDEO = RNG.normal(size=(T, D)).astype(np.float32)
WEIGHTS = RNG.normal(size=(D, C)).astype(np.float32)
EMPTY = np.full(C, 0.2, np.float32)


def check(game, model, worth, empty=EMPTY):
    """Exact values are those of `worth` [D, C or 1] of the nearest kept frames [T, D]."""

    def of(coalition):
        if not coalition:
            return empty
        return worth(VIDEO[[min(coalition, key=lambda i: (abs(i - t), i)) for t in range(T)]])

    out = esv_jax.explain(esv_jax.exact(), game, model, VIDEO)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(of, T), atol=1e-5)


def test_a_pipeline_of_scikit_learn():
    pipeline = pytest.importorskip("sklearn.pipeline")
    linear = pytest.importorskip("sklearn.linear_model")
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler()
    model = pipeline.make_pipeline(scaler, linear.LogisticRegression())
    model.fit(RNG.normal(size=(60, T * D)), np.arange(60) % C)

    game = esv_jax.host_game(lambda model, clips: model.predict_proba(clips.reshape(len(clips), -1)), empty=EMPTY)
    check(game, model, lambda frames: model.predict_proba(frames.reshape(1, -1))[0])


def test_a_session_of_onnxruntime():
    helper = pytest.importorskip("onnx.helper")
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    weights = helper.make_tensor("w", onnx.TensorProto.FLOAT, [D, C], WEIGHTS.ravel())
    nodes = [
        helper.make_node("MatMul", ["clips", "w"], ["scores"]),
        helper.make_node("Tanh", ["scores"], ["bent"]),
        helper.make_node("ReduceSum", ["bent", "axis"], ["logits"], keepdims=0),
    ]
    axis = helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("clips", ["N", T, D]), ("logits", ["N", C]))
    ]
    graph = helper.make_graph(nodes, "model", values[:1], values[1:], [weights, axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    game = esv_jax.host_game(lambda session, clips: session.run(None, {"clips": clips}), empty=EMPTY, link="softmax")
    check(game, session, lambda frames: oracles.softmax(np.tanh(frames @ WEIGHTS).sum(axis=0)))


def test_jax_that_cannot_be_traced():
    def predict(weights, clips):
        return jnp.stack([clip.sum(axis=0) @ weights if float(clip[0, 0]) > 0 else clip[0] @ weights for clip in clips])

    def worth(frames):
        return (frames.sum(axis=0) if frames[0, 0] > 0 else frames[0]) @ WEIGHTS

    check(esv_jax.host_game(predict, empty=EMPTY), WEIGHTS, worth)


def test_one_of_the_steps_of_a_model_that_says_something_at_each():
    def steps(weights, clips):
        return np.cumsum(clips, axis=1) @ weights  # [N, T, C]

    game = esv_jax.host_game(lambda weights, clips: steps(weights, clips)[:, 2], empty=EMPTY, link="softmax")
    check(game, WEIGHTS, lambda frames: oracles.softmax(frames[:3].sum(axis=0) @ WEIGHTS))
    whole = esv_jax.host_game(steps, empty=EMPTY)
    with pytest.raises(esv_jax.InputError, match=r"found ndarray \[1, 5, 3\]: choose a time step"):
        esv_jax.explain(esv_jax.exact(), whole, WEIGHTS, VIDEO)


def test_a_regression_and_labels_that_do_not_exclude_one_another():
    regression = esv_jax.host_game(lambda weights, clips: np.tanh(clips @ weights[:, 0]).sum(axis=1), empty=[0.5])
    check(regression, WEIGHTS, lambda frames: np.tanh(frames @ WEIGHTS[:, :1]).sum(axis=0), np.array([0.5]))
    labels = esv_jax.host_game(lambda weights, clips: clips.mean(axis=1) @ weights, empty=EMPTY, link="sigmoid")
    check(labels, WEIGHTS, lambda frames: 1 / (1 + np.exp(-(frames.mean(axis=0) @ WEIGHTS))))

import jax
import numpy as np
import pytest

from esv_jax import InputError
from esv_jax.models import TSN
from tests.models.oracles import float64, randomised

FRAMES = np.random.default_rng(0).normal(size=(5, 6))


@pytest.mark.parametrize("input_relu", [False, True])
def test_logits_are_the_mean_of_linear_logits_of_frames(x64, input_relu):
    model = TSN(num_classes=4, input_relu=input_relu)
    variables = randomised(jax.eval_shape(model.init, jax.random.key(0), FRAMES))
    params = float64(variables)["params"]
    x = np.maximum(FRAMES, 0) if input_relu else FRAMES
    expected = np.array([x[i] @ params["kernel"] + params["bias"] for i in range(5)])
    np.testing.assert_allclose(model.apply(variables, FRAMES, method="frame_logits"), expected, rtol=1e-12)
    np.testing.assert_allclose(model.apply(variables, FRAMES), expected.mean(axis=0), rtol=1e-12)


def test_dropout_is_of_features_and_of_training_only():
    model = TSN(num_classes=4, dropout=0.5)
    frames = np.ones((200, 6), np.float32)
    variables = randomised(jax.eval_shape(model.init, jax.random.key(0), frames))
    still = model.apply(variables, frames, method="frame_logits")
    np.testing.assert_array_equal(still[0], still[1])
    dropped = model.apply(variables, frames, train=True, method="frame_logits", rngs={"dropout": jax.random.key(1)})
    kept = variables["params"]["kernel"] * 2
    subsets = np.array([[(n >> d) & 1 for d in range(6)] for n in range(64)], np.float32)
    possible = subsets @ kept + variables["params"]["bias"][None]
    distance = abs(np.asarray(dropped)[:, None] - possible[None]).max(axis=2)
    assert distance.min(axis=1).max() < 1e-5
    assert len(set(distance.argmin(axis=1))) > 40


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_follows_the_variables(x64, dtype):
    model = TSN(num_classes=4)
    variables = model.init(jax.random.key(0), FRAMES.astype(dtype))
    wanted = np.float64 if dtype == np.float64 else np.float32
    assert variables["params"]["kernel"].dtype == wanted
    for given in (np.float16, np.float32, np.float64):
        assert model.apply(variables, FRAMES.astype(given)).dtype == wanted


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (FRAMES[0], r"frames should have shape \[T, D\], found \[6\]"),
        (FRAMES[:0], r"frames should hold at least one frame, found shape \[0, D\]"),
        (FRAMES.astype(np.int32), "frames should be floating point"),
    ],
)
def test_wrong_frames(frames, message):
    with pytest.raises(InputError, match=message):
        TSN(num_classes=4).init(jax.random.key(0), frames)

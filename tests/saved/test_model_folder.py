import errno
import json
import os
import shutil

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import InputError, files, trees
from esv_jax.models import TSN, MultiscaleTRN
from esv_jax.models.backbones.frame_cnn import SIZE, FrameCNN
from esv_jax.models.backbones.mobilenet_v1 import MobileNetV1
from esv_jax.saved import DEMO_MODEL, model_folder
from esv_jax.saved.game import game_of
from esv_jax.saved.model_folder import Model, ModelCard
from esv_jax.video.preprocess import Preprocess
from tests.models.oracles import randomised

FRAMES = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
TRN_OPTIONS = {"num_scales": 2, "hidden_dim": 5, "num_classes": 3, "batch_norm": True}
CLASSES = ("opening", "closing", "Öffnen, nicht schließen")


def variables_of(module, example):
    return randomised(jax.eval_shape(module.init, jax.random.key(0), example))


def backbone():
    module = FrameCNN(feature_dim=6, channels=(2, 3, 4, 5))
    images = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    preprocess = Preprocess(SIZE + 8, SIZE, (127.5,) * 3, (63.75,) * 3)
    card = ModelCard("frame_cnn", {"feature_dim": 6, "channels": (2, 3, 4, 5)}, 6, preprocess=preprocess)
    return Model(card, module, variables_of(module, images))


def head(**card):
    module = MultiscaleTRN(**TRN_OPTIONS)
    prior = np.array([0.1, 0.7, 0.2], np.float32)
    fields = {"kind": "multiscale_trn", "options": TRN_OPTIONS, "feature_dim": 6, "classes": CLASSES, "prior": prior}
    return Model(ModelCard(**{**fields, **card}), module, variables_of(module, FRAMES))


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture
def saved(tmp_path):
    model = head()
    model_folder.save_model(tmp_path / "model", model.card, model.variables)
    return tmp_path / "model"


def edit(folder, **fields):
    path = folder / "model.json"
    content = json.loads(path.read_text(encoding="utf-8")) | {"digest": "gone"} | fields
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "gone"}))


def test_a_model_comes_back_as_it_was(tmp_path):
    below = backbone()
    named = {"name": "frame_cnn", "digest": model_folder.digest(below)}
    model = head(backbone=named, provenance={"command": "train", "seed": 3})
    model_folder.save_model(tmp_path / "model", model.card, model.variables, backbone=below)
    shutil.move(tmp_path / "model", tmp_path / "elsewhere")
    read = model_folder.load_model(tmp_path / "elsewhere")
    assert read.card._replace(prior=None) == model.card._replace(prior=None)
    np.testing.assert_array_equal(read.card.prior, model.card.prior)
    assert read.card.prior.dtype == np.float32
    assert read.module == model.module
    assert_same(read.variables, model.variables)
    assert read.backbone.card.preprocess == below.card.preprocess
    assert_same(read.backbone.variables, below.variables)
    np.testing.assert_array_equal(
        read.module.apply(read.variables, FRAMES), model.module.apply(model.variables, FRAMES)
    )


@pytest.mark.parametrize("kind", ["tsn", "multiscale_trn"])
def test_a_head_with_temperatures_comes_back_and_is_explained_with_them(tmp_path, kind):
    options = {"num_classes": 3, "num_temperatures": 4} | ({"num_scales": 2, "hidden_dim": 5} if kind != "tsn" else {})
    card = head(kind=kind, options=options).card
    variables = dict(variables_of(model_folder.build(card), FRAMES))
    variables["calibration"] = {"temperature": np.float32([0.5, 2, 1, 3])}
    model_folder.save_model(tmp_path / "model", card, variables)
    read = model_folder.load_model(tmp_path / "model")
    assert_same(read.variables, variables)
    worth = esv_jax.worths(game_of(read), read.variables, FRAMES, np.array([[1, 0, 1, 0]]))[0]
    np.testing.assert_allclose(worth, jax.nn.softmax(read.module.apply(variables, FRAMES[[0, 2]])), atol=1e-6)
    plain = {"params": variables["params"]}
    without = Model(card, read.module.clone(num_temperatures=0), plain)
    expected = jax.nn.softmax(without.module.apply(plain, FRAMES[[0, 2]]) / 2)
    np.testing.assert_allclose(worth, expected, atol=1e-6)
    assert model_folder.digest(read) != model_folder.digest(without)
    variables["calibration"] = {"temperature": np.float32([0.5, 2, 0, 3])}
    with pytest.raises(InputError, match=r"calibration/temperature in .* should be above 0, found 0"):
        model_folder.save_model(tmp_path / "model", card, variables)


def test_folders_of_before_are_the_same_models():
    """Their digests as of before heads could have temperatures: results stores name them."""
    for kind, digest in {"tsn": "516e10106b910ea8", "multiscale_trn": "5527e77161887eee"}.items():
        assert model_folder.digest(model_folder.load_model(DEMO_MODEL.parent / kind)) == digest


def test_a_tsn_and_a_mobilenet_come_back(tmp_path):
    module = TSN(num_classes=2, dropout=0.5)
    card = ModelCard("tsn", {"num_classes": 2, "dropout": 0.5}, 6, ("a", "b"), np.array([0.5, 0.5], np.float32))
    model_folder.save_model(tmp_path / "tsn", card, variables_of(module, FRAMES))
    assert model_folder.load_model(tmp_path / "tsn").module == module
    module = MobileNetV1(0.125, 3)
    card = ModelCard(
        "mobilenet_v1", {"alpha": 0.125, "num_classes": 3}, 128, preprocess=Preprocess(32, 32, (0,) * 3, (1,) * 3)
    )
    variables = variables_of(module, np.zeros((1, 32, 32, 3), np.uint8))
    model_folder.save_model(tmp_path / "mobilenet", card, variables)
    assert_same(model_folder.load_model(tmp_path / "mobilenet").variables, variables)


def test_the_folder_knows_no_absolute_path_and_few_files(saved):
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert len(files) <= 15
    for path in files:
        assert str(saved.parent).encode() not in path.read_bytes(), path


def test_writing_replaces_what_was_there(saved):
    below = backbone()
    model = head(backbone={"name": "frame_cnn", "digest": model_folder.digest(below)})
    model_folder.save_model(saved, model.card, model.variables, backbone=below)
    assert model_folder.load_model(saved).backbone is not None
    changed = jax.tree.map(lambda a: a + 1, model.variables)
    model_folder.save_model(saved, head().card, changed)
    read = model_folder.load_model(saved)
    assert read.backbone is None
    assert_same(read.variables, changed)


def test_a_write_cut_short_leaves_no_model(saved, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        model_folder.save_model(saved, head().card, head().variables)
    with pytest.raises(InputError, match=r"is not a model folder: it has no model.json"):
        model_folder.load_model(saved)


def test_digest_tells_models_apart():
    model = head()
    digests = {
        model_folder.digest(m)
        for m in (
            model,
            model._replace(variables=jax.tree.map(lambda a: a * np.float32(1 + 1e-6), model.variables)),
            model._replace(card=model.card._replace(options={**TRN_OPTIONS, "input_relu": True})),
            model._replace(card=model.card._replace(kind="tsn")),
            model._replace(card=model.card._replace(preprocess=Preprocess(8, 8, (0,) * 3, (1,) * 3))),
        )
    }
    assert len(digests) == 5
    assert model_folder.digest(head(classes=("a", "b", "c"))) == model_folder.digest(model)


def test_mobilenet_from_an_npz_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz cannot be read as an npz or h5 file: there is none"):
        model_folder.import_mobilenet_v1(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("these are no weights")
    with pytest.raises(InputError, match=r"text\.npz cannot be read as an npz file"):
        model_folder.import_mobilenet_v1(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", **{"conv1/kernel": np.zeros((3, 3, 3, 8), np.float32)})
    with pytest.raises(InputError, match=r"other.npz should hold exactly the model's 135 tensors, found 134 missing"):
        model_folder.import_mobilenet_v1(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"files": "gone"}, "model.json should have the fields"),
        ({"format_version": 3}, "is of format 3, newer than format 2 of this esv_jax: update esv_jax"),
        ({"format_version": "gone"}, "does not describe a model folder: it has no format_version"),
        ({"feature_dim": "gone"}, "model.json should have the fields"),
        ({"kind": "resnet"}, "a model's kind should be one of .*'multiscale_trn'.* found 'resnet'"),
        ({"options": {"num_classes": 3, "width": 9}}, "the options of a model of kind multiscale_trn do not fit"),
        ({"classes": ["a", "b"]}, "3 classes in options, 2 class names, 3 values in prior"),
        ({"classes": ["a", "b", "a"]}, "names a class twice"),
        ({"prior": [0.5, 0.5]}, "3 classes in options, 3 class names, 2 values in prior"),
        (
            {"feature_dim": 7},
            r"2 of the wrong shape: params/scale_1/first/kernel \(\[1, 6, 5\] instead of \[1, 7, 5\]\)",
        ),
        ({"options": {**TRN_OPTIONS, "num_scales": 3}}, "8 missing: batch_stats/scale_3/norm_1/mean"),
        ({"options": {**TRN_OPTIONS, "batch_norm": False}}, "8 not expected: batch_stats/scale_1/norm_1/mean"),
    ],
)
def test_cards_that_do_not_fit(saved, fields, message):
    edit(saved, **fields)
    with pytest.raises(InputError, match=message):
        model_folder.load_model(saved)


def test_folders_that_hold_no_model(tmp_path, saved):
    with pytest.raises(InputError, match=r"there is no model folder .*nowhere"):
        model_folder.load_model(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is not a model folder: it has no model.json"):
        model_folder.load_model(tmp_path)
    with pytest.raises(InputError, match=r"there is no model folder"):
        model_folder.load_model(saved / "model.json")
    shutil.rmtree(saved / "params")
    with pytest.raises(InputError, match=r"the weights in .*params are damaged: missing: _CHECKPOINT_METADATA and"):
        model_folder.load_model(saved)
    (saved / "model.json").write_text("{")
    with pytest.raises(InputError, match=r"model.json cannot be read as json"):
        model_folder.load_model(saved)


def test_damaged_weights(saved):
    largest = max((p for p in (saved / "params").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with pytest.raises(InputError, match=rf"the weights in .*params are damaged: changed: .*{largest.name}$"):
        model_folder.load_model(saved)


def test_a_changed_byte_anywhere_is_noticed_or_means_nothing(tmp_path):
    below = backbone()
    model = head(backbone=model_folder.identity(below), provenance={"seed": 3})
    model_folder.save_model(tmp_path / "whole", model.card, model.variables, backbone=below)
    rng = np.random.default_rng(0)
    names = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file())
    assert len(names) > 10
    for name in names:
        path = tmp_path / "whole" / name
        content = path.read_bytes()
        places = rng.choice(len(content), 25 if name.name == "model.json" else 1)
        for at in places.tolist():
            path.write_bytes(content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :])
            try:
                found = model_folder.load_model(tmp_path / "whole")
            except InputError:
                pass
            else:
                assert json.loads(path.read_bytes()) == json.loads(content), (name, at)  # between the words
                assert_same(found.variables, model.variables)
            path.write_bytes(content)
    assert_same(model_folder.load_model(tmp_path / "whole").variables, model.variables)


def test_a_card_that_was_changed_by_hand(saved):
    path = saved / "model.json"
    path.write_text(path.read_text(encoding="utf-8").replace("opening", "beginning"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r'was changed after it was written: .* if you changed it, delete its "digest"'
    ):
        model_folder.load_model(saved)
    edit(saved)
    assert model_folder.load_model(saved).card.classes[0] == "beginning"


def test_folders_of_the_first_format_have_no_digest(saved):
    edit(saved, format_version=1)
    assert model_folder.load_model(saved).card.classes == CLASSES


def test_what_desktops_and_editors_leave_means_nothing(saved):
    for name in (".DS_Store", "._model.json", "Thumbs.db", "desktop.ini"):
        for folder in (saved, saved / "params", saved / "params" / "d"):
            (folder / name).write_bytes(b"\0\0\0\1Bud1")
    path = saved / "model.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert model_folder.load_model(saved).card.classes == CLASSES


def test_what_killed_writers_leave_is_removed(saved):
    for name in (".params.0123abcd.partial", ".params.0123abcd.partial.orbax-checkpoint-tmp"):
        shutil.copytree(saved / "params", saved / name)
    model_folder.save_model(saved, head().card, head().variables)
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", "params"]


def test_a_full_disk_leaves_the_model_that_was_there(saved, monkeypatch):
    def full(folder, tree):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trees, "write", full)
    with pytest.raises(InputError, match=r"model cannot be written: No space left on device"):
        model_folder.save_model(saved, head().card, head().variables)
    assert model_folder.load_model(saved).card.classes == CLASSES


def test_weights_that_say_they_are_larger_are_not_read(saved, monkeypatch):
    """Shapes are compared before an array is unpacked, which a few bytes can make fill all memory."""
    monkeypatch.setattr(trees, "read", None)
    edit(saved, feature_dim=7)
    with pytest.raises(InputError, match="of the wrong shape"):
        model_folder.load_model(saved)


def test_what_cannot_be_saved(tmp_path):
    model, below = head(), backbone()
    bad = jax.tree.map(np.copy, model.variables)
    bad["params"]["scale_1"]["first_bias"][2] = np.nan
    with pytest.raises(InputError, match=r"params/scale_1/first_bias in .* should be finite"):
        model_folder.save_model(tmp_path / "model", model.card, bad)
    with pytest.raises(InputError, match=r"belongs to the backbone None, but holds {'name': 'frame_cnn'"):
        model_folder.save_model(tmp_path / "model", model.card, model.variables, backbone=below)
    with pytest.raises(InputError, match=r"should say the preprocess of the backbone, found none"):
        model_folder.save_model(tmp_path / "model", below.card._replace(preprocess=None), below.variables)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written"):
        model_folder.save_model(tmp_path / "file", model.card, model.variables)
    assert not (tmp_path / "model").exists()

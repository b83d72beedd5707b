from pathlib import Path

import jax
import numpy as np
import pytest

from esv_jax.interop import torch_file
from esv_jax.saved import model_folder
from esv_jax.video.preprocess import Preprocess
from tests.experiments.scripts import run_script
from tests.models.oracles import randomised

GOLDEN = Path(__file__).parents[1] / "golden" / "play_fair"
SCALES = ",".join(f"trn_{k}_frames.pth" for k in range(1, 5))


@pytest.fixture
def import_torch(tmp_path, capsys, monkeypatch):
    """Runs the script on the tensors of Play Fair's files, recorded as npz: PyTorch itself is not needed."""

    def read(path):
        with np.load(GOLDEN / Path(path).with_suffix(".npz").name) as file:
            return dict(file)

    monkeypatch.setattr(torch_file, "read_state_dict", read)

    def run(kind, checkpoint, *flags, out=tmp_path / "model"):
        given = [f"--kind={kind}", f"--checkpoint={checkpoint}", f"--out={out}", *flags]
        return run_script("import_torch", *given, capsys=capsys, monkeypatch=monkeypatch)

    return run


def test_a_tsn_with_its_priors_and_class_names(tmp_path, import_torch):
    (tmp_path / "classes.csv").write_text("name,id\n" + "".join(f"class {8 - i},{8 - i}\n" for i in range(9)))
    flags = [f"--priors={GOLDEN / 'class-priors.csv'}", f"--classes={tmp_path / 'classes.csv'}", "--num_classes=9"]
    ran = import_torch("tsn", "tsn.pth", *flags)
    assert ran.exit_code == 0, ran.stderr
    assert "tsn (num_classes 9, input_relu True) on features [16]" in ran.stdout
    assert "priors: 9 classes, 1 of which never occur (prior 0): 2" in ran.stdout
    model = model_folder.load_model(tmp_path / "model")
    assert model.card.classes == tuple(f"class {i}" for i in range(9))
    assert model.card.prior[2] == 0
    assert model.card.provenance["weights"] == ["tsn.pth"]
    with np.load(GOLDEN / "tsn.npz") as state:
        np.testing.assert_array_equal(model.variables["params"]["kernel"], state["classifier.weight"].T)


def test_a_multi_scale_trn_without_priors(tmp_path, import_torch):
    ran = import_torch("multiscale_trn", SCALES, "--feature_dim=16", "--num_frames=4")
    assert ran.exit_code == 0, ran.stderr
    assert "no priors: give them when you explain" in ran.stdout
    card = model_folder.load_model(tmp_path / "model").card
    assert card.prior is None
    assert card.classes == tuple("012345678")
    assert card.options["num_scales"] == 4


@pytest.mark.parametrize("flags", [[], ["--num_frames=2"], ["--feature_dim=16"]])
def test_a_trn_of_one_scale(tmp_path, import_torch, flags):
    ran = import_torch("trn", "trn_2_frames_batchnorm_relu_2hidden.pth", *flags)
    assert ran.exit_code == 0, ran.stderr
    module = model_folder.load_model(tmp_path / "model").module
    assert (module.num_frames, module.num_hidden_layers, module.batch_norm, module.input_relu) == (2, 2, True, True)


def test_a_head_takes_its_backbone_along(tmp_path, import_torch):
    card = model_folder.ModelCard(
        "frame_cnn", {"feature_dim": 16}, 16, preprocess=Preprocess(48, 48, (0,) * 3, (1,) * 3)
    )
    module = model_folder.build(card)
    variables = randomised(
        jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 48, 48, 3), np.uint8))
    )
    model_folder.save_model(tmp_path / "backbone", card, variables)
    ran = import_torch("tsn", "tsn.pth", f"--backbone={tmp_path / 'backbone'}")
    assert ran.exit_code == 0, ran.stderr
    assert model_folder.load_model(tmp_path / "model").backbone.card.kind == "frame_cnn"


@pytest.mark.parametrize(
    ("kind", "checkpoint", "flags", "message"),
    [
        ("tsn", "tsn.pth", ["--num_classes=174"], "--num_classes is 174, but tsn.pth has num_classes 9"),
        ("tsn", "tsn.pth", ["--feature_dim=256"], "--feature_dim is 256, but tsn.pth has feature_dim 16"),
        ("tsn", "tsn.pth", ["--num_frames=8"], "--num_frames does not apply to a model of kind tsn"),
        ("tsn", "tsn.pth", ["--classes=two.csv"], "two.csv names 2 classes, but the checkpoint has 9"),
        ("tsn", "tsn.pth,tsn.pth", [], "a model of kind tsn is one file, found 2 in --checkpoint"),
        ("tsn", "tsn.pth", ["--backbone=nowhere"], "there is no model folder"),
        ("trn", "trn_2_frames.pth", ["--num_frames=3"], "takes 32 numbers, which are not 3 frames"),
        ("trn", "trn_2_frames.pth", ["--num_frames=4"], "--num_frames is 4, but trn_2_frames.pth is for 2"),
        (
            "trn",
            "trn_2_frames.pth",
            ["--num_frames=3", "--feature_dim=16"],
            "is for 2 frames of 16 features, but should",
        ),
        ("trn", "tsn.pth", [], "tsn.pth should hold the tensors of a TRN"),
        (
            "multiscale_trn",
            "trn_1_frames.pth,trn_3_frames.pth",
            [],
            "is for 3 frames of 16 features, but should be for 2",
        ),
        ("multiscale_trn", SCALES, ["--num_frames=8"], "--num_frames is 8, but trn_1_frames.pth,"),
        ("resnet50", "tsn.pth", [], "tsn.pth should hold exactly the model's 267 tensors, found 267 missing"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_numbers(tmp_path, import_torch, kind, checkpoint, flags, message):
    (tmp_path / "two.csv").write_text("name,id\na,0\nb,1\n")
    flags = [flag.replace("two.csv", str(tmp_path / "two.csv")) for flag in flags]
    ran = import_torch(kind, checkpoint, *flags)
    assert ran.exit_code == 1
    assert message in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "model").exists()

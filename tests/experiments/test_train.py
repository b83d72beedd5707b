import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from esv_jax import files, models
from esv_jax.data import feature_store
from esv_jax.models.backbones.frame_cnn import SIZE, FrameCNN
from esv_jax.saved import model_folder
from esv_jax.saved.model_folder import Model, ModelCard
from esv_jax.training import heads
from esv_jax.video.preprocess import Preprocess
from tests.experiments.scripts import run_script
from tests.models.oracles import randomised

CLASSES = ("closing", "never seen", "opening")
NUM_FRAMES = 4
QUICK = ("--num_frames=4", "--num_scales=2", "--hidden_dim=8", "--epochs=30", "--dropout=0")


@pytest.fixture(scope="module")
def backbone():
    module = FrameCNN(feature_dim=5, channels=(2, 2, 2, 2))
    variables = randomised(jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, SIZE, SIZE, 3), np.uint8)))
    preprocess = Preprocess(SIZE, SIZE, (128.0,) * 3, (64.0,) * 3)
    card = ModelCard("frame_cnn", {"feature_dim": 5, "channels": (2, 2, 2, 2)}, 5, preprocess=preprocess)
    return Model(card, module, variables)


@pytest.fixture(scope="module")
def features(tmp_path_factory, backbone):
    """A store of clips that show the same things, "opening" one way and "closing" the other way round."""
    folder = tmp_path_factory.mktemp("train") / "features"
    rng = np.random.default_rng(0)
    name = {"name": "frame_cnn", "digest": model_folder.digest(backbone)}
    header = feature_store.StoreHeader(5, "float16", CLASSES, name, backbone.card.preprocess)
    with feature_store.create_or_append(folder, header) as writer:
        for i in range(36):
            length = int(rng.integers(6, 12))
            moving = np.linspace(-2, 2, length)[:, None] * (1 if i % 3 else -1)
            frames = np.concatenate([moving, 0.2 * rng.normal(size=(length, 4))], axis=1)
            split = {0: "test", 1: "validation"}.get(i % 9, "train")
            writer.append(str(i), f"{i}.avi", CLASSES[2] if i % 3 else CLASSES[0], split, frames.astype(np.float32))
    model_folder.save_model(folder / "backbone", backbone.card, backbone.variables)
    return folder


@pytest.fixture
def train(features, tmp_path, capsys, monkeypatch):
    def run(*flags, features=features, out=tmp_path / "model"):
        given = [f"--features={features}", f"--out={out}", *QUICK, *flags]
        return run_script("train", *given, capsys=capsys, monkeypatch=monkeypatch)

    return run


def test_a_model_is_trained_and_says_what_it_is(features, tmp_path, train, backbone):
    ran = train("--seed=7", "--epochs=60")
    assert ran.exit_code == 0, ran.stderr
    assert "60/60 epochs, loss " in ran.stderr
    shutil.move(tmp_path / "model", tmp_path / "moved")
    model = model_folder.load_model(tmp_path / "moved")
    assert sorted(p.name for p in (tmp_path / "moved").iterdir()) == ["backbone", "model.json", "params"]
    card = model.card
    assert (card.kind, card.classes, card.feature_dim) == ("multiscale_trn", CLASSES, 5)
    assert isinstance(model.module, models.MultiscaleTRN)
    assert (model.module.num_scales, model.module.hidden_dim) == (2, 8)
    assert model_folder.digest(model.backbone) == card.backbone["digest"] == model_folder.digest(backbone)

    store = feature_store.open_store(features)
    training = [clip.label for clip in store.clips if clip.split == "train"]
    expected = [training.count(name) / len(training) for name in CLASSES]
    np.testing.assert_allclose(card.prior, expected, rtol=1e-6)
    assert card.prior[1] == 0

    figures = card.provenance["figures"]
    assert figures["clips"] == {"train": 28, "test": 4, "validation": 4}
    for split, accuracy in figures["accuracy"].items():
        clips = heads.read_clips(store, [i for i, c in enumerate(store.clips) if c.split == split], 4, "the store")
        logits = heads.predict(model.module, model.variables, clips, NUM_FRAMES)
        assert (logits.argmax(axis=1) == clips.label).mean() == accuracy
        assert accuracy >= (0.9 if split == "train" else 0.7)  # of four clips
        assert f"accuracy on {split}{' (held out)' if split != 'train' else ''}: {accuracy:.1%}" in ran.stdout
    assert card.provenance["seed"] == 7
    assert card.provenance["command"].startswith("python -m experiments.train --features=")
    assert "--seed=7" in card.provenance["command"]
    assert card.provenance["versions"]["jax"] == jax.__version__


def test_the_card_says_what_was_selected_and_how(features, tmp_path, train):
    ran = train("--model=tsn", "--epochs=8", "--validate_every=3", "--label_smoothing=0.1")
    assert ran.exit_code == 0, ran.stderr
    card = model_folder.load_model(tmp_path / "model").card
    told = card.provenance["training"]
    assert told["recipe"] == {
        "standardise": True,
        "label_smoothing": 0.1,
        "weigh_classes": True,
        "validate_every": 3,
        "patience": None,
        "calibrate": True,
    }
    assert told["validated_on"] == ["validation"]
    assert told["epochs"] == 8
    assert told["epoch"] in (3, 6, 8)
    assert told["class_weight"] is None
    assert f"epoch {told['epoch']} of 8 is kept, the best on validation: surprise" in ran.stdout
    temperature = told["temperature"]
    assert len(temperature["fitted"]) == NUM_FRAMES
    assert ("kept in the model" in ran.stdout) == temperature["kept"]
    assert card.options["num_temperatures" if temperature["kept"] else "num_classes"] > 0
    by_frames = card.provenance["figures"]["by_frames"]
    assert set(by_frames) == {"test", "validation"}
    assert by_frames["test"]["accuracy"][-1] == card.provenance["figures"]["accuracy"]["test"]
    assert {len(values) for figures in by_frames.values() for values in figures.values()} == {NUM_FRAMES}


@pytest.mark.parametrize(("flags", "expected"), [([], False), (["--standardise"], True)])
def test_a_trn_is_standardised_if_asked(tmp_path, train, flags, expected):
    assert train("--epochs=2", *flags).exit_code == 0
    told = model_folder.read_card(tmp_path / "model").provenance["training"]
    assert told["recipe"]["standardise"] is expected


def test_as_before_without_clips_to_validate_on(tmp_path, train):
    ran = train("--model=tsn", "--epochs=3", "--validate_on=", "--nostandardise")
    assert ran.exit_code == 0, ran.stderr
    assert "no clips to validate on: the model is that of the last of 3 epochs, not calibrated" in ran.stdout
    told = model_folder.read_card(tmp_path / "model").provenance["training"]
    assert (told["validated_on"], told["epoch"], told["temperature"]) == ([], 3, None)


def test_rare_classes_are_told_of(tmp_path, train):
    header = feature_store.StoreHeader(5, "float32", ("often", "rarely", "also"))
    with feature_store.create_or_append(tmp_path / "store", header) as writer:
        for i in range(24):
            name = "rarely" if i == 0 else ("often", "also")[i % 2]
            writer.append(str(i), "", name, "train", np.random.default_rng(i).normal(size=(4, 5)).astype(np.float32))
    ran = train("--model=tsn", "--epochs=2", features=tmp_path / "store")
    assert ran.exit_code == 0, ran.stderr
    weight = model_folder.read_card(tmp_path / "model").provenance["training"]["class_weight"]
    assert weight["rarely"] > 5 * weight["often"]
    assert f"some classes are rare: clips count {weight['often']:g} to {weight['rarely']:g} times" in ran.stdout
    ran = train("--model=tsn", "--epochs=2", "--noweigh_classes", features=tmp_path / "store")
    assert "some classes are rare" not in ran.stdout


def test_patience_stops_training(tmp_path, train):
    ran = train("--model=tsn", "--epochs=200", "--patience=2", "--learning_rate=0.3")
    assert ran.exit_code == 0, ran.stderr
    told = model_folder.read_card(tmp_path / "model").provenance["training"]
    assert told["epochs"] == told["epoch"] + 2 < 200


def test_a_tsn_cannot_tell_them_apart(tmp_path, train):
    ran = train("--model=tsn", "--train_on=train,validation")
    assert ran.exit_code == 0, ran.stderr
    model = model_folder.load_model(tmp_path / "model")
    assert isinstance(model.module, models.TSN)
    figures = model.card.provenance["figures"]
    assert set(figures["accuracy"]) == {"train", "test"}
    assert figures["clips"] == {"train": 32, "test": 4}
    assert figures["accuracy"]["train"] < 0.9


def test_killed_it_goes_on_to_the_same_model(tmp_path, train, features):
    flags = ("--model=tsn", "--epochs=300", "--seed=1", "--dropout=0.3")
    assert train(*flags, out=tmp_path / "whole").exit_code == 0
    out = tmp_path / "model"
    command = [sys.executable, "-m", "experiments.train", f"--features={features}", f"--out={out}", *QUICK, *flags]
    process = subprocess.Popen(
        [*command, "--save_every=0"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 300
        while not (out / "checkpoints" / "3").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (out / model_folder.CARD_FILE).exists()
    done = [int(p.name) for p in (out / "checkpoints").iterdir() if p.name.isdigit()]
    assert 0 < max(done) < 300

    assert train(*flags).exit_code == 0
    whole, resumed = (model_folder.load_model(folder) for folder in (tmp_path / "whole", out))
    jax.tree.map(np.testing.assert_array_equal, resumed.variables, whole.variables)
    assert resumed.card.provenance["figures"] == whole.card.provenance["figures"]


def test_a_run_with_other_flags_does_not_go_on_from_what_is_there(tmp_path, train, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_folder, "save_model", interrupted)
        assert train("--model=tsn").exit_code == 130
    ran = train("--model=tsn", "--input_relu")
    assert ran.exit_code == 1
    assert "holds the checkpoints of a run with input_relu = False, not True" in ran.stderr
    assert train("--model=tsn").exit_code == 0


def test_training_again_replaces_the_model_but_not_one_of_other_classes(tmp_path, train):
    assert train("--model=tsn").exit_code == 0
    before = model_folder.digest(model_folder.load_model(tmp_path / "model"))
    assert train("--model=tsn", "--seed=2").exit_code == 0
    assert model_folder.digest(model_folder.load_model(tmp_path / "model")) != before

    header = feature_store.StoreHeader(5, "float32", ("yes", "no"))
    with feature_store.create_or_append(tmp_path / "other", header) as writer:
        writer.append("a", "a", "yes", "train", np.ones((4, 5), np.float32))
    ran = train("--model=tsn", features=tmp_path / "other")
    assert ran.exit_code == 1
    assert "holds a model of 3 classes (closing, never seen, opening), but the labels in" in ran.stderr
    assert "are of 2 classes (yes, no): choose another --out" in ran.stderr
    ran = train("--model=tsn", features=tmp_path / "other", out=tmp_path / "another")
    assert ran.exit_code == 0, ran.stderr
    assert "no clips were held out" in ran.stdout
    assert "no video files" in ran.stdout
    assert model_folder.load_model(tmp_path / "another").backbone is None


def renamed(features, folder, **splits):
    """The store with other names for its splits."""
    store = feature_store.open_store(features)
    with feature_store.create_or_append(folder, store.header) as writer:
        for i, clip in enumerate(store.clips):
            writer.append(clip.uid, clip.path, clip.label, splits.get(clip.split, clip.split), store.features(i))
    return folder


@pytest.mark.parametrize(
    ("name", "near"),
    [("val", "validation"), ("Validation", "validation"), ("valid", "validation"), ("dev", None), ("Test", "test")],
)
def test_a_split_that_is_neither_trained_on_nor_held_out(tmp_path, features, train, name, near):
    store = renamed(features, tmp_path / "store", validation=name)
    ran = train("--model=tsn", features=store)
    assert ran.exit_code == 1
    hint = f"; did you mean '{near}'?" if near else ":"
    assert ran.stderr == (
        f"error: the split '{name}' in {store} is neither trained on nor held out{hint} "
        f"say --hold_out=test,{name} or --train_on=train,{name}\n"
    )
    assert not (tmp_path / "model" / "params").exists()
    ran = train("--model=tsn", f"--hold_out=test,{name}", "--epochs=2", features=store)
    assert ran.exit_code == 0, ran.stderr
    clips = model_folder.read_card(tmp_path / "model").provenance["figures"]["clips"]
    assert clips == {"train": 28, "test": 4, name: 4}


def test_the_splits_that_are_named_are_trained_on(tmp_path, features, train):
    store = renamed(features, tmp_path / "store", train="training")
    ran = train("--model=tsn", features=store)
    assert "the split 'training' in" in ran.stderr
    assert "did you mean 'train'? say --hold_out=test,validation,training or --train_on=training" in ran.stderr
    ran = train("--model=tsn", "--train_on=training,test", "--epochs=2", features=store)
    assert ran.exit_code == 0, ran.stderr
    clips = model_folder.read_card(tmp_path / "model").provenance["figures"]["clips"]
    assert clips == {"train": 32, "validation": 4}
    ran = train("--train_on=training,test", "--hold_out=test,validation", features=store)
    assert "the split 'test' is in --train_on and in --hold_out" in ran.stderr


def test_a_first_try_of_one_step(tmp_path, train):
    ran = train("--model=tsn", "--epochs=1", "--batch_size=10000000")
    assert ran.exit_code == 0, ran.stderr
    assert model_folder.load_model(tmp_path / "model").card.classes == CLASSES


def test_a_second_run_on_the_same_folder(tmp_path, train):
    (tmp_path / "model").mkdir()
    with files.exclusive_lock(tmp_path / "model", "it"):
        ran = train("--model=tsn")
    assert ran.exit_code == 1
    assert ran.stderr == f"error: another process is writing the model folder {tmp_path / 'model'}\n"


def test_killed_while_the_checkpoints_were_removed(tmp_path, train, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(files, "_remove", lambda path: None)
        assert train("--model=tsn").exit_code == 0
    assert any(path.name.startswith(".checkpoints.") for path in (tmp_path / "model").iterdir())
    assert train("--model=tsn").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["backbone", "model.json", "params"]


def test_no_file_names_the_makers_folders(tmp_path, train):
    assert train("--model=tsn").exit_code == 0
    for path in (tmp_path / "model").rglob("*"):
        assert path.is_dir() or str(tmp_path.parent).encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs=1000000000000000000"], "are more steps (2e+18) than the 2,147,483,647 that are counted"),
        (["--seed=18446744073709551616"], "seed should be an integer of 64 bits, found 18446744073709551616"),
        (["--hidden_dim=1000000000000"], "hidden_dim should be an integer in 1..1048576, found 1000000000000"),
        (["--num_hidden_layers=1000000000"], "num_hidden_layers should be an integer in 1..1048576"),
        (["--hidden_dim=1000000", "--num_hidden_layers=9"], "weights, more than the 268,435,456 that are allowed"),
        (["--num_frames=9", "--num_scales=2"], "frames, fewer than the 9 to be sampled"),
        (["--num_scales=5"], "num_scales should be at most num_frames (4)"),
        (["--num_scales=0"], "--num_scales=0: 0 is not a positive integer"),
        (["--hold_out=person"], "--hold_out names the split 'person', but"),
        ([f"--train_on={'x' * 999}"], f"--train_on names the split '{'x' * 79}, but"),
        (
            ["--hold_out=train,test,validation"],
            "has no clip to train on: its splits are test, train, validation, all held out",
        ),
        (["--validate_on=test"], "--validate_on names the split 'test': what is selected by it says nothing of new"),
        (["--validate_on=dev"], "--validate_on names the split 'dev', but held out of"),
        (["--validate_on=train"], "--validate_on names the split 'train', but held out of"),
        (["--patience=0"], "--patience=0: 0 is not a positive integer"),
        (["--learning_rate=-1"], "learning_rate should be positive, found -1.0"),
        (["--model=tsn", "--learning_rate=1e30"], "lower the learning rate"),
        (["--features=nowhere"], "there is no feature store nowhere"),
        (["--out=setup.py/model"], "cannot be written"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, train, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setup.py").write_text("")
    ran = train(*flags)
    assert ran.exit_code == 1
    assert message in ran.stderr
    assert not (tmp_path / "model" / model_folder.CARD_FILE).exists()


def test_features_that_are_not_finite(tmp_path, features, train):
    store = tmp_path / "store"
    shutil.copytree(features, store)
    clips = (store / "clips.csv").read_text().splitlines()
    (store / "clips.csv").write_text("".join(f"{line.rpartition(',')[0]}\n" for line in clips))  # without checksums
    with open(store / "features.bin", "r+b") as file:
        file.write(np.float16(np.inf).tobytes())
    ran = train(features=store)
    assert ran.exit_code == 1
    assert "the features of clip 0 of" in ran.stderr
    assert "should be finite" in ran.stderr


def test_a_backbone_that_is_not_the_stores(tmp_path, features, train, backbone):
    store = tmp_path / "store"
    shutil.copytree(features, store)
    changed = jax.tree.map(lambda a: a + np.float32(1), backbone.variables)
    model_folder.save_model(store / "backbone", backbone.card, changed)
    ran = train(features=store)
    assert ran.exit_code == 1
    assert "but the features are of {'name': 'frame_cnn'" in ran.stderr
    card = json.loads((store / "store.json").read_text())
    assert card["backbone"]["digest"] in ran.stderr

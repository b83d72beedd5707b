"""`check_model` as a command: of features and of videos, of model folders and of anyone's; who repeats its verdict."""

import json

import jax
import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.saved import kept_check, model_folder
from tests.experiments.scripts import run_script
from tests.experiments.test_compute_esvs import add_clips, root  # noqa: F401

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")
COLOURS = '''
def pixels():
    """How red, green and blue the frames are."""
    return lambda clips: clips.mean(axis=(1, 2, 3)).astype("float32") / 64
'''


@pytest.fixture(scope="module")
def folder(root):  # noqa: F811
    """Features that the models are about, of 40 clips, 20 of them of the split "test"."""
    add_clips(root / "many", [6] * 40)
    return root


def check(folder, capsys, monkeypatch, *flags, model="tsn"):
    given = [f"--model={folder / model}", f"--out={folder / 'check'}", "--num_frames=4", *flags]
    return run_script("check_model", *given, capsys=capsys, monkeypatch=monkeypatch)


def test_a_model_folder_keeps_its_check_and_others_repeat_it(folder, capsys, monkeypatch, tmp_path):
    def computed():
        command = ["--num_frames=4", f"--features={folder / 'many'}", f"--model={folder / 'tsn'}"]
        command.append(f"--out={tmp_path / 's.zarr'}")
        return run_script("compute_esvs", *command, capsys=capsys, monkeypatch=monkeypatch)

    never = computed()
    assert never.exit_code == 0
    assert "note: tsn was never checked: check_model says whether its attributions can be believed" in never.stderr
    ran = check(folder, capsys, monkeypatch, f"--features={folder / 'many'}")
    assert ran.exit_code == 0, ran.stderr
    assert "asked of 20 clips" in ran.stdout  # those of the split "train" are left out
    kept = json.loads((folder / "tsn" / "check.json").read_text())
    # Random weights, and labels that they know nothing of.
    assert kept["verdict"] == "bad"
    assert kept["model_digest"] == model_folder.digest(model_folder.load_model(folder / "tsn"))
    assert kept["num_videos"] == 20
    assert len(kept["by_size"]["accuracy"]) == 4
    assert kept["sentence"] in (folder / "check" / "check.md").read_text()
    assert f"note: tsn, by its check, is {kept['sentence']}" in computed().stderr
    # One that is damaged keeps nobody from working, least of all from checking anew.
    (folder / "tsn" / "check.json").write_text("{")
    ran = computed()
    assert ran.exit_code == 0
    assert "check.json cannot be read" in ran.stderr
    assert check(folder, capsys, monkeypatch, f"--features={folder / 'many'}").exit_code == 0
    assert json.loads((folder / "tsn" / "check.json").read_text()) == kept
    # Other weights in the folder: the check was not of them.
    other = folder / "other"
    model = model_folder.load_model(folder / "tsn")
    model_folder.save_model(other, model.card, jax.tree.map(lambda weights: weights + 1, model.variables))
    (other / "check.json").write_text((folder / "tsn" / "check.json").read_text())
    assert kept_check.read_check(other, model_folder.digest(model_folder.load_model(other))) is None


def test_anyones_model_over_features_and_over_videos(folder, tmp_path, capsys, monkeypatch):
    (tmp_path / "colour_models.py").write_text(COLOURS)
    monkeypatch.syspath_prepend(tmp_path)
    rng = np.random.default_rng(0)
    names, lines = ("red", "green", "blue"), ["path,label,split"]
    for i in range(12):
        clip = tmp_path / "clips" / f"{i}"
        clip.mkdir(parents=True)
        for k in range(5):
            image = rng.integers(0, 120, (20, 24, 3), dtype=np.uint8)
            image[..., i % 3] += 110
            Image.fromarray(image).save(clip / f"{k}.png")
        lines.append(f"{i},{names[i % 3]},test")
    (tmp_path / "clips" / "short").mkdir()
    Image.fromarray(image).save(tmp_path / "clips" / "short" / "0.png")
    (tmp_path / "labels.csv").write_text("\n".join([*lines, "short,red,test", "0/none,red,train"]) + "\n")
    (tmp_path / "classes.csv").write_text("id,name\n0,red\n1,green\n2,blue\n")

    def run(*flags):
        given = ("--image_size=16", "--removal=mean", "--num_frames=3", "--max_evaluations=900", *flags)
        paths = (f"--clips={tmp_path / 'clips'}", f"--labels={tmp_path / 'labels.csv'}", f"--out={tmp_path / 'check'}")
        model = "--model=colour_models:pixels"
        return run_script("check_model", model, *given, *paths, capsys=capsys, monkeypatch=monkeypatch)

    ran = run()
    assert ran.exit_code == 1
    assert "--classes should be given" in ran.stderr
    more = tmp_path / "more.csv"
    more.write_text("id,name\n0,red\n1,green\n2,blue\n3,black\n")
    ran = run(f"--classes={more}")
    assert ran.exit_code == 1
    assert "colour_models:pixels gives 3 scores, but 4 classes are named" in ran.stderr
    ran = run(f"--classes={tmp_path / 'classes.csv'}")
    assert ran.exit_code == 0, ran.stderr
    assert "1 clips are left out" in ran.stderr
    assert "short" in ran.stderr
    kept = json.loads((tmp_path / "check" / "check.json").read_text())
    assert kept["by_size"]["accuracy"] == [1, 1, 1]
    # Removed frames are the mean of the clip, whose colours are about the same.
    assert kept["num_frames"] == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--features should be given, or --clips and --labels; found neither"),
        (["--features={many}", "--clips=."], "--features and --clips exclude one another"),
        (
            ["--features={many}", "--split=valid"],
            "at least 10 clips of the split 'valid', found 0",
        ),
        (["--features={few}"], "at least 10 clips not of the split 'train', found 5"),
        (["--features={many}", "--max_evaluations=20"], "max_evaluations should be at least 91 for 10 videos"),
    ],
)
def test_mistakes_are_one_sentence(folder, capsys, monkeypatch, flags, message):
    given = [flag.format(many=folder / "many", few=folder / "features") for flag in flags]
    ran = check(folder, capsys, monkeypatch, *given)
    assert ran.exit_code == 1
    assert message in ran.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "should be a check of format 1"),
        ('{"format_version": 2}', "should be a check of format 1"),
        ('{"format_version": 1, "verdict": "fine", "sentence": "x"}', "should have a verdict of good, doubtful, bad"),
    ],
)
def test_a_check_that_is_damaged_is_told_of(tmp_path, content, message):
    (tmp_path / "check.json").write_text(content)
    with pytest.raises(InputError, match=message):
        kept_check.read_check(tmp_path, "0123")
    assert message in kept_check.warning(tmp_path, "0123")


def test_a_good_check_is_not_spoken_of(tmp_path):
    assert "was never checked" in kept_check.warning(tmp_path, "0123")
    kept_check.keep_check(tmp_path, {"verdict": "good", "sentence": "good: so it is"}, "0123")
    assert kept_check.warning(tmp_path, "0123") is None
    assert kept_check.warning(tmp_path, "4567") is not None

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest

from esv_jax import models
from esv_jax.models.backbones.frame_cnn import MEAN, SIZE, STD, FrameCNN
from esv_jax.saved import model_folder
from esv_jax.video.frame_sampling import segment_centres
from esv_jax.video.preprocess import Preprocess
from tests.experiments.scripts import run_script
from tests.results.pages import inline_json, numbers
from tests.video.videos import write_streams

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")

CLASSES = ("Opening something", "Closing something", "Pushing something so that it falls off the table")
PRIOR = np.array([0.5, 0.3, 0.2], np.float32)
NUM_IMAGES = 13
DIM = 16
PREPROCESS = Preprocess(60, SIZE, (MEAN,) * 3, (STD,) * 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models tsn and trn on a small backbone, untrained, and a video of random images."""
    root = tmp_path_factory.mktemp("explain_video")
    network = FrameCNN(feature_dim=DIM)
    variables = jax.jit(network.init)(jax.random.key(0), np.zeros((1, SIZE, SIZE, 3), np.uint8))
    card = model_folder.ModelCard("frame_cnn", {"feature_dim": DIM}, DIM, preprocess=PREPROCESS)
    backbone = model_folder.Model(card, network, variables)
    options = {
        "tsn": {"num_classes": 3},
        "multiscale_trn": {"num_scales": 3, "hidden_dim": 8, "num_classes": 3},
    }
    modules = {"tsn": models.TSN, "multiscale_trn": models.MultiscaleTRN}
    named = {"name": "frame_cnn", "digest": model_folder.digest(backbone)}
    for kind, module in modules.items():
        variables = module(**options[kind]).init(jax.random.key(1), np.zeros((4, DIM), np.float32))
        variables = jax.tree.map(lambda a: 5 * np.asarray(a), variables)
        card = model_folder.ModelCard(kind, options[kind], DIM, CLASSES, PRIOR, named)
        model_folder.save_model(root / kind, card, variables, backbone=backbone)
    model_folder.save_model(root / "without_backbone", card, variables)
    model_folder.save_model(root / "without_prior", card._replace(prior=None), variables, backbone=backbone)
    (root / "video").mkdir()
    rng = np.random.default_rng(0)
    for i in range(NUM_IMAGES):
        block = np.kron(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(block).save(root / "video" / f"{i}.png")
    return root


@pytest.fixture
def explain_video(folder, tmp_path, capsys, monkeypatch):
    def run(*arguments, model="multiscale_trn", video="video", out=None):
        return run_script(
            "explain_video",
            f"--video={folder / video}",
            f"--model={folder / model}",
            f"--out={out or tmp_path / 'out'}",
            *arguments,
            capsys=capsys,
            monkeypatch=monkeypatch,
        )

    return run


def _load(tmp_path):
    with np.load(tmp_path / "out" / "attribution.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("kind", ["tsn", "multiscale_trn"])
def test_exact_values_are_those_of_the_models_own_scores(folder, tmp_path, explain_video, kind):
    ran = explain_video("--num_frames=4", model=kind)
    assert ran.exit_code == 0, ran.stderr
    got = _load(tmp_path)
    np.testing.assert_array_equal(got["frames"], segment_centres(NUM_IMAGES, 4))
    np.testing.assert_allclose(got["times"], got["frames"] / 25)
    np.testing.assert_array_equal(got["empty"], PRIOR)
    np.testing.assert_allclose(got["values"].sum(0), got["full"] - got["empty"], atol=1e-5)

    # Every coalition through the model itself, averaged by its definition.
    model = model_folder.load_model(folder / kind)
    files = [folder / "video" / f"{i}.png" for i in got["frames"]]
    squares = [np.asarray(Image.open(f).resize((80, 60), Image.Resampling.BILINEAR))[6:54, 16:64] for f in files]
    features = jax.jit(model.backbone.module.apply)(model.backbone.variables, np.stack(squares))
    worth = {(): PRIOR}
    for code in range(1, 16):
        members = tuple(i for i in range(4) if code >> i & 1)
        worth[members] = jax.nn.softmax(model.module.apply(model.variables, features[np.array(members)]))
    np.testing.assert_allclose(got["full"], worth[0, 1, 2, 3], atol=1e-5)
    for i in range(4):
        value = 0
        for size in range(1, 5):
            value += np.mean([w for s, w in worth.items() if len(s) == size and i in s], axis=0) / 4
            value -= np.mean([w for s, w in worth.items() if len(s) == size - 1 and i not in s], axis=0) / 4
        np.testing.assert_allclose(got["values"][i], value, atol=2e-5)
    assert np.ptp(got["values"], axis=0).min() > 0.005  # the frames differ, or this test would see little


def test_a_model_imported_without_priors_takes_those_of_a_file(tmp_path, explain_video):
    ran = explain_video("--num_frames=4", model="without_prior")
    assert ran.exit_code == 1
    assert "was imported without class priors, the worth of no frames: give them with --priors" in ran.stderr
    (tmp_path / "priors.csv").write_text("class,prior\n2,0.25\n0,0.75\n")
    ran = explain_video("--num_frames=4", f"--priors={tmp_path / 'priors.csv'}", model="without_prior")
    assert ran.exit_code == 0, ran.stderr
    np.testing.assert_array_equal(_load(tmp_path)["empty"], np.float32([0.75, 0, 0.25]))


def test_the_predicted_class_comes_first_then_those_asked_for_each_once(tmp_path, explain_video):
    ran = explain_video(*(f"--class_name={name}" for name in [*reversed(CLASSES), CLASSES[0]]))
    assert ran.exit_code == 0, ran.stderr
    got = _load(tmp_path)
    tables = [line for line in ran.stdout.splitlines() if line.removesuffix(" (predicted)") in CLASSES]
    predicted = CLASSES[int(np.argmax(got["full"]))]
    assert tables[0] == f"{predicted} (predicted)"
    assert tables[1:] == [name for name in reversed(CLASSES) if name != predicted]
    with Image.open(tmp_path / "out" / "report.png") as picture:
        assert picture.format == "PNG"


def test_it_is_told_which_of_several_videos_in_a_file_is_explained(folder, explain_video):
    write_streams(folder / "two.mkv", [(100, (32, 24), False), (0, (64, 48), True)])
    ran = explain_video("--num_frames=4", video="two.mkv")
    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout.splitlines()[1] == "video stream 1 (64x48) is read, not 0 (32x24)"


def test_it_samples_until_the_target(tmp_path, explain_video):
    arguments = ["--num_frames=10", "--estimator=stratified_paired", "--per_size=4", "--max_evaluations=900"]
    assert explain_video(*arguments).exit_code == 0
    once = _load(tmp_path)["std_error"].max()
    ran = explain_video(*arguments, f"--target_std_error={once / 2:.6f}")
    assert ran.exit_code == 0, ran.stderr
    assert 0 < _load(tmp_path)["std_error"].max() <= once / 2
    assert "target_std_error" in ran.stdout


def _line_below_the_table(printed, class_name):
    """What is said of the class behind its sum."""
    lines = printed.splitlines()
    start = next(i for i, line in enumerate(lines) if line.removesuffix(" (predicted)") == class_name)
    return lines[next(i for i in range(start, len(lines)) if "= score" in lines[i]) + 1]


def test_exact_values_certify_the_top_frames_without_a_level(tmp_path, explain_video):
    ran = explain_video("--certify=top")
    assert ran.exit_code == 0, ran.stderr
    got = _load(tmp_path)
    assert got["std_error"].max() == 0
    assert (got["frames"] != np.arange(8)).any()  # else numbers of frames and places in the table were the same
    top = got["frames"][np.argmax(got["values"][:, got["predicted"]])]
    said = _line_below_the_table(ran.stdout, CLASSES[got["predicted"]])
    assert said == f"frame {top} is the top frame, certain"

    other = (int(got["predicted"]) + 1) % 3
    ran = explain_video("--certify=top3", "--estimator=exact", *[f"--class_name={CLASSES[other]}"] * 2)
    assert ran.exit_code == 0, ran.stderr
    first, second, third = sorted(got["frames"][np.argsort(got["values"][:, other])[-3:]])
    said = _line_below_the_table(ran.stdout, CLASSES[other])
    assert said == f"frames {first}, {second} and {third} are the top 3, certain"
    assert ran.stdout.count("certain") == 1


def test_a_sampled_top_frame_is_that_of_the_exact_values_and_what_is_saved_is_what_certified_it(
    tmp_path, explain_video
):
    arguments = ["--num_frames=10", f"--class_name={CLASSES[2]}"]
    assert explain_video(*arguments).exit_code == 0
    exact = _load(tmp_path)
    assert exact["std_error"].max() == 0
    ran = explain_video(*arguments, "--certify=top", "--max_exact_frames=5", "--max_evaluations=700")
    assert ran.exit_code == 0, ran.stderr
    top = exact["frames"][np.argmax(exact["values"][:, 2])]
    assert _line_below_the_table(ran.stdout, CLASSES[2]) == f"frame {top} is the top frame, certain to 95 %"
    assert "certify top" in ran.stdout.splitlines()[0]
    certified = _load(tmp_path)
    # The first look, of 64, is enough here: a second sampling would have taken 700.
    assert explain_video(*arguments, "--max_exact_frames=5", "--max_evaluations=64").exit_code == 0
    once = _load(tmp_path)
    assert once["std_error"].max() > 0
    np.testing.assert_allclose(certified["values"], once["values"], atol=1e-6)
    # Wider, for the looks that there might have been.
    assert (certified["high"] - certified["low"] > once["high"] - once["low"]).all()


def test_signs_that_are_not_sure_are_said_to_be_undecided(tmp_path, explain_video):
    assert explain_video("--num_frames=12").exit_code == 0
    exact = _load(tmp_path)
    ran = explain_video("--num_frames=12", "--certify=sign", "--estimator=regression", "--max_evaluations=300")
    assert ran.exit_code == 0, ran.stderr
    got, predicted = _load(tmp_path), int(exact["predicted"])
    found = re.fullmatch(
        r"positive: frames? ([\d, and]+), negative: frames? ([\d, and]+), each certain to 95 %; "
        r"undecided: frames? ([\d, and]+) after (\d+) evaluations",
        _line_below_the_table(ran.stdout, CLASSES[predicted]),
    )
    assert found, ran.stdout
    positive, negative, undecided = ({int(n) for n in re.findall(r"\d+", names)} for names in found.groups()[:3])
    values, low, high = exact["values"][:, predicted], got["low"][:, predicted], got["high"][:, predicted]
    assert positive == set(exact["frames"][(low > 0) & (values > 0)])
    assert negative == set(exact["frames"][(high < 0) & (values < 0)])
    assert undecided == set(exact["frames"][(low <= 0) & (high >= 0)])
    assert 64 < int(found[4]) <= 300


def test_recommended_samples_where_its_evaluations_are_not_all(tmp_path, explain_video):
    arguments = ["--num_frames=6", "--max_evaluations=20", "--max_exact_frames=5"]
    ran = explain_video(*arguments)
    assert ran.exit_code == 0, ran.stderr
    got = _load(tmp_path)
    assert got["std_error"].max() > 0
    np.testing.assert_allclose(got["values"].sum(axis=0), got["full"] - got["empty"], atol=1e-5)
    for enough in (["--max_evaluations=63", "--max_exact_frames=5"], ["--max_evaluations=20"]):
        assert explain_video("--num_frames=6", *enough).exit_code == 0
        assert _load(tmp_path)["std_error"].max() == 0


def test_too_few_samples_for_an_interval_are_said_so(tmp_path, explain_video):
    ran = explain_video("--num_frames=6", "--estimator=orderings", "--max_evaluations=30")
    assert ran.exit_code == 0, ran.stderr
    assert "\ntoo few samples for an interval: ask for more evaluations\n" in ran.stdout
    assert np.isinf(_load(tmp_path)["high"]).all()


@pytest.mark.parametrize("sampled", [False, True])
def test_pairs_of_frames_are_written_and_drawn(tmp_path, explain_video, sampled):
    flags = ["--estimator=surrogate", "--max_evaluations=40"] if sampled else []
    ran = explain_video("--num_frames=6", "--interactions", *flags)
    assert ran.exit_code == 0, ran.stderr
    assert "wrote report.png, page.html, interactions.csv," in ran.stdout
    got, table = _load(tmp_path), pd.read_csv(tmp_path / "out" / "interactions.csv")
    assert len(table) == 15 * len(CLASSES)
    assert (table["std_error"] > 0).any() == sampled
    assert set(table["frame_a"]) | set(table["frame_b"]) == set(got["frames"])
    written = inline_json(tmp_path / "out" / "page.html")
    ((_, values),) = written["index"]["sets"][0]["chunks"]
    np.testing.assert_allclose(numbers(written[values]["arrays"]["esv"]), got["values"].ravel(), atol=2.6e-5)
    (video,) = written[values]["videos"]
    assert video["frames"] == got["frames"].tolist()
    assert written[video["sprite"]].startswith("data:image/webp;base64,")
    pairs = numbers(written[values]["arrays"]["pairs"]).reshape(6, 6, -1)
    first = [got["frames"].tolist().index(frame) for frame in table.loc[0, ["frame_a", "frame_b"]]]
    assert abs(pairs[*first, list(got["class_names"]).index(table.loc[0, "class"])] - table.loc[0, "value"]) <= 2.6e-5
    with_triangle = _height_of_report(tmp_path)
    assert explain_video("--num_frames=6", *flags).exit_code == 0
    assert _height_of_report(tmp_path) < with_triangle


def _height_of_report(tmp_path):
    with Image.open(tmp_path / "out" / "report.png") as image:
        return image.height


def test_a_sampled_explanation_says_so_and_can_be_made_again_from_its_provenance(tmp_path, explain_video):
    arguments = ["--num_frames=5", "--estimator=stratified", "--per_size=4", "--seed=3"]
    ran = explain_video(*arguments)
    assert ran.exit_code == 0, ran.stderr
    assert "gap left by sampling" in ran.stdout
    first = _load(tmp_path)
    assert first["std_error"].min() > 0
    assert (first["low"] < first["values"]).all()
    assert (first["values"] < first["high"]).all()
    assert "95 % interval" in ran.stdout
    text = (tmp_path / "out" / "attribution.json").read_text(encoding="utf-8")
    assert str(tmp_path.parent) not in text
    record = json.loads(text)
    provenance = record["provenance"]
    assert (provenance["video"]["name"], provenance["model"]["name"]) == ("video", "multiscale_trn")
    assert provenance["method"] == {"estimator": "stratified", "per_size": 4, "seed": 3}
    assert provenance["video"]["num_frames"] == NUM_IMAGES
    assert provenance["model"]["kind"] == "multiscale_trn"
    assert {"python", "jax", "esv-jax"} <= set(provenance["versions"])
    np.testing.assert_array_equal(record["values"], first["values"])

    command = shlex.split(provenance["command"])
    assert command[:3] == ["python", "-m", "experiments.explain_video"]
    assert command[3:6] == ["--video=video", "--model=multiscale_trn", "--out=out"]
    assert explain_video(*command[6:]).exit_code == 0
    np.testing.assert_array_equal(_load(tmp_path)["values"], first["values"])
    assert explain_video(*arguments[:-1], "--seed=4").exit_code == 0
    assert not np.array_equal(_load(tmp_path)["values"], first["values"])


@pytest.mark.parametrize(
    ("arguments", "where", "message"),
    [
        (["--class_name=Opening somethin"], {}, r"unknown class 'Opening somethin': the model knows 3 classes"),
        (["--num_frames=14"], {}, "num_frames is 14, but the video has only 13 frames"),
        (["--num_frames=0"], {}, "num_frames should be an integer of at least 1, found 0"),
        (["--estimator=stratified", "--per_size=1"], {}, "--per_size should be at least 2"),
        (["--certify=top", "--target_std_error=0.01"], {}, "--certify and --target_std_error both say when to stop"),
        (["--certify=top", *(f"--class_name={c}" for c in CLASSES)], {}, "--certify is for one class, found 3"),
        (["--interactions", "--num_frames=17"], {}, "--interactions is for at most 16 frames, found --num_frames=17"),
        (["--certify=top", "--estimator=orderings"], {}, "which tell how sure differences of values are, found ord"),
        (["--certify=top", "--estimator=stratified_paired"], {}, "are, found stratified_paired"),
        ([], {"model": "nowhere"}, "there is no model folder"),
        ([], {"model": "video"}, "is not a model folder"),
        ([], {"model": "tsn/backbone"}, r"is a backbone \(frame_cnn\), which knows no classes"),
        ([], {"model": "without_backbone"}, "holds no backbone folder"),
        ([], {"video": "nothing.mp4"}, r"nothing\.mp4"),
        ([], {"out": "/dev/null/report"}, "the output folder /dev/null/report cannot be written"),
        (["surplus"], {}, "unexpected argument 'surplus'"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence_and_exit_code_1(explain_video, arguments, where, message):
    ran = explain_video(*arguments, **where)
    assert ran.exit_code == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line), line


def test_features_that_are_no_numbers_are_refused(explain_video, monkeypatch):
    import flax.linen as nn

    whole = nn.Module.apply

    def broken(self, *args, **kwargs):
        out = whole(self, *args, **kwargs)
        return out * np.float32("nan") if isinstance(self, FrameCNN) else out

    monkeypatch.setattr(nn.Module, "apply", broken)
    ran = explain_video()
    assert ran.exit_code == 1
    assert "error: the features of " in ran.stderr
    assert "should be finite" in ran.stderr


def test_a_name_that_is_no_text_is_shown_with_a_sign(explain_video, folder, tmp_path):
    strange = os.fsdecode(bytes(tmp_path) + b"/v\xff")
    try:
        shutil.copytree(folder / "video", strange)
    except OSError:
        pytest.skip("the file system takes no such names")
    ran = explain_video("--num_frames=3", video=strange)
    assert ran.exit_code == 0, ran.stderr
    record = json.loads((tmp_path / "out" / "attribution.json").read_text(encoding="utf-8"))
    assert record["provenance"]["video"]["name"] == "v\ufffd"
    assert ran.stdout.startswith("v\ufffd, 3 of ")


def test_results_that_cannot_be_written_are_still_printed(explain_video, tmp_path):
    (tmp_path / "out" / "attribution.npz").mkdir(parents=True)
    ran = explain_video()
    assert ran.exit_code == 1
    assert "= score " in ran.stdout
    assert "error: the results cannot be written" in ran.stderr


def test_from_the_shell_a_mistake_leaves_no_traceback(tmp_path):
    command = [
        sys.executable,
        "-m",
        "experiments.explain_video",
        "--video=x.mp4",
        f"--model={tmp_path}",
        f"--out={tmp_path}",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == f"error: {tmp_path} is not a model folder: it has no model.json\n"

"""The command for video-language models, of a small random model in a folder. Needs PyTorch and transformers."""

import json

import numpy as np
import pytest

import esv_jax
from esv_jax.interop import Prompt
from tests.experiments.scripts import run_script
from tests.interop import vlms

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")

OPTIONS = [f"--options={option}" for option in vlms.OPTIONS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("explain_question")
    vlms.case("qwen2_5_vl").model.save_pretrained(root / "model")
    rng = np.random.default_rng(0)
    (root / "video").mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(root / "video" / f"{i}.png")
    return root


@pytest.fixture
def run(folder, tmp_path, capsys, monkeypatch):
    case = vlms.case("qwen2_5_vl")
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lambda *_, **__: vlms.Processor(case))

    def of(*arguments, model="model"):
        given = [f"--model={folder / model}", f"--video={folder / 'video'}", f"--question={vlms.QUESTION}"]
        given += ["--num_frames=6", f"--out={tmp_path}"]
        return run_script("explain_question", *given, *arguments, capsys=capsys, monkeypatch=monkeypatch)

    return of


def read(tmp_path):
    return json.loads((tmp_path / "attribution.json").read_text())


def test_a_multiple_choice(folder, tmp_path, run):
    ran = run(*OPTIONS, "--nowords", f"--archive={tmp_path / 'q.esv'}", "--class_name=B. the hat")
    assert ran.exit_code == 0, ran.stderr
    images = np.stack([np.asarray(Image.open(folder / "video" / f"{i}.png")) for i in range(6)])
    case = vlms.case("qwen2_5_vl")
    text = "\n".join([vlms.QUESTION, *(f"{c}. {o}" for c, o in zip("ABC", vlms.OPTIONS, strict=True))])
    inputs = vlms.Processor(case)(
        text=["{video}" + text + "\nAnswer with the letter of the option."],
        videos=[list(images)],
        video_metadata=[{"frames_indices": range(6)}],
        do_sample_frames=False,
        return_tensors="pt",
    )
    prompt = Prompt(case.model, inputs, processor=case.tokenizer)
    game = esv_jax.prompt_game(prompt, prompt.frames(), letters="ABC")
    expected = esv_jax.explain(esv_jax.exact(), game, case.model, prompt.video)
    found = read(tmp_path)
    np.testing.assert_allclose(found["values"], expected.values, atol=1e-6)
    assert found["class_names"] == ["A. a red cup", "B. the hat", "C. nothing"]
    assert [player["name"] for player in found["players"]] == ["0-1", "2-3", "4-5"]
    assert found["provenance"]["positions"] == "keep"
    np.testing.assert_allclose(found["provenance"]["sums"]["frames"], np.sum(found["values"], axis=0), atol=1e-9)
    np.testing.assert_allclose(found["provenance"]["score_without_video"], found["empty"], atol=1e-6)
    before, _, after = ran.stdout.partition("with the video")
    assert "frames that are left stand at their times" in before
    assert "of these: frames" in after
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_words_are_players_and_have_letters(tmp_path, run):
    ran = run(*OPTIONS, "--max_evaluations=80", "--max_exact_frames=4")
    assert ran.exit_code == 0, ran.stderr
    names = [player["name"] for player in read(tmp_path)["players"]]
    assert names[3:] == [
        *("a) What", "b) does", "c) she", "d) take", "e) first?", "f) a", "g) red", "h) cup", "i) the", "j) hat"),
        "k) nothing",
    ]


def test_answers_of_ones_own_and_the_models(tmp_path, run):
    assert run("--nowords", "--answer=a cup", "--answer=a hat", "--positions=close").exit_code == 0
    assert read(tmp_path)["class_names"] == ["a cup", "a hat"]
    assert run("--nowords", "--max_new_tokens=3").exit_code == 0
    assert len(read(tmp_path)["class_names"]) == 1


@pytest.mark.parametrize(
    ("arguments", "model", "sentence"),
    [
        (["--options=x", "--options=y", "--answer=z"], "model", "--options and --answer both say what is explained"),
        (["--options=x"], "model", "--options should be 2 to 26, found 1"),
        (OPTIONS, "none", "none should be a folder of a video-language model and its processor"),
        ([*OPTIONS, "--class_name=D"], "model", "unknown class 'D'"),
        ([*OPTIONS, "--max_evaluations=5"], "model", "--max_evaluations should be at least 15 for 14 frames, found 5"),
    ],
)
def test_a_mistake_is_one_sentence(run, arguments, model, sentence):
    ran = run(*arguments, model=model)
    assert ran.exit_code == 1
    assert sentence in ran.stderr
    assert "Traceback" not in ran.stderr

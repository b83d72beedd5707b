import json
import shutil

import av
import jax
import jax.numpy as jnp
import numpy as np
import PIL
import pytest
from PIL import Image

from esv_jax import models
from esv_jax.data.feature_store import open_store
from esv_jax.models.backbones.frame_cnn import MEAN, SIZE, STD, FrameCNN
from esv_jax.saved import extraction, model_folder
from esv_jax.video import decode
from esv_jax.video.preprocess import Preprocess, resize_and_crop
from tests.experiments.scripts import run_script
from tests.video.videos import numbered_image, write_streams, write_video

DIM = 8
PREPROCESS = Preprocess(56, SIZE, (MEAN,) * 3, (STD,) * 3)
LABELS = "path,label,person\na.avi,run,ira\nfolder,jump,ido\nb.webm,run,ido\n"
LENGTHS = {"a.avi": 21, "folder": 3, "b.webm": 16}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A small random backbone, a model on it and one without it, and three labelled clips."""
    root = tmp_path_factory.mktemp("extract_features")
    module = FrameCNN(feature_dim=DIM)
    variables = jax.jit(module.init)(jax.random.key(0), np.zeros((1, SIZE, SIZE, 3), np.uint8))
    card = model_folder.ModelCard("frame_cnn", {"feature_dim": DIM}, DIM, preprocess=PREPROCESS)
    backbone = model_folder.Model(card, module, variables)
    model_folder.save_model(root / "backbone", card, variables)

    named = {"name": "frame_cnn", "digest": model_folder.digest(backbone)}
    head = models.TSN(num_classes=1)
    card = model_folder.ModelCard("tsn", {"num_classes": 1}, DIM, ("run",), np.ones(1, np.float32), named)
    variables = head.init(jax.random.key(1), np.zeros((2, DIM), np.float32))
    model_folder.save_model(root / "head", card, variables, backbone=backbone)
    model_folder.save_model(root / "head_alone", card, variables)

    clips = root / "clips"
    (clips / "folder").mkdir(parents=True)
    write_video(clips / "a.avi", "mpeg4", LENGTHS["a.avi"])
    write_video(clips / "b.webm", "libvpx", LENGTHS["b.webm"])
    for number in range(LENGTHS["folder"]):
        Image.fromarray(numbered_image(number)).save(clips / "folder" / f"{number}.png")
    (clips / "labels.csv").write_text(LABELS)
    return root


@pytest.fixture
def extract(root, tmp_path, capsys, monkeypatch):
    def run(*flags, backbone="backbone", labels=root / "clips" / "labels.csv", out=tmp_path / "store", processes=0):
        given = [
            f"--clips={root / 'clips'}",
            f"--labels={labels}",
            f"--out={out}",
            f"--num_processes={processes}",
            *flags,
        ]
        if backbone:
            given.append(f"--backbone={root / backbone}")
        return run_script("extract_features", *given, capsys=capsys, monkeypatch=monkeypatch)

    return run


def test_the_store_holds_every_frame_of_every_clip(root, tmp_path, extract):
    num_compiled = extraction._applied._cache_size()
    ran = extract("--hold_out=person=ido", "--dtype=float32", "--batch_size=8", backbone="head")
    assert ran.exit_code == 0, ran.stderr
    assert "3 clips, 40 frames, 2 classes, features [8] float32 of frame_cnn" in ran.stdout
    assert "3/3 clips, 40 new frames" in ran.stderr
    assert extraction._applied._cache_size() == num_compiled + 1  # for clips of 21, 3 and 16 frames

    store = open_store(tmp_path / "store")
    assert store.header.classes == ("jump", "run")
    assert store.header.preprocess == PREPROCESS
    assert [(c.uid, c.label, c.split) for c in store.clips] == [
        ("a.avi", "run", "train"),
        ("folder", "jump", "test"),
        ("b.webm", "run", "test"),
    ]
    backbone = model_folder.load_model(tmp_path / "store" / "backbone")
    apply = jax.jit(backbone.module.apply)
    assert store.header.backbone == {"name": "frame_cnn", "digest": model_folder.digest(backbone)}
    for i, clip in enumerate(store.clips):
        frames = np.stack(list(decode.iter_frames(root / "clips" / clip.uid)))
        assert len(frames) == LENGTHS[clip.uid]
        padded = np.concatenate(
            [resize_and_crop(frames, PREPROCESS), np.ones((24 - len(frames), SIZE, SIZE, 3), np.uint8)]
        )
        expected = apply(backbone.variables, padded)[: len(frames)]
        np.testing.assert_allclose(store.features(i), expected, atol=1e-5)
        assert np.ptp(store.features(i), axis=0).max() > 1e-3  # frames differ, so their order was put to the test


def test_a_store_tells_nothing_of_where_it_was_made(root, tmp_path, extract):
    """Of a clip elsewhere there is the name; one that the csv names by its whole path is called so, by its maker."""
    shutil.copytree(root / "clips" / "folder", tmp_path / "elsewhere")
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nfolder,run\n./a.avi,run\n../clips/b.webm,run\n")
    assert extract(labels=labels).exit_code == 0
    assert [clip.path for clip in open_store(tmp_path / "store").clips] == ["folder", "a.avi", "../clips/b.webm"]
    for file in (tmp_path / "store").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert str(root).encode() not in content, file
            assert str(tmp_path).encode() not in content, file
    labels.write_text(f"path,label\n{root / 'clips' / 'folder'},run\n{tmp_path / 'elsewhere'},run\n")
    assert extract(labels=labels, out=tmp_path / "absolute").exit_code == 0
    assert [clip.path for clip in open_store(tmp_path / "absolute").clips] == ["folder", "elsewhere"]


def test_an_output_folder_removed_in_the_middle_is_told_of_at_once(tmp_path, extract, monkeypatch):
    original, read = decode.iter_frames, []

    def removing(path, *part):
        read.append(path.name)
        if path.name == "folder":
            shutil.rmtree(tmp_path / "store")
        return original(path, *part)

    monkeypatch.setattr(decode, "iter_frames", removing)
    ran = extract()
    assert ran.exit_code == 1
    assert "store was removed or moved while clips were added" in ran.stderr
    assert read == ["a.avi", "folder"]
    assert not (tmp_path / "store").exists()


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, extract, monkeypatch):
    assert extract(out=tmp_path / "whole").exit_code == 0
    original, read = decode.iter_frames, []

    def stopping(path, *part):
        read.append(path.name)
        for number, frame in enumerate(original(path, *part)):
            if path.name == "b.webm" and number == 10:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(decode, "iter_frames", stopping)
    assert extract().exit_code == 130
    assert [clip.uid for clip in open_store(tmp_path / "store").clips] == ["a.avi", "folder"]

    read.clear()
    monkeypatch.setattr(decode, "iter_frames", lambda path, *part: read.append(path.name) or original(path, *part))
    ran = extract()
    assert ran.exit_code == 0
    assert read == ["b.webm"]
    assert "3 clips, 40 frames" in ran.stdout
    whole, resumed = (open_store(tmp_path / name) for name in ("whole", "store"))
    assert resumed.clips == whole.clips
    np.testing.assert_allclose(resumed.rows.astype(np.float32), whole.rows.astype(np.float32), atol=2e-3)


def test_clips_that_cannot_be_used_are_listed_and_the_exit_is_not_zero(root, tmp_path, extract):
    (root / "clips" / "noise.mp4").write_bytes(bytes(range(256)) * 9)
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nnone.avi,run\na.avi,run\nnoise.mp4,run\nb.webm,run\n")
    ran = extract(labels=labels)
    assert ran.exit_code == 1
    assert "2 of 4 clips could not be used, and 0 are allowed; the others are in" in ran.stderr
    assert "none.avi: there is no file" in ran.stderr
    assert "noise.mp4 is not a video that can be read" in ran.stderr
    assert [clip.uid for clip in open_store(tmp_path / "store").clips] == ["a.avi", "b.webm"]


def test_several_processes_give_the_same_and_allowed_failures_are_no_error(root, tmp_path, extract):
    """The clips that cannot be used are among the others of both processes."""
    (root / "clips" / "noise.mp4").write_bytes(bytes(range(256)) * 9)
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nnone.avi,run\na.avi,run\nb.webm,run\nnoise.mp4,run\nfolder,run\n")
    assert extract(labels=labels, out=tmp_path / "one").exit_code == 1
    ran = extract("--allow_failures=2", labels=labels, processes=2)
    assert ran.exit_code == 0, ran.stderr
    assert "none.avi: there is no file" in ran.stderr
    assert "noise.mp4 is not a video that can be read" in ran.stderr
    one, several = open_store(tmp_path / "one"), open_store(tmp_path / "store")
    assert [clip.uid for clip in several.clips] == ["a.avi", "b.webm", "folder"]
    assert several.clips == one.clips
    np.testing.assert_array_equal(several.rows, one.rows)


def test_features_too_large_for_float16_are_a_failure_of_their_clip(tmp_path, extract, monkeypatch):
    too_large = {"a.avi": 1e6}
    sizes = iter([too_large.get(name, 1.0) for name in ("a.avi", "a.avi", "folder", "b.webm")])  # a batch each
    monkeypatch.setattr(extraction, "_applied", lambda *of: jnp.full((len(of[-1]), DIM), next(sizes)))
    ran = extract("--allow_failures=1")
    assert ran.exit_code == 0
    assert "a.avi: the features of a.avi as float16 should be finite" in ran.stderr
    assert [clip.uid for clip in open_store(tmp_path / "store").clips] == ["folder", "b.webm"]


def test_features_that_are_not_finite_are_refused(tmp_path, extract, monkeypatch):
    monkeypatch.setattr(extraction, "_applied", lambda *of: jnp.full((len(of[-1]), DIM), jnp.nan))
    ran = extract()
    assert ran.exit_code == 1
    assert "a.avi: its features should be finite, found 168 NaN or infinite values of 168" in ran.stderr
    assert open_store(tmp_path / "store").clips == ()


def test_something_something_annotations(root, tmp_path, extract):
    classes, entries = tmp_path / "classes.json", tmp_path / "train.json"
    classes.write_text(json.dumps({"Closing something": "1", "Bending something": "0"}))
    entries.write_text(json.dumps([{"id": "b", "template": "Closing [something]"}]))
    ran = extract(f"--classes={classes}", "--split=validation", labels=entries)
    assert ran.exit_code == 0, ran.stderr
    store = open_store(tmp_path / "store")
    assert store.header.classes == ("Bending something", "Closing something")
    assert [clip[:4] for clip in store.clips] == [("b", "b.webm", "Closing something", "validation")]


def test_epic_kitchens_annotations_are_of_parts_of_videos(root, tmp_path, extract):
    classes, actions = tmp_path / "classes.csv", tmp_path / "EPIC_100_train.csv"
    classes.write_text("id,key\n0,take\n1,open\n")
    lines = [
        "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,start_frame,stop_frame,verb_class,noun_class",
        "x_0,x,folder,00:00:00.00,00:00:00.04,1,2,1,7",
        "x_1,x,a.avi,00:00:00.12,00:00:00.36,7,21,0,3",  # 60 frames a second; the file has 25
        "x_2,x,a.avi,00:00:00.76,00:00:00.96,46,57,0,3",
    ]
    actions.write_text("\n".join(lines) + "\n")
    ran = extract("--head=verb", f"--classes={classes}", "--allow_failures=1", "--dtype=float32", labels=actions)
    assert ran.exit_code == 0, ran.stderr
    assert "x_2: the part from 0.76 s to 0.96 s is asked for, but" in ran.stderr
    parts = open_store(tmp_path / "store")
    assert [(clip.uid, clip.label, clip.num_frames) for clip in parts.clips] == [("x_0", "open", 2), ("x_1", "take", 6)]
    extract("--dtype=float32", out=tmp_path / "whole")
    whole = open_store(tmp_path / "whole")
    np.testing.assert_allclose(parts.features(0), whole.features(1)[1:3], atol=1e-5)
    np.testing.assert_allclose(parts.features(1), whole.features(0)[3:9], atol=1e-5)


def test_what_contradicts_the_store_is_refused(root, tmp_path, extract):
    assert extract().exit_code == 0
    before = open_store(tmp_path / "store").clips
    ran = extract("--hold_out=person=ido")
    assert ran.exit_code == 1
    assert "has folder as 'jump' (train), but" in ran.stderr
    assert "'jump' (test): use another folder" in ran.stderr
    ran = extract("--dtype=float32")
    assert ran.exit_code == 1
    assert "has dtype float16, but float32 is to be added" in ran.stderr
    assert open_store(tmp_path / "store").clips == before


@pytest.mark.parametrize(
    ("flags", "options", "message"),
    [
        (["--hold_out=ido"], {}, "--hold_out should be COLUMN=VALUE,VALUE..., found 'ido'"),
        (["--hold_out=person=irma"], {}, "has the person irma that is to be held out"),
        (["--mobilenet_weights=w.npz"], {}, "are two backbones: give one"),
        (["--mobilenet_weights=w.npz"], {"backbone": None}, "w.npz cannot be read"),
        ([], {"backbone": "head_alone"}, "is a model that holds no backbone"),
        ([], {"backbone": "nowhere"}, "there is no model folder"),
        ([], {"labels": "nowhere.csv"}, "the labels nowhere.csv cannot be read: No such file"),
        (["--clips=nowhere"], {}, "there is no folder nowhere"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, extract, flags, options, message):
    ran = extract(*flags, **options)
    assert ran.exit_code == 1
    assert message in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_a_folder_that_cannot_be_written(root, tmp_path, extract):
    ran = extract(out=root / "clips" / "a.avi" / "store")
    assert ran.exit_code == 1
    assert "cannot be written" in ran.stderr


def test_a_run_killed_before_the_backbone_was_copied_is_made_good(tmp_path, extract):
    assert extract().exit_code == 0
    shutil.rmtree(tmp_path / "store" / "backbone")
    assert extract().exit_code == 0
    model_folder.load_model(tmp_path / "store" / "backbone")


def test_it_is_told_which_of_several_videos_in_a_file_is_read_and_what_decoded_it(root, tmp_path, extract):
    clips = root / "clips"
    write_streams(clips / "two.mkv", [(100, (32, 24), False), (0, (64, 48), True)])
    (tmp_path / "labels.csv").write_text("path,label\ntwo.mkv,run\nb.webm,run\n")
    ran = extract(labels=tmp_path / "labels.csv")
    assert ran.exit_code == 0, ran.stderr
    assert "files of several videos: two.mkv: video stream 1 (64x48) is read, not 0 (32x24)\n" in ran.stderr
    versions = json.loads((tmp_path / "store" / "store.json").read_text())["versions"]
    assert (versions["av"], versions["pillow"]) == (av.__version__, PIL.__version__)

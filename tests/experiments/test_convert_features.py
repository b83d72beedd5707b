import json
from pathlib import Path

import numpy as np
import pytest

from esv_jax.data import feature_store, play_fair_features
from esv_jax.data.priors import read_priors
from tests.experiments.scripts import run_script

GOLDEN = Path(__file__).parents[1] / "golden" / "play_fair" / "features.hdf"
NAMES = [f"class {i}" for i in range(9)]


@pytest.fixture
def script(capsys, monkeypatch, tmp_path):
    (tmp_path / "classes.csv").write_text("name,id\n" + "".join(f"{name},{i}\n" for i, name in enumerate(NAMES)))

    def run(name, **given):
        arguments = [f"--{flag}={value}" for flag, value in given.items()]
        return run_script(name, *arguments, capsys=capsys, monkeypatch=monkeypatch)

    return run


def test_there_and_back(tmp_path, script):
    ran = script("convert_features", features=GOLDEN, classes=tmp_path / "classes.csv", out=tmp_path / "store")
    assert ran.exit_code == 0, ran.stderr
    assert "12 clips, 9 classes, features [16]" in ran.stdout
    store, original = feature_store.open_store(tmp_path / "store"), play_fair_features.open_features(GOLDEN)
    assert store.header.classes == tuple(NAMES)
    assert [clip.label for clip in store.clips] == [NAMES[label] for label in original.labels]
    ran = script("convert_features", features=tmp_path / "store", out=tmp_path / "back.hdf")
    assert ran.exit_code == 0, ran.stderr
    back = play_fair_features.open_features(tmp_path / "back.hdf")
    assert back.clips == original.clips
    np.testing.assert_array_equal(back.labels, original.labels)
    for i in range(len(back.clips)):
        np.testing.assert_array_equal(back.features(i), original.features(i))


def epic_file(tmp_path):
    path = tmp_path / "EPIC.csv"
    lines = [f"{100000 + i},P01,P01_01,1,9,{i % 2},{i % 4}" for i in range(12)]
    path.write_text(
        "\n".join(["narration_id,participant_id,video_id,start_frame,stop_frame,verb_class,noun_class", *lines])
    )
    return path


def test_the_same_features_serve_both_heads_of_epic(tmp_path, script):
    labels, classes = epic_file(tmp_path), tmp_path / "classes.csv"
    for head, count in (("verb", 2), ("noun", 4)):
        given = {"labels": labels, "head": head, "classes": classes}
        ran = script("convert_features", features=GOLDEN, out=tmp_path / head, **given)
        assert ran.exit_code == 0, ran.stderr
        store = feature_store.open_store(tmp_path / head)
        assert [clip.label for clip in store.clips] == [NAMES[i % count] for i in range(12)]
        ran = script("class_priors", out=tmp_path / f"{head}.csv", **given)
        assert ran.stdout.endswith(
            f"9 classes, {9 - count} of which never occur (prior 0): "
            + ", ".join(str(i) for i in range(count, 9))
            + "\n"
        )
        expected = np.float32([1 / count] * count + [0] * (9 - count))
        np.testing.assert_allclose(read_priors(tmp_path / f"{head}.csv", 9), expected, rtol=1e-6)


def test_priors_of_something_something_and_of_counts(tmp_path, script):
    (tmp_path / "labels.json").write_text(json.dumps({"Opening something": "1", "Closing something": "0", "Z": "2"}))
    templates = ["Opening [something]", "Closing [something]", "Opening [something]", "Opening [something]"]
    entries = [{"id": str(i), "template": template} for i, template in enumerate(templates)]
    (tmp_path / "train.json").write_text(json.dumps(entries))
    ran = script(
        "class_priors", labels=tmp_path / "train.json", classes=tmp_path / "labels.json", out=tmp_path / "p.csv"
    )
    assert ran.exit_code == 0, ran.stderr
    assert (tmp_path / "p.csv").read_text() == "class,prior\n0,0.25\n1,0.75\n2,0.0\n"
    (tmp_path / "counts.csv").write_text("class,count\n1,30\n0,10\n")
    ran = script("class_priors", counts=tmp_path / "counts.csv", num_classes=3, out=tmp_path / "q.csv")
    assert ran.exit_code == 0, ran.stderr
    assert (tmp_path / "q.csv").read_text() == (tmp_path / "p.csv").read_text()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("convert_features", {}, "numbers its classes: give their names with --classes"),
        ("convert_features", {"head": "verb"}, "--head is of annotations: give --labels too"),
        ("convert_features", {"classes": "two.csv"}, "the class 8 of 100001 in"),
        (
            "convert_features",
            {"classes": "classes.csv", "split": "train"},
            "holds the splits validation, not 'train'",
        ),
        ("convert_features", {"labels": "own.csv"}, "has no label for the clip 100001 of"),
        ("class_priors", {}, "give either --labels or --counts"),
        ("class_priors", {"counts": "counts.csv"}, "--counts needs --num_classes"),
        ("class_priors", {"labels": "test.csv"}, "has no clips of the split 'train'"),
        ("class_priors", {"labels": "mixed.csv"}, "mixed.csv has the split 'Training'"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, script, name, given, message):
    (tmp_path / "two.csv").write_text("name,id\na,0\nb,1\n")
    (tmp_path / "own.csv").write_text("path,label\n100000,a\n")
    (tmp_path / "test.csv").write_text("path,label,split\nx,a,test\n")
    (tmp_path / "mixed.csv").write_text("path,label,split\nx,a,train\ny,b,Training\n")
    given = {flag: tmp_path / value if value.endswith(".csv") else value for flag, value in given.items()}
    if name == "convert_features":
        given["features"] = GOLDEN
    ran = script(name, out=tmp_path / "out", **given)
    assert ran.exit_code == 1
    assert message in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_suffixes_may_be_in_capitals(tmp_path, script):
    header = feature_store.StoreHeader(2, "float16", ("a", "b"))
    with feature_store.create_or_append(tmp_path / "store", header) as writer:
        writer.append("x", "", "b", "test", np.ones((3, 2), np.float32))
    for name in ("FEATURES.HDF5", "Features.Hdf", "f.H5"):
        ran = script("convert_features", features=tmp_path / "store", out=tmp_path / name)
        assert ran.exit_code == 0, ran.stderr
        np.testing.assert_array_equal(play_fair_features.open_features(tmp_path / name).labels, [1])


def test_labels_that_are_numbers_are_the_class_numbers_of_the_file(tmp_path, script):
    labels = [(7 * i) % 11 for i in range(12)]
    (tmp_path / "own.csv").write_text("path,label\n" + "".join(f"{100000 + i},{n}\n" for i, n in enumerate(labels)))
    ran = script("convert_features", features=GOLDEN, labels=tmp_path / "own.csv", out=tmp_path / "store")
    assert ran.exit_code == 0, ran.stderr
    assert "12 clips, 11 classes" in ran.stdout
    script("convert_features", features=tmp_path / "store", out=tmp_path / "back.hdf")
    np.testing.assert_array_equal(play_fair_features.open_features(tmp_path / "back.hdf").labels, labels)

    other = "".join(f"{100000 + i},{n}\n" for i, n in enumerate(labels[::-1]))
    (tmp_path / "own.csv").write_text("path,label\n" + other)
    ran = script("convert_features", features=GOLDEN, labels=tmp_path / "own.csv", out=tmp_path / "store")
    assert ran.exit_code == 1
    assert "has 100001 as '7' (validation), but it is to be '4' (validation): use another folder" in ran.stderr


def test_a_store_of_numbers_sorted_as_text_is_not_numbered_by_them(tmp_path, script):
    header = feature_store.StoreHeader(2, "float16", ("0", "1", "10", "2"))
    with feature_store.create_or_append(tmp_path / "store", header) as writer:
        writer.append("x", "", "2", "test", np.ones((3, 2), np.float32))
    ran = script("convert_features", features=tmp_path / "store", out=tmp_path / "f.hdf")
    assert ran.exit_code == 1
    assert "are numbers sorted as text (0, 1, 10 and 1 more)" in ran.stderr


def test_priors_of_labels_that_are_numbers(tmp_path, script):
    """Class 10 is not the one after class 1; the class that does not occur has its place."""
    counts = {0: 1, 1: 2, 2: 3, 10: 4}
    lines = [f"{c}_{i}.mp4,{c},train\n" for c, count in counts.items() for i in range(count)]
    (tmp_path / "own.csv").write_text("path,label,split\n" + "".join(lines) + "x.mp4,11,test\n")
    ran = script("class_priors", labels=tmp_path / "own.csv", out=tmp_path / "p.csv")
    assert ran.exit_code == 0, ran.stderr
    assert "12 classes, 8 of which never occur (prior 0): 3, 4, 5, 6, 7, 8, 9, 11" in ran.stdout
    expected = np.float32([counts.get(c, 0) / 10 for c in range(12)])
    np.testing.assert_array_equal(read_priors(tmp_path / "p.csv", 12), expected)


def test_one_split_goes_into_a_file(tmp_path, script):
    header = feature_store.StoreHeader(2, "float16", ("a", "b"))
    with feature_store.create_or_append(tmp_path / "store", header) as writer:
        for i, split in enumerate(("train", "test", "train")):
            writer.append(f"clip {i}", "", "b", split, np.full((3, 2), i, np.float32))
    ran = script("convert_features", features=tmp_path / "store", out=tmp_path / "f.hdf")
    assert ran.exit_code == 1
    assert "holds the splits test, train, of which the file takes one: choose with --split" in ran.stderr
    ran = script("convert_features", features=tmp_path / "store", split="train", out=tmp_path / "f.hdf")
    assert ran.exit_code == 0, ran.stderr
    read = play_fair_features.open_features(tmp_path / "f.hdf", "train")
    assert [clip.uid for clip in read.clips] == ["clip 0", "clip 2"]
    np.testing.assert_array_equal(read.features(1), np.full((3, 2), 2, np.float32))

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.data.feature_store import StoreHeader, create_or_append, open_store, read_header
from esv_jax.video.preprocess import Preprocess

HEADER = StoreHeader(
    feature_dim=3,
    dtype="float32",
    classes=("jump", "run"),
    backbone={"name": "frame_cnn", "digest": "0123"},
    preprocess=Preprocess(32, 28, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
)


def rows(num_frames, seed=0, dim=3):
    return np.random.default_rng(seed).normal(size=(num_frames, dim)).astype(np.float32)


def fill(path, names, header=HEADER):
    with create_or_append(path, header) as writer:
        for name in names:
            if name not in writer.done:
                writer.append(name, f"{name}.avi", "run", "train", rows(len(name), seed=len(name)))


def test_clips_come_back_as_they_were_stored(tmp_path):
    with create_or_append(tmp_path / "store", HEADER) as writer:
        writer.append("a", "some, 'odd'/a.avi", "run", "train", rows(5, 1))
        writer.append("b", "b.avi", "jump", "", rows(1, 2))
    store = open_store(tmp_path / "store")
    assert store.header == HEADER
    assert store.clips[0] == ("a", "some, 'odd'/a.avi", "run", "train", 5, 0)
    assert store.clips[1] == ("b", "b.avi", "jump", "", 1, 5)
    np.testing.assert_array_equal(store.features(0), rows(5, 1))
    np.testing.assert_array_equal(store.features(1), rows(1, 2))
    assert isinstance(store.rows, np.memmap)


def test_an_empty_store_can_be_read(tmp_path):
    create_or_append(tmp_path, HEADER).close()
    store = open_store(tmp_path)
    assert store.clips == ()
    assert store.rows.shape == (0, 3)


def test_float16_rounds_and_refuses_what_it_cannot_hold(tmp_path):
    header = HEADER._replace(dtype="float16")
    with create_or_append(tmp_path, header) as writer:
        writer.append("a", "a", "run", "train", rows(4))
        with pytest.raises(InputError, match=r"features of b as float16 should be finite, found 1 NaN or infinite"):
            writer.append("b", "b", "run", "train", np.float32([[1, 2, 1e5]]))
    assert (tmp_path / "features.bin").stat().st_size == 4 * 3 * 2
    np.testing.assert_array_equal(open_store(tmp_path).features(0), rows(4).astype(np.float16))


def test_an_interrupted_run_is_cut_off_and_gone_on_with(tmp_path):
    fill(tmp_path / "whole", ["a", "bb", "ccc"])
    fill(tmp_path / "cut", ["a", "bb"])
    with open(tmp_path / "cut" / "features.bin", "ab") as file:
        file.write(b"rows of ccc without a line")
    with open(tmp_path / "cut" / "clips.csv", "ab") as file:
        file.write(b"ccc,ccc.avi,ru")
    assert [clip.uid for clip in open_store(tmp_path / "cut").clips] == ["a", "bb"]
    fill(tmp_path / "cut", ["a", "bb", "ccc"])
    for name in ("features.bin", "clips.csv", "store.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_append_has_stored_survives_being_killed(tmp_path):
    script = (
        "import os, signal, sys, numpy as np\n"
        "from tests.data.test_feature_store import HEADER, create_or_append, rows\n"
        "writer = create_or_append(sys.argv[1], HEADER)\n"
        "writer.append('a', 'a', 'run', 'train', rows(4))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "store")], env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == -signal.SIGKILL
    np.testing.assert_array_equal(open_store(tmp_path / "store").features(0), rows(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_dim": 4}, "has feature_dim 3, but 4 is to be added"),
        ({"dtype": "float16"}, "has dtype float32, but float16"),
        ({"classes": ("jump", "run", "walk")}, "has classes"),
        ({"backbone": {"name": "frame_cnn", "digest": "9"}}, "has backbone"),
        ({"preprocess": None}, "has preprocess"),
    ],
)
def test_other_features_than_the_stores_are_refused(tmp_path, change, message):
    fill(tmp_path, ["a"])
    with pytest.raises(InputError, match=message):
        create_or_append(tmp_path, HEADER._replace(**change))
    assert len(open_store(tmp_path).clips) == 1


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (("a", "p", "run", "", rows(2)), "the clip a is in the store .* already"),
        (("n", "p", "walk", "", rows(2)), r"label 'walk' of n is not one of the store's 2 classes"),
        (("n", "p", "run", "", rows(2, dim=4)), r"features of n should have shape \[T, 3\], found \[2, 4\]"),
        (("n", "p", "run", "", np.ones((2, 3), np.int32)), "should be floating point"),
        (("n", "p", "run", "", rows(0)), "at least 1 frame"),
        (("n", "p", "run", "", np.float32([[1, np.nan, 0]])), r"features of n should be finite.*index \(0, 1\)"),
        (("n\nm", "p", "run", "", rows(2)), "of one line"),
    ],
)
def test_bad_clips_are_refused_and_leave_no_trace(tmp_path, clip, message):
    fill(tmp_path, ["a"])
    with create_or_append(tmp_path, HEADER) as writer, pytest.raises(InputError, match=message):
        writer.append(*clip)
    store = open_store(tmp_path)
    assert len(store.clips) == 1
    assert (tmp_path / "features.bin").stat().st_size == store.rows.nbytes


def test_two_processes_do_not_write_to_one_store(tmp_path):
    pytest.importorskip("fcntl")
    with (
        create_or_append(tmp_path, HEADER),
        pytest.raises(InputError, match="another process is writing the feature store"),
    ):
        create_or_append(tmp_path, HEADER)
    fill(tmp_path, ["a"])


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with create_or_append(tmp_path, HEADER) as writer:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="cannot be written: No space left on device"):
            writer.append("a", "a", "run", "train", rows(4))
    monkeypatch.undo()
    assert open_store(tmp_path).clips == ()
    fill(tmp_path, ["a"])
    np.testing.assert_array_equal(open_store(tmp_path).features(0), rows(1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "int8"}, "dtype in the header of the store should be one of"),
        ({"feature_dim": 0}, "feature_dim in the header"),
        ({"classes": ("run", "run")}, "should be different names"),
        ({"classes": ()}, "should be different names"),
    ],
)
def test_impossible_headers_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        create_or_append(tmp_path, HEADER._replace(**change))


def test_what_is_no_store_is_said_to_be_none(tmp_path):
    with pytest.raises(InputError, match="there is no feature store"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is not a feature store: it has no store\.json"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as json"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(InputError, match="no format_version"):
        open_store(tmp_path)
    (tmp_path / "store.json").write_text('{"format_version": 1, "dtype": "float16"}')
    with pytest.raises(InputError, match="should have the fields"):
        open_store(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        create_or_append(tmp_path / "store.json" / "below_a_file", HEADER)


def test_newer_and_damaged_stores_are_refused(tmp_path):
    fill(tmp_path, ["aaaa", "bb"])
    json_file, csv_file, bin_file = (tmp_path / n for n in ("store.json", "clips.csv", "features.bin"))
    good = {file: file.read_bytes() for file in (json_file, csv_file, bin_file)}

    fields = json.loads(good[json_file])
    json_file.write_text(json.dumps(fields | {"format_version": 2}))
    with pytest.raises(InputError, match="format 2, newer than format 1"):
        read_header(tmp_path)
    json_file.write_bytes(good[json_file])

    bin_file.write_bytes(good[bin_file][:-1])
    for opens in (open_store, lambda path: create_or_append(path, HEADER)):
        with pytest.raises(InputError, match="71 bytes of the 72"):
            opens(tmp_path)
    bin_file.write_bytes(good[bin_file])

    for wrong, message in [
        (good[csv_file].replace(b",0\n", b",7\n"), "damaged at the clip aaaa"),
        (good[csv_file].replace(b",run,", b",fly,"), "damaged at the clip aaaa"),
        (good[csv_file].replace(b"bb,", b"aaaa,"), "holds a uid twice"),
        (good[csv_file].replace(b",4,0", b""), "is damaged"),
        (good[csv_file].replace(b"uid,", b"id,"), "should begin with the line uid,path,label,split,num_frames,offset"),
    ]:
        csv_file.write_bytes(wrong)
        with pytest.raises(InputError, match=message):
            open_store(tmp_path)
    csv_file.write_bytes(good[csv_file])

    json_file.unlink()
    with pytest.raises(InputError, match=r"has lost its store\.json"):
        create_or_append(tmp_path, HEADER)

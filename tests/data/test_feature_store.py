import json
import os
import shutil
import signal
import subprocess
import sys
import zlib

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
    checksums = [
        f"{zlib.crc32(line + rows(n, seed).tobytes()):08x}"
        for line, n, seed in ((b"a,\"some, 'odd'/a.avi\",run,train,5,0,\n", 5, 1), (b"b,b.avi,jump,,1,5,\n", 1, 2))
    ]
    assert store.clips[0] == ("a", "some, 'odd'/a.avi", "run", "train", 5, 0, checksums[0])
    assert store.clips[1] == ("b", "b.avi", "jump", "", 1, 5, checksums[1])
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
        (
            {"classes": ("jump", "run", "walk")},
            r"has classes jump, run \(2\), but jump, run, walk \(3\) is to be added",
        ),
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
        (("n\0", "p", "run", "", rows(2)), "of one line"),
        (("n", "p\udce4", "run", "", rows(2)), "of one line"),
    ],
)
def test_bad_clips_are_refused_and_leave_no_trace(tmp_path, clip, message):
    fill(tmp_path, ["a"])
    with create_or_append(tmp_path, HEADER) as writer, pytest.raises(InputError, match=message):
        writer.append(*clip)
    store = open_store(tmp_path)
    assert len(store.clips) == 1
    assert (tmp_path / "features.bin").stat().st_size == store.rows.nbytes


@pytest.mark.parametrize("field", ["uid", "path", "split", "a feature"])
def test_bits_that_changed_are_noticed_where_they_are_read(tmp_path, field):
    """The clip before the damaged one is read as ever."""
    fill(tmp_path, ["a", "bb"])
    if field == "a feature":
        content = bytearray((tmp_path / "features.bin").read_bytes())
        content[-7] ^= 0x10
        (tmp_path / "features.bin").write_bytes(content)
    else:
        old, new = {"uid": ("\nbb,", "\nbc,"), "path": ("bb.avi", "bb.avj"), "split": ("train,2", "traim,2")}[field]
        text = (tmp_path / "clips.csv").read_text()
        assert text.count(old) == 1
        (tmp_path / "clips.csv").write_text(text.replace(old, new))
    store = open_store(tmp_path)
    np.testing.assert_array_equal(store.features(0), rows(1, seed=1))
    for read in (lambda: store.features(1), lambda: store.read([0, 1])):
        with pytest.raises(InputError, match=r"the clip b[bc] in .* is damaged: .*; take away this line of clips\.csv"):
            read()


def test_stores_without_checksums_are_read_and_added_to(tmp_path):
    """Those of format 1."""
    fill(tmp_path / "new", ["a", "bb"])
    fill(tmp_path / "old", ["a"])
    header, clips = (tmp_path / "old" / name for name in ("store.json", "clips.csv"))
    header.write_text(json.dumps(json.loads(header.read_text()) | {"format_version": 1}))
    lines = [line.rpartition(",")[0] for line in clips.read_text().splitlines()]
    assert lines == ["uid,path,label,split,num_frames,offset", "a,a.avi,run,train,1,0"]
    clips.write_text("\n".join(lines) + "\n")
    fill(tmp_path / "old", ["a", "bb"])
    assert clips.read_text().splitlines()[2:] == ["bb,bb.avi,run,train,2,1"]
    old, new = open_store(tmp_path / "old"), open_store(tmp_path / "new")
    assert old.clips == tuple(clip._replace(checksum="") for clip in new.clips)
    np.testing.assert_array_equal(old.rows, new.rows)


@pytest.mark.parametrize("what", ["removed", "moved", "made anew"])
def test_a_store_that_is_gone_is_told_of_at_once(tmp_path, what):
    with create_or_append(tmp_path / "store", HEADER) as writer:
        writer.append("a", "a", "run", "train", rows(4))
        if what == "removed":
            shutil.rmtree(tmp_path / "store")
        else:
            (tmp_path / "store").rename(tmp_path / "moved")
        if what == "made anew":
            fill(tmp_path / "store", ["bb"])
        with pytest.raises(InputError, match=r"store was removed or moved while clips were added"):
            writer.append("b", "b", "run", "train", rows(2))
        assert writer.closed
    if what != "removed":
        assert [clip.uid for clip in open_store(tmp_path / "moved").clips] == ["a"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"feature_dim": 10**9}, "feature_dim in .*store.json should be an integer"),
        ({"feature_dim": "3"}, "feature_dim in .*store.json should be an integer"),
        ({"dtype": {"a": 1}}, "dtype in .*store.json should be one of"),
        ({"dtype": "object"}, "dtype in .*store.json should be one of"),
        ({"classes": "run"}, "classes in .* should be a list of names, found 'run'"),
        ({"classes": None}, "classes in .* should be a list of names, found None"),
        ({"classes": [["run"]]}, "should be names of one line each, found"),
        ({"classes": [f"c{i}" for i in range(999)] * 2}, "different names, found c0, c1, c2 and 1,995 more"),
        ({"backbone": [1]}, "should be a name and a digest"),
        ({"preprocess": 3}, "should say what was done to the images"),
        ({"preprocess": {}}, "should say what was done to the images: preprocess should have the fields"),
        ({"preprocess": {**HEADER.preprocess._asdict(), "std": ["a", "b", "c"]}}, "should say what was done"),
        ({"preprocess": {**HEADER.preprocess._asdict(), "mean": [[1], [2, 3], 4]}}, "should say what was done"),
    ],
)
def test_headers_that_promise_what_cannot_be(tmp_path, fields, message):
    fill(tmp_path, ["a"])
    file = tmp_path / "store.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    with pytest.raises(InputError, match=message):
        open_store(tmp_path)


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
        ({"classes": ()}, "should be different names, found none"),
        ({"classes": ("a", "b\n")}, r"should be names of one line each, found 'b\\n'"),
        ({"classes": ("a", 3)}, "should be names of one line each, found 3"),
        ({"feature_dim": True}, "feature_dim in the header"),
        ({"feature_dim": 10**9}, "at least 1 and at most 16777216, found 1000000000"),
        ({"feature_dim": 2.0}, "found 2.0"),
        ({"dtype": ["float16"]}, "dtype in the header"),
        ({"backbone": "cnn"}, "backbone in the header of the store should be a name and a digest, found 'cnn'"),
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
    json_file.write_text(json.dumps(fields | {"format_version": 3}))
    with pytest.raises(InputError, match="format 3, newer than format 2"):
        read_header(tmp_path)
    json_file.write_bytes(good[json_file])

    bin_file.write_bytes(good[bin_file][:-1])
    for opens in (open_store, lambda path: create_or_append(path, HEADER)):
        with pytest.raises(InputError, match=r"71 bytes, .* of the clip bb: take away line 3 of clips.csv and those"):
            opens(tmp_path)
    bin_file.unlink()
    with pytest.raises(InputError, match=r"0 bytes, which end before those of the clip aaaa: take away line 2"):
        open_store(tmp_path)
    bin_file.write_bytes(good[bin_file])

    for wrong, message in [
        (good[csv_file].replace(b",4,0,", b",4,7,"), "damaged at line 2"),
        (good[csv_file].replace(b",4,0,", b",4,00,"), "damaged at line 2"),
        (good[csv_file].replace(b",4,0,", b",-4,0,"), "damaged at line 2"),
        (good[csv_file].replace(b",2,4,", b",0,4,"), "damaged at line 3"),
        (good[csv_file].replace(b",4,0,", b",100000000000000,0,"), "which end before those of the clip aaaa"),
        (
            good[csv_file].replace(b",run,", b",fly,"),
            "damaged at line 2: take away this line and those below it, and run",
        ),
        (good[csv_file].replace(b"bb,", b"aaaa,"), "holds a uid twice, aaaa"),
        (good[csv_file].replace(b",4,0", b""), "damaged at line 2"),
        (good[csv_file].replace(b"aaaa,", b"\xff,"), "is damaged: 'utf-8' codec"),
        (good[csv_file].replace(b"uid,", b"id,"), "should begin with the line uid,path,label,split,num_frames,offset"),
        (b"", "has lost its clips.csv"),
    ]:
        csv_file.write_bytes(wrong)
        for opens in (open_store, lambda path: create_or_append(path, HEADER)):
            with pytest.raises(InputError, match=message):
                opens(tmp_path)
        assert bin_file.read_bytes() == good[bin_file]
    csv_file.write_bytes(good[csv_file])

    json_file.unlink()
    with pytest.raises(InputError, match=r"has lost its store\.json"):
        create_or_append(tmp_path, HEADER)

import asyncio
import json
import os
import pickle
import re
import resource
import shutil
import sys
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import xarray
import zarr

import esv_jax
from esv_jax import files
from esv_jax.checks import InputError, MissingExtraError
from esv_jax.results import store, store_files, store_writer
from tests.results.stores import CLASSES, CONFIGURATION, PRIOR, files_of, index_of, values_of, write

LENGTHS = {"a": 4, "b": 2, "c": 9, "d": 1, "e": 3}


def test_what_was_written_is_given_back(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS, sampled=True)
    dataset = esv_jax.results.open(tmp_path / "s.zarr")
    assert dict(dataset.sizes) == {"video": 4, "frame": 2, "class": 3}
    uids = ("a", "b", "c", "e")
    assert dataset["uid"].values.tolist() == list(uids)
    for name, values in values_of(uids, 2, sampled=True).items():
        assert dataset[name].dtype == np.float32
        np.testing.assert_array_equal(dataset[name].values, values)
    assert {dataset[name].dims for name in ("esv", "std_error", "low", "high")} == {("video", "frame", "class")}
    assert dataset.attrs["interval_level"] == 0.95
    assert dataset["score"].dims == ("video", "class")
    np.testing.assert_array_equal(dataset["prior"].values, PRIOR)
    assert dataset["class_name"].values.tolist() == list(CLASSES)
    assert dataset["frame_index"].values.tolist() == [[1, 3], [0, 1], [2, 6], [0, 2]]
    assert dataset["num_frames_in_video"].values.tolist() == [4, 2, 9, 3]
    for name in ("label", "frame_index", "num_frames_in_video"):
        assert dataset[name].dtype == np.int64
    assert json.loads(dataset.attrs["left_out"]) == {"d": "has 1 frames"}
    assert dataset.attrs["num_frames"] == 2
    assert json.loads(dataset.attrs["versions"]) == CONFIGURATION["versions"]
    assert {k: v for k, v in CONFIGURATION.items() if k != "versions"}.items() <= dataset.attrs.items()


def test_exact_values_have_no_standard_errors_on_disk_and_zeros_in_memory(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS)
    np.testing.assert_array_equal(esv_jax.results.open(tmp_path / "s.zarr")["std_error"].values, np.zeros((4, 2, 3)))
    assert [name for name in files_of(tmp_path / "s.zarr") if "std_error" in name] == [
        "num_frames=2/std_error/zarr.json"
    ]


def test_intervals_of_exact_values_are_these_and_not_on_disk(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS)
    dataset = esv_jax.results.open(tmp_path / "s.zarr")
    for name in ("low", "high"):
        np.testing.assert_array_equal(dataset[name].values, dataset["esv"].values)
        assert not (tmp_path / "s.zarr" / "num_frames=2" / name).exists()


def _without_intervals(group):
    """Makes of a group one as it was written before there were intervals."""
    metadata = json.loads((group / "zarr.json").read_text())
    del metadata["attributes"]["interval_level"]
    for name in ("low", "high"):
        shutil.rmtree(group / name)
    arrays = [json.loads((group / name / "zarr.json").read_text()) for name in store_files.arrays_of(intervals=False)]
    metadata["attributes"]["metadata_digest"] = store_files.metadata_digest(metadata, arrays)
    (group / "zarr.json").write_text(json.dumps(metadata))


def test_sampled_stores_from_before_there_were_intervals_are_read_and_have_none(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS, sampled=True)
    expected = _load(tmp_path / "s.zarr")
    _without_intervals(tmp_path / "s.zarr" / "num_frames=2")
    assert _load(tmp_path / "s.zarr") == {name: expected[name] for name in expected if name not in ("low", "high")}
    with pytest.raises(InputError, match=r"was begun for 4 videos of values .*: use another folder"):
        write(tmp_path / "s.zarr", LENGTHS, sampled=True)


def test_zarr_alone_reads_the_store(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS)
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")["num_frames=2"]
    np.testing.assert_array_equal(group["esv"][:], values_of(("a", "b", "c", "e"), 2, sampled=False)["esv"])


def _load(path):
    dataset = esv_jax.results.open(path)
    return {name: variable.values.tobytes() for name, variable in dataset.variables.items()}


@pytest.mark.parametrize("sampled", [False, True])
def test_a_bit_that_changed_anywhere_is_told_of(tmp_path, sampled):
    path = tmp_path / "s.zarr"
    write(path, LENGTHS, sampled=sampled)
    good, rng = _load(path), np.random.default_rng(0)
    for name, content in files_of(path).items():
        for position in {0, len(content) - 1, *rng.integers(len(content), size=4).tolist()}:
            changed = bytearray(content)
            changed[position] ^= 1 << int(rng.integers(8))
            (path / name).write_bytes(changed)
            with pytest.raises(InputError, match=re.escape(str(path))):
                _load(path)
        (path / name).write_bytes(content)
    assert _load(path) == good


@pytest.mark.parametrize("sampled", [False, True])
def test_a_file_that_is_gone_or_cut_short_is_told_of(tmp_path, sampled):
    path = tmp_path / "s.zarr"
    write(path, LENGTHS, sampled=sampled)
    for name, content in files_of(path).items():
        for left in (None, b"", content[: len(content) // 2], content[:-1]):
            (path / name).unlink() if left is None else (path / name).write_bytes(left)
            with pytest.raises(InputError, match=re.escape(str(path))):
                _load(path)
            (path / name).write_bytes(content)


def test_values_that_change_or_go_after_opening_are_told_of_when_they_are_read(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS, configuration={**CONFIGURATION})
    dataset = esv_jax.results.open(tmp_path / "s.zarr")
    file = tmp_path / "s.zarr" / "num_frames=2" / "esv" / "c" / "1" / "0" / "0"
    content = file.read_bytes()
    file.write_bytes(bytes(len(content)))
    again = "run the command that made it again, with its --out: test$"
    with pytest.raises(InputError, match=rf"esv/c/1/0/0 has changed since it was written: {again}"):
        dataset["esv"][3].load()
    expected = values_of(("a", "b"), 2, sampled=False)["esv"]
    np.testing.assert_array_equal(dataset["esv"][:2].values, expected)  # of another batch
    file.unlink()
    with pytest.raises(InputError, match=rf"esv/c/1/0/0 is missing: {again}"):
        dataset["esv"].load()
    write(tmp_path / "s.zarr", LENGTHS)
    dataset["esv"].load()


def test_batches_that_changed_are_computed_anew_by_the_same_command(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS, sampled=True)
    whole = files_of(tmp_path / "s.zarr")
    for name in ("esv/c/1/0/0", "std_error/c/0/0/0", "score/c/0/0"):
        file = tmp_path / "s.zarr" / "num_frames=2" / name
        content = bytearray(file.read_bytes())
        content[5] ^= 1
        file.write_bytes(content)
    write(tmp_path / "s.zarr", LENGTHS, sampled=True)
    assert files_of(tmp_path / "s.zarr") == whole


def test_the_checksum_is_zarrs_crc32c(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS)
    content = (tmp_path / "s.zarr" / "num_frames=2" / "score" / "c" / "0" / "0").read_bytes()
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    crc = 0xFFFFFFFF
    for byte in content[:-4]:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    assert int.from_bytes(content[-4:], "little") == crc ^ 0xFFFFFFFF


def _as_format_1(path):
    """Makes of a store one as the format before had them: no checksums, and an index that is compressed."""
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["format_version"] = 1
    del root["attributes"]["metadata_digest"]
    (path / "zarr.json").write_text(json.dumps(root))
    group = zarr.open_group(path / "num_frames=2", mode="r+")
    del group.attrs["metadata_digest"]
    for name, array in list(group.arrays()):
        values, dims = array[:], array.metadata.dimension_names
        options = {"compressors": None} if name in store_files.VALUES else {}
        made = group.create_array(
            name,
            shape=array.shape,
            chunks=array.chunks,
            dtype=str if name in ("uid", "class_name") else array.dtype,
            fill_value="" if name in ("uid", "class_name") else array.fill_value,
            dimension_names=dims,
            overwrite=True,
            **options,
        )
        made[:] = values


def test_a_number_of_frames_is_an_integer_of_any_kind(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS)
    for number in np.array([2]), np.array([2.0]):
        assert store.open(tmp_path / "s.zarr", number[0]).sizes["frame"] == 2


@pytest.mark.filterwarnings("ignore:The (codec|dtype)")
def test_stores_of_the_format_before_are_read_and_not_added_to(tmp_path):
    path = tmp_path / "s.zarr"
    write(path, {"a": 4, "b": 2, "c": 9, "e": 3}, batch_size=2)
    expected = _load(path)
    _as_format_1(path)
    assert (path / "num_frames=2" / "score" / "c" / "0" / "0").stat().st_size == 2 * 3 * 4
    assert _load(path) == expected
    with pytest.raises(InputError, match="is of format 1, without checksums, and this esv_jax adds to"):
        write(path, LENGTHS, 3)
    label = path / "num_frames=2" / "label" / "c" / "0"
    content = label.read_bytes()
    label.write_bytes(content[:9])
    with pytest.raises(InputError, match=r"num_frames=2/zarr\.json is not what was written"):
        store.open(path)
    label.write_bytes(content)
    score = path / "num_frames=2" / "score" / "c" / "0" / "0"
    score.rename(tmp_path / "score")
    with pytest.raises(InputError, match=r"is not finished, .* again, with another --out: test"):
        store.open(path)
    (tmp_path / "score").rename(score)
    (path / "num_frames=2" / "uid" / "c" / "0").unlink()
    with pytest.raises(InputError, match="uid/c/0 is missing"):
        _load(path)


def test_an_index_of_zeros_is_written(tmp_path):
    write(tmp_path / "s.zarr", {"a": 2, "b": 2}, 1)
    group = tmp_path / "s.zarr" / "num_frames=1"
    (group / "label").rename(group / "label_kept")
    with pytest.raises(InputError, match=r"label/zarr.json is not what was written \(it is missing\)"):
        esv_jax.results.open(tmp_path / "s.zarr")
    (group / "label_kept").rename(group / "label")
    with store_writer.writing(tmp_path / "zeros.zarr", CONFIGURATION) as folder:
        index = index_of({"a": 1, "b": 1}, 1)._replace(label=np.zeros(2, np.int64))
        options = {"prior": PRIOR, "class_names": CLASSES, "batch_size": 2, "sampled": False, "provenance": {}}
        chunks = store_writer.open_group(folder, index, **options)
        store_writer.write_chunk(chunks, 0, values_of(("a", "b"), 1, sampled=False))
    dataset = esv_jax.results.open(tmp_path / "zeros.zarr")
    assert dataset["label"].values.tolist() == [0, 0]
    (tmp_path / "zeros.zarr" / "num_frames=1" / "label" / "c" / "0").unlink()
    with pytest.raises(InputError, match="label/c/0 is missing"):
        esv_jax.results.open(tmp_path / "zeros.zarr")


@pytest.mark.parametrize(
    "stray", ["num_frames=2_old", "num_frames=2 copy", "num_frames=02", "notes", "num_frames=\u0663"]
)
def test_copies_and_other_folders_in_a_store_are_no_part_of_it(tmp_path, stray):
    write(tmp_path / "s.zarr", LENGTHS)
    expected = _load(tmp_path / "s.zarr")
    shutil.copytree(tmp_path / "s.zarr" / "num_frames=2", tmp_path / "s.zarr" / stray)
    shutil.copytree(tmp_path / "s.zarr" / "num_frames=2" / "esv", tmp_path / "s.zarr" / "num_frames=2" / "esv copy")
    for name in (
        "._num_frames=2",
        "num_frames=7",
        "num_frames=2/._esv",
        "num_frames=2/.DS_Store",
        "num_frames=2/esv/c/x",
    ):
        (tmp_path / "s.zarr" / name).write_bytes(b"\0\5\x16\7")
    assert esv_jax.results.num_frames_stored(tmp_path / "s.zarr") == [2]
    assert _load(tmp_path / "s.zarr") == expected
    write(tmp_path / "s.zarr", LENGTHS)


def test_a_store_that_a_desktop_has_seen_empty_is_begun(tmp_path):
    (tmp_path / "s.zarr").mkdir()
    (tmp_path / "s.zarr" / ".DS_Store").write_bytes(b"\0")
    write(tmp_path / "s.zarr", LENGTHS)
    esv_jax.results.open(tmp_path / "s.zarr")


def test_a_dataset_can_be_kept_as_netcdf_copied_and_pickled(tmp_path):
    pytest.importorskip("scipy")
    odd = {**CONFIGURATION, "split": None, "exact": True, "large": 2**40, "rate": 0.5, "list": [1, None]}
    write(tmp_path / "s.zarr", LENGTHS, configuration=odd)
    dataset = esv_jax.results.open(tmp_path / "s.zarr")
    assert {type(value) for value in dataset.attrs.values()} == {str, int, float}
    told = {
        name: json.loads(dataset.attrs[name]) for name in ("split", "exact", "large", "list", "sampled", "left_out")
    }
    expected = {name: odd.get(name) for name in told}
    assert told == {**expected, "sampled": False, "left_out": {"d": "has 1 frames"}}
    dataset.to_netcdf(tmp_path / "s.nc", engine="scipy", format="NETCDF3_64BIT")
    with xarray.open_dataset(tmp_path / "s.nc", engine="scipy") as read:
        for name in dataset.variables:
            np.testing.assert_array_equal(read[name].values, dataset[name].values)
        assert {name: str(value) for name, value in read.attrs.items()} == {
            name: str(value) for name, value in dataset.attrs.items()
        }
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert again.identical(dataset)


def test_several_numbers_of_frames_and_the_videos_that_all_of_them_hold(tmp_path):
    for num_frames in (4, 2, 3):
        write(tmp_path / "s.zarr", LENGTHS, num_frames)
    assert esv_jax.results.num_frames_stored(tmp_path / "s.zarr") == [2, 3, 4]
    with pytest.raises(InputError, match="holds values of 2, 3, 4 frames: say which with num_frames="):
        esv_jax.results.open(tmp_path / "s.zarr")
    with pytest.raises(InputError, match="holds values of 2, 3, 4 frames, not of 8"):
        esv_jax.results.open(tmp_path / "s.zarr", 8)
    assert esv_jax.results.open(tmp_path / "s.zarr", 3)["uid"].values.tolist() == ["a", "c", "e"]
    common = esv_jax.results.open_common(tmp_path / "s.zarr")
    for num_frames, dataset in common.items():
        assert dataset["uid"].values.tolist() == ["a", "c"]
        expected = values_of(("a", "c"), num_frames, sampled=False)["esv"]
        np.testing.assert_array_equal(dataset["esv"].values, expected)
    assert list(common) == [2, 3, 4]
    assert len(esv_jax.results.open_common(tmp_path / "s.zarr", [3, 2])[2]["uid"]) == 3


class Stopped(BaseException):
    """What no code catches."""


async def _ended():
    """When all that zarr still does has ended: who is killed does nothing more."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


def test_a_run_stopped_at_any_write_goes_on_to_the_same_store_bit_for_bit(tmp_path, monkeypatch):
    write(tmp_path / "whole.zarr", LENGTHS, sampled=True)
    whole = files_of(tmp_path / "whole.zarr")
    originals = {(owner, name): getattr(owner, name) for owner, name in ((Path, "write_bytes"), (os, "replace"))}
    count = 0

    def stopping(original):
        def step(path, *args, **kwargs):
            nonlocal count
            # Of zarr's writes of the group, those of one array stand for all.
            parts, before = Path(path).parts, count
            count += "score" in parts or not any(part.startswith(".num_frames=2.") for part in parts[:-1])
            if count < stop_at:
                return original(path, *args, **kwargs)
            if before < stop_at and original is originals[Path, "write_bytes"]:
                original(path, bytes(args[0])[: len(bytes(args[0])) // 2])
            raise Stopped

        return step

    interrupted = 0
    for stop_at in range(1, 200):
        path = tmp_path / f"{stop_at}.zarr"
        count = 0
        with monkeypatch.context() as patch:
            for (owner, name), original in originals.items():
                patch.setattr(owner, name, stopping(original))
            patch.setattr(files, "_remove", lambda path: None)  # who is killed removes nothing
            try:
                write(path, LENGTHS, sampled=True)
            except Stopped:
                interrupted += 1
                zarr.core.sync.sync(_ended())
        if count < stop_at:
            break
        write(path, LENGTHS, sampled=True)
        assert files_of(path) == whole
    # The root, the group and two batches of three arrays; zarr's own writes come to that.
    assert interrupted >= 2 + 1 + 2 * 3 * 2


def test_a_store_that_is_not_finished_is_not_read_as_if_it_were(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS, batch_size=1, stop_at=3)
    with pytest.raises(InputError, match=r"not finished, 1 of its 4 batches are missing: run the command .* again"):
        esv_jax.results.open(tmp_path / "s.zarr")
    write(tmp_path / "s.zarr", LENGTHS, batch_size=1)
    cut = tmp_path / "s.zarr" / "num_frames=2" / "score" / "c" / "1" / "0"
    cut.write_bytes(cut.read_bytes()[:-1])
    with pytest.raises(InputError, match="1 of its 4 batches"):
        esv_jax.results.open(tmp_path / "s.zarr")
    write(tmp_path / "s.zarr", LENGTHS, batch_size=1)
    esv_jax.results.open(tmp_path / "s.zarr")


def test_finished_batches_are_not_written_again(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS, batch_size=1, stop_at=2)
    first = tmp_path / "s.zarr" / "num_frames=2" / "esv" / "c" / "0" / "0" / "0"
    zeros = bytes(first.stat().st_size - 4)
    first.write_bytes(zeros + google_crc32c.value(zeros).to_bytes(4, "little"))
    write(tmp_path / "s.zarr", LENGTHS, batch_size=1)
    assert not esv_jax.results.open(tmp_path / "s.zarr")["esv"].values[0].any()


def test_a_full_disk_is_one_sentence_and_the_same_call_goes_on(tmp_path):
    lengths = {f"v{i}": 40 for i in range(60)}
    write(tmp_path / "whole.zarr", lengths, 40, batch_size=30)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, limits[1]))  # a batch of values takes 14 400 bytes
    try:
        with pytest.raises(InputError, match=r"s.zarr cannot be written: File too large; .* the same command again"):
            write(tmp_path / "s.zarr", lengths, 40, batch_size=30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [name for name in files_of(tmp_path / "s.zarr") if "partial" in name]
    write(tmp_path / "s.zarr", lengths, 40, batch_size=30)
    assert files_of(tmp_path / "s.zarr") == files_of(tmp_path / "whole.zarr")


def test_two_at_once_are_refused(tmp_path):
    with store_writer.writing(tmp_path / "s.zarr", CONFIGURATION):  # noqa: SIM117
        with pytest.raises(InputError, match=r"another process is writing the results store .*s\.zarr"):
            write(tmp_path / "s.zarr", LENGTHS)
    write(tmp_path / "s.zarr", LENGTHS)


def test_another_configuration_is_refused(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS)
    before = files_of(tmp_path / "s.zarr")
    with pytest.raises(InputError, match=r"s.zarr was made with seed 0, not 1: use another folder"):
        write(tmp_path / "s.zarr", LENGTHS, 3, configuration={**CONFIGURATION, "seed": 1})
    with pytest.raises(InputError, match="was begun with a batch size of 2, not of 3: go on with 2"):
        write(tmp_path / "s.zarr", LENGTHS, batch_size=3)
    assert files_of(tmp_path / "s.zarr") == before


@pytest.mark.parametrize("version", [0, 3, None, True, "2"])
def test_another_version_is_refused(tmp_path, version):
    write(tmp_path / "s.zarr", LENGTHS)
    file = tmp_path / "s.zarr" / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["format_version"] = version
    file.write_text(json.dumps(content))
    for act in (esv_jax.results.open, lambda path: write(path, LENGTHS)):
        with pytest.raises(
            InputError, match=f"is of format {json.dumps(version)}, and this esv_jax reads formats 1 and"
        ):
            act(tmp_path / "s.zarr")


def test_what_is_no_store(tmp_path):
    with pytest.raises(InputError, match="there is no results store"):
        esv_jax.results.open(tmp_path / "s.zarr")
    zarr.create_group(tmp_path / "foreign.zarr", zarr_format=3, attributes={"format": "another"})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").touch()
    for name in ("foreign.zarr", "folder"):
        before = files_of(tmp_path / name)
        for act in (esv_jax.results.open, lambda path: write(path, LENGTHS)):
            with pytest.raises(InputError, match="is not a results store"):
                act(tmp_path / name)
        assert files_of(tmp_path / name) == before
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        write(tmp_path / "folder" / "notes.txt" / "s.zarr", LENGTHS)


def test_a_batch_of_another_shape_is_refused(tmp_path):
    with store_writer.writing(tmp_path / "s.zarr", CONFIGURATION) as folder:
        index = index_of(LENGTHS, 2)
        options = {"prior": PRIOR, "class_names": CLASSES, "batch_size": 3, "sampled": False, "provenance": {}}
        chunks = store_writer.open_group(folder, index, **options)
        with pytest.raises(InputError, match=r"esv of batch 1 should have shape \[1, 2, 3\], found \[2, 2, 3\]"):
            store_writer.write_chunk(chunks, 1, values_of(("b", "c"), 2, sampled=False))


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    write(tmp_path / "s.zarr", LENGTHS)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'esv-jax\[io\]'"):
        esv_jax.results.open(tmp_path / "s.zarr")

import json
import os
import resource
import sys
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr

import esv_jax
from esv_jax import files
from esv_jax.checks import InputError, MissingExtraError
from esv_jax.results import store_writer
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
    assert dataset["esv"].dims == dataset["std_error"].dims == ("video", "frame", "class")
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


def test_zarr_alone_reads_the_store(tmp_path):
    write(tmp_path / "s.zarr", LENGTHS)
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")["num_frames=2"]
    np.testing.assert_array_equal(group["esv"][:], values_of(("a", "b", "c", "e"), 2, sampled=False)["esv"])


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


def test_a_run_stopped_at_any_write_goes_on_to_the_same_store_bit_for_bit(tmp_path, monkeypatch):
    write(tmp_path / "whole.zarr", LENGTHS, sampled=True)
    whole = files_of(tmp_path / "whole.zarr")
    originals = {(owner, name): getattr(owner, name) for owner, name in ((Path, "write_bytes"), (os, "replace"))}
    count = 0

    def stopping(original):
        def step(path, *args, **kwargs):
            nonlocal count
            # Of zarr's writes of the group, those of one array stand for all.
            parts = Path(path).parts
            count += "score" in parts or not any(part.startswith(".num_frames=2.") for part in parts[:-1])
            if count != stop_at:
                return original(path, *args, **kwargs)
            if original is originals[Path, "write_bytes"]:
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

"""Results stores that were damaged, changed or made up, and what their exports are asked for."""

import json

import numpy as np

import esv_jax
from esv_jax.results import export, store_files, store_writer
from tests.results.stores import CONFIGURATION, PRIOR, index_of, write

_LENGTHS = {"a": 4, "b": 2, "c": 9, "d": 1, "e": 3}


def _open(folder, change):
    """Opens, and reads all of, a store that `change` was done to."""
    write(folder / "s.zarr", _LENGTHS, sampled=True)
    change(folder / "s.zarr" / "num_frames=2")
    esv_jax.results.open(folder / "s.zarr").load()


def _remove(name):
    return lambda group: (group / name).unlink()


def _flip(name, byte=0):
    def change(group):
        content = bytearray((group / name).read_bytes())
        content[byte] ^= 16
        (group / name).write_bytes(content)

    return change


def _edit(name, **changed):
    """Changes fields of metadata, and makes the digest fit again, as whoever makes a store up can."""

    def change(group):
        file = group / name / "zarr.json"
        content = json.loads(file.read_text())
        (content["attributes"] if name == "." else content).update(changed)
        file.write_text(json.dumps(content))
        of_group = json.loads((group / "zarr.json").read_text())
        arrays = [
            json.loads((group / array / "zarr.json").read_text()) for array in (*store_files.VALUES, *store_files.INDEX)
        ]
        of_group["attributes"]["metadata_digest"] = store_files.metadata_digest(of_group, arrays)
        (group / "zarr.json").write_text(json.dumps(of_group))

    return change


def no_store(folder):
    esv_jax.results.open(folder / "nowhere")


def a_nul_in_a_path(folder):
    esv_jax.results.open(f"{folder}/a\0b")


def an_archive_of_a_store(folder):
    (folder / "s.zip").write_bytes(b"PK\3\4")
    esv_jax.results.open(folder / "s.zip")


def a_batch_that_changed(folder):
    _open(folder, _flip("esv/c/1/0/0", 9))


def a_batch_whose_checksum_changed(folder):
    _open(folder, _flip("score/c/0/0", -1))


def a_batch_that_is_gone(folder):
    _open(folder, _remove("std_error/c/0/0/0"))


def a_batch_that_goes_after_opening(folder):
    write(folder / "s.zarr", _LENGTHS)
    dataset = esv_jax.results.open(folder / "s.zarr")
    _remove("esv/c/0/0/0")(folder / "s.zarr" / "num_frames=2")
    dataset["esv"].load()


def labels_that_are_gone(folder):
    _open(folder, _remove("label/c/0"))


def labels_that_changed(folder):
    _open(folder, _flip("label/c/0"))


def priors_that_are_gone(folder):
    _open(folder, _remove("prior/c/0"))


def class_names_that_are_gone(folder):
    _open(folder, _remove("class_name/c/0"))


def uids_that_changed(folder):
    _open(folder, _flip("uid/c/0", 9))


def metadata_of_an_array_that_are_gone(folder):
    _open(folder, _remove("uid/zarr.json"))


def metadata_of_a_group_that_are_gone(folder):
    _open(folder, _remove("zarr.json"))


def metadata_that_are_cut_short(folder):
    _open(folder, lambda group: (group / "zarr.json").write_text((group / "zarr.json").read_text()[:200]))


def metadata_of_the_store_that_changed(folder):
    def change(group):
        file = group.parent / "zarr.json"
        file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))

    _open(folder, change)


def metadata_that_are_a_list(folder):
    _open(folder, lambda group: (group / "zarr.json").write_text("[]"))


def metadata_that_are_deep(folder):
    _open(folder, lambda group: (group / "zarr.json").write_text("[" * 100_000))


def an_attribute_that_changed(folder):
    def change(group):
        file = group / "zarr.json"
        file.write_text(file.read_text().replace('"estimator": "exact"', '"estimator": "exakt"'))

    _open(folder, change)


def a_batch_size_of_nothing(folder):
    _open(folder, _edit(".", batch_size=0))


def a_batch_size_that_is_true(folder):
    _open(folder, _edit(".", batch_size=True))


def more_frames_than_its_name_says(folder):
    _open(folder, _edit(".", num_frames=10**9))


def a_group_under_another_number(folder):
    _open(folder, lambda group: group.rename(group.with_name("num_frames=3")))


def a_group_of_a_thousand_million_frames(folder):
    _open(folder, lambda group: group.rename(group.with_name("num_frames=1000000000")))


def a_thousand_million_videos(folder):
    def change(group):
        for name, dims in {**store_files.VALUES, **store_files.INDEX}.items():
            file = group / name / "zarr.json"
            content = json.loads(file.read_text())
            if dims[0] == "video":
                content["shape"][0] = 10**11
            if dims[0] == "video" and name in store_files.INDEX:
                content["chunk_grid"]["configuration"]["chunk_shape"][0] = 10**11
            _edit(name, **content)(group)

    _open(folder, change)


def a_shape_that_does_not_fit(folder):
    _open(folder, _edit("label", shape=[3]))


def a_shape_that_is_no_list(folder):
    _open(folder, _edit("uid", shape={"video": 4}))


def numbers_of_another_kind(folder):
    _open(folder, _edit("esv", data_type="float64"))


def another_byte_order(folder):
    _open(folder, _edit("esv", codecs=[{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "crc32c"}]))


def chunks_of_another_shape(folder):
    _open(folder, _edit("esv", chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1, 2, 3]}}))


def codecs_that_are_a_number(folder):
    _open(folder, _edit("esv", codecs=7))


def a_store_without_groups(folder):
    with store_writer.writing(folder / "s.zarr", CONFIGURATION):
        pass
    esv_jax.results.open(folder / "s.zarr")


def a_store_removed_while_it_is_written(folder):
    with store_writer.writing(folder / "s.zarr", CONFIGURATION) as opened:
        chunks = _group(opened)
        (folder / "s.zarr").rename(folder / "moved.zarr")
        arrays = {"esv": np.ones((2, 2, 3), np.float32), "score": np.ones((2, 3), np.float32)}
        try:
            store_writer.write_chunk(chunks, 0, arrays)
        finally:
            if (folder / "s.zarr").exists():
                raise AssertionError("it was made again")


def metadata_of_endless_text(folder):
    _open(folder, lambda group: (group / "zarr.json").write_text("[" + "[]," * 6_000_000 + "1]"))


def more_videos_left_out_than_are_told_of(folder):
    with store_writer.writing(folder / "s.zarr", CONFIGURATION) as opened:
        index = index_of(_LENGTHS, 2)._replace(left_out={"x" * 2**24: "has 1 frames"})
        _group(opened, index=index)


def adding_to_a_group_whose_index_changed(folder):
    write(folder / "s.zarr", _LENGTHS, stop_at=1)
    _flip("label/c/0")(folder / "s.zarr" / "num_frames=2")
    write(folder / "s.zarr", _LENGTHS)


def adding_to_a_group_of_other_videos(folder):
    write(folder / "s.zarr", _LENGTHS, stop_at=1)
    write(folder / "s.zarr", {**_LENGTHS, "f": 9})


def names_that_are_formulas(folder):
    with store_writer.writing(folder / "s.zarr", CONFIGURATION) as opened:
        _group(opened, class_names=("=1+1", "@sum", "sit"))


def names_that_are_no_text(folder):
    with store_writer.writing(folder / "s.zarr", CONFIGURATION) as opened:
        _group(opened, class_names=("run", "\ud800", "sit"))


def names_that_are_longer_than_memory(folder):
    with store_writer.writing(folder / "s.zarr", CONFIGURATION) as opened:
        _group(opened, class_names=("run", "x" * 2**26, "sit"))


def a_table_with_formulas(folder):
    write(folder / "s.zarr", _LENGTHS)
    dataset = esv_jax.results.open(folder / "s.zarr")
    dataset["uid"] = ("video", ["-1+cmd|' /C calc'!A0", "b", "c", "e"])
    export.save_csv(dataset, folder / "t.csv")


def _group(opened, class_names=("run", "jump", "sit"), index=None):
    index = index or index_of(_LENGTHS, 2)
    options = {"prior": PRIOR, "batch_size": 2, "sampled": False, "provenance": CONFIGURATION}
    return store_writer.open_group(opened, index, class_names=class_names, **options)


def a_class_of_endless_names(folder):
    write(folder / "s.zarr", _LENGTHS)
    names = np.array(["Opening " + "x" * 5000, "Opening " + "y" * 5000, "Opening"])
    dataset = esv_jax.results.open(folder / "s.zarr").assign(class_name=("class", names))
    export.save_csv(dataset, folder / "t.csv", ["Opening " + "z" * 5000])

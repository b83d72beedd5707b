"""Files of labels, classes and priors, and features in folders and in HDF5."""

import gzip
import json
import os
import shutil

import h5py
import numpy as np

from esv_jax.data import annotations, feature_store, labelled_features, play_fair_features, point_tracks, priors

_HEADER = feature_store.StoreHeader(3, "float32", ("jump", "run"))


def _labels(folder, content, **options):
    content = content if isinstance(content, bytes) else content.encode()
    (folder / "labels.csv").write_bytes(content)
    annotations.read_labelled_clips(folder / "labels.csv", folder, **options)


def _classes(folder, content, name="classes.json"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    annotations.read_class_names(folder / name)


def _entries(folder, content):
    (folder / "train.json").write_text(content)
    annotations.read_ssv2_entries(folder / "train.json", ["run"], folder, split="train")


def _priors(folder, content, name="priors.csv", num_classes=3):
    (folder / name).write_text(content)
    priors.read_priors(folder / name, num_classes)


def _store(folder, change=None, header=None):
    """A store of two clips, changed by its files, or in its header."""
    with feature_store.create_or_append(folder / "store", _HEADER) as writer:
        for uid in ("a", "b"):
            writer.append(uid, f"{uid}.mp4", "run", "train", np.ones((2, 3), np.float32))
    if change:
        change(folder / "store")
    if header:
        path = folder / "store" / "store.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | header))
    store = feature_store.open_store(folder / "store")
    store.read(range(len(store.clips)))


def _hdf(folder, change):
    path = folder / "features.hdf"
    play_fair_features.write_features(path, [("a", 0, np.ones((2, 3), np.float32))], feature_dim=3)
    with h5py.File(path, "r+") as file:
        change(file)
    play_fair_features.open_features(path)


def _replaced(name, **made):
    def change(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, **made).attrs.update(attributes)

    return change


def _linked(name, link):
    def change(file):
        del file[name]
        file[name] = link

    return change


# Tables


def labels_that_are_empty(folder):
    _labels(folder, "")


def labels_of_blank_lines(folder):
    _labels(folder, "\n\r\n\n")


def labels_of_a_header_alone(folder):
    _labels(folder, "path,label\n")


def labels_that_are_not_there(folder):
    annotations.read_labelled_clips(folder / "none.csv", folder)


def labels_that_are_a_folder(folder):
    annotations.read_labelled_clips(folder, folder)


def labels_whose_path_has_a_nul(folder):
    annotations.read_labelled_clips(f"{folder}/a\0b.csv", folder)


def labels_in_utf_16(folder):
    _labels(folder, "path,label\na.mp4,run\n".encode("utf-16"))


def labels_in_utf_16_without_a_mark(folder):
    _labels(folder, "path,label\na.mp4,run\n".encode("utf-16-be"))


def labels_in_latin_1(folder):
    _labels(folder, "path,label\nü.mp4,run\n".encode("latin-1"))


def labels_with_semicolons(folder):
    _labels(folder, "path;label\na.mp4;run\n")


def labels_with_tabs(folder):
    _labels(folder, "path\tlabel\na.mp4\trun\n")


def labels_with_blanks_as_lists_of_mmaction_have(folder):
    _labels(folder, "a.mp4 0\nb.mp4 1\n")


def labels_that_are_a_spreadsheet(folder):
    np.savez(folder / "labels.npz", a=1)  # a zip file, as xlsx are
    (folder / "labels.npz").rename(folder / "labels.csv")
    annotations.read_labelled_clips(folder / "labels.csv", folder)


def labels_in_gzip(folder):
    _labels(folder, gzip.compress(b"path,label\na.mp4,run\n"))


def labels_that_are_the_page_of_a_failed_download(folder):
    _labels(folder, "\n<!DOCTYPE html>\n<html><title>404, not found</title></html>\n")


def labels_that_are_a_pointer_of_git_lfs(folder):
    _labels(folder, "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n")


def a_nul_in_a_cell(folder):
    _labels(folder, "path,label\na\0.mp4,run\n")


def a_line_end_in_a_cell(folder):
    _labels(folder, 'path,label\n"a\nb.mp4",run\n')


def a_quote_that_does_not_end(folder):
    _labels(folder, 'path,label\n"a.mp4,run\n' + "b.mp4,run\n" * 99)


def a_cell_of_a_million_letters(folder):
    _labels(folder, "path,label\n" + "a" * 10**6 + ",run\n")


def rows_too_long(folder):
    _labels(folder, "path,label\na.mp4,0,1,162\n")


def rows_too_short(folder):
    _labels(folder, "path,label,split\na.mp4,run\n")


def a_column_twice(folder):
    _labels(folder, "path,label,label\na.mp4,run,jump\n")


def a_thousand_columns_and_none_of_ours(folder):
    _labels(folder, ",".join(f"column {i}" for i in range(1000)) + "\n" + "," * 999 + "\n")


def columns_of_letters_that_cannot_be_shown(folder):
    _labels(folder, "path\u2028,\x1blabel\x7f\na.mp4,run\n")


def a_clip_of_letters_that_cannot_be_shown_twice(folder):
    _labels(folder, "path,label\n\x1b[2J,run\n\x1b[2J,run\n")


def a_row_of_empty_cells(folder):
    _labels(folder, "path,label\na.mp4,run\n,\n")


def a_clip_twice(folder):
    _labels(folder, "path,label\na.mp4,run\na.mp4,jump\n")


def a_thousand_values_held_out_that_are_not_there(folder):
    _labels(folder, "path,label\na.mp4,run\n", hold_out=("label", [f"x{i}" for i in range(1000)]))


# Labels that are numbers


def numbers_beside_words(folder):
    _labels(folder, "path,label\n" + "".join(f"{i}.mp4,{i}\n" for i in range(1000)) + "x.mp4,run\n")


def numbers_with_zeros_in_front(folder):
    _labels(folder, "path,label\na.mp4,001\nb.mp4,010\n")


def numbers_with_fractions(folder):
    _labels(folder, "path,label\na.mp4,0.2\nb.mp4,1.0\n")


def numbers_below_zero(folder):
    _labels(folder, "path,label\na.mp4,-1\nb.mp4,1\n")


def numbers_of_ten_digits(folder):
    _labels(folder, "path,label\na.mp4,4000000000\n")


def numbers_of_ten_thousand_digits(folder):
    _labels(folder, "path,label\na.mp4," + "9" * 10**4 + "\n")


def numbers_outside_the_classes(folder):
    (folder / "classes.csv").write_text("name,id\nrun,0\n")
    _labels(folder, "path,label\na.mp4,1\n", classes=folder / "classes.csv")


def labels_that_are_no_classes(folder):
    (folder / "classes.csv").write_text("name,id\nrun,0\n")
    _labels(folder, f"path,label\na.mp4,{'jump' * 999}\n", classes=folder / "classes.csv")


# Classes and entries in json


def classes_of_json_too_deep(folder):
    _classes(folder, "[" * 10**5 + "]" * 10**5)


def classes_of_json_cut_short(folder):
    _classes(folder, '{"run": "0", "ju')


def classes_in_utf_16(folder):
    _classes(folder, json.dumps({"run": "0"}).encode("utf-16"))


def classes_that_are_a_list(folder):
    _classes(folder, json.dumps([{"run": 0}] * 999))


def classes_with_fractions(folder):
    _classes(folder, '{"run": 0.2, "jump": 1.9}')


def classes_with_truth_values(folder):
    _classes(folder, '{"run": false, "jump": true}')


def classes_with_numbers_of_ten_thousand_digits(folder):
    _classes(folder, '{"run": ' + "9" * 10**4 + "}")


def classes_with_underscores_in_numbers(folder):
    _classes(folder, "name,id\n" + "".join(f"n{i},{i}\n" for i in range(10)) + "x,1_0\n", "classes.csv")


def classes_named_twice(folder):
    _classes(folder, '{"run": "0", "jump": "1", "run": "2"}')


def classes_named_twice_in_a_csv(folder):
    _classes(folder, "name,id\nrun,0\nrun,1\n", "classes.csv")


def classes_numbered_from_one(folder):
    _classes(folder, "name,id\n" + "".join(f"n{i},{i}\n" for i in range(1, 102)), "classes.csv")


def classes_without_a_name(folder):
    _classes(folder, "name,id\nrun,0\n,1\n", "classes.csv")


def classes_with_half_characters(folder):
    _classes(folder, '{"\\ud83d": "0"}')


def entries_that_are_an_object(folder):
    _entries(folder, '{"id": "1", "template": "run"}')


def entries_whose_ids_are_numbers(folder):
    _entries(folder, json.dumps([{"id": 1, "template": "run", "label": "x" * 999}]))


def entries_whose_ids_have_a_nul(folder):
    _entries(folder, '[{"id": "a\\u0000", "template": "run"}]')


def entries_of_an_unknown_class(folder):
    _entries(folder, json.dumps([{"id": "1", "template": "x" * 9999}]))


# Priors


def priors_in_per_cent(folder):
    _priors(folder, "class,prior\n0,60%\n1,40%\n")


def priors_that_sum_to_a_hundred(folder):
    _priors(folder, "class,prior\n0,60\n1,40\n")


def priors_with_decimal_commas(folder):
    _priors(folder, 'class,prior\n0,"0,5"\n1,"0,5"\n')


def priors_with_decimal_commas_that_are_columns(folder):
    _priors(folder, "class,prior\n0,0,5\n1,0,5\n")


def priors_that_are_nan(folder):
    _priors(folder, "class,prior\n0,nan\n1,1\n")


def priors_that_are_infinite_in_json(folder):
    _priors(folder, "[Infinity, 0, 0]", "priors.json")


def priors_that_are_truth_values(folder):
    _priors(folder, "[true, false, false]", "priors.json")


def priors_too_large_for_a_float(folder):
    _priors(folder, f"[1{'0' * 400}, 0, 0]", "priors.json")


def priors_of_names(folder):
    _priors(folder, "class,prior\nrun,1\n")


def priors_of_a_class_twice_in_json(folder):
    _priors(folder, '{"0": 0.5, "0": 1}', "priors.json")


def priors_below_zero(folder):
    _priors(folder, "class,prior\n0,1.5\n1,-0.5\n")


def counts_whose_sum_is_infinite(folder):
    _priors(folder, "class,count\n0,1e308\n1,1e308\n")


def priors_of_ten_thousand_million_classes(folder):
    _priors(folder, "class,prior\n0,1\n", num_classes=10**10)


def priors_that_are_a_long_list(folder):
    _priors(folder, json.dumps([0.5] * 9999), "priors.json")


# Tracks


def tracks_of_classes_with_fractions(folder):
    (folder / "tracks.csv").write_text("0.5,1,2\n" * 400)
    point_tracks.read_tracks(folder / "tracks.csv")


def tracks_that_are_not_finite(folder):
    (folder / "tracks.csv").write_text("0,1,2\n" * 399 + "0,nan,2\n")
    point_tracks.read_tracks(folder / "tracks.csv")


# Feature folders


def a_store_that_is_not_there(folder):
    feature_store.open_store(folder / "store")


def a_store_whose_path_has_a_nul(folder):
    feature_store.create_or_append(f"{folder}/a\0b", _HEADER)


def a_store_without_features(folder):
    _store(folder, lambda store: (store / "features.bin").unlink())


def a_store_with_features_cut_short(folder):
    _store(folder, lambda store: os.truncate(store / "features.bin", 40))


def a_store_without_its_list_of_clips(folder):
    _store(folder, lambda store: (store / "clips.csv").unlink())


def a_store_without_its_header(folder):
    _store(folder, lambda store: (store / "store.json").unlink())


def a_store_with_a_bit_that_changed(folder):
    def change(store):
        content = bytearray((store / "features.bin").read_bytes())
        content[5] ^= 4
        (store / "features.bin").write_bytes(content)

    _store(folder, change)


def a_store_with_a_split_that_changed(folder):
    def change(store):
        (store / "clips.csv").write_text((store / "clips.csv").read_text().replace("train", "test"))

    _store(folder, change)


def a_store_of_more_frames_than_there_can_be(folder):
    def change(store):
        (store / "clips.csv").write_text((store / "clips.csv").read_text().replace(",2,0,", ",900000000000000,0,"))

    _store(folder, change)


def a_store_whose_frames_are_a_fraction(folder):
    def change(store):
        (store / "clips.csv").write_text((store / "clips.csv").read_text().replace(",2,0,", ",2.0,0,"))

    _store(folder, change)


def a_store_of_another_dimension(folder):
    _store(folder, header={"feature_dim": 10**9})


def a_store_of_a_negative_dimension(folder):
    _store(folder, header={"feature_dim": -3})


def a_store_of_an_unknown_dtype(folder):
    _store(folder, header={"dtype": "object"})


def a_store_of_a_dtype_that_is_a_list(folder):
    _store(folder, header={"dtype": ["float16"]})


def a_store_whose_class_is_null(folder):
    _store(folder, header={"classes": [None, "run"]})


def a_store_whose_list_of_clips_has_lost_its_line_ends(folder):
    def change(store):
        (store / "clips.csv").write_bytes((store / "clips.csv").read_bytes().replace(b"\n", b""))
        (store / "features.bin").unlink()

    _store(folder, change)


def a_store_whose_classes_are_a_text(folder):
    _store(folder, header={"classes": "run"})


def a_store_whose_classes_are_not_different(folder):
    _store(folder, header={"classes": ["run"] * 9999})


def a_store_whose_preprocessing_is_none(folder):
    _store(folder, header={"preprocess": {"short_side": "large", "size": 3, "mean": 1, "std": 2}})


def a_store_of_a_newer_format(folder):
    _store(folder, header={"format_version": 99})


def a_store_of_other_classes_to_add_to(folder):
    _store(folder)
    other = _HEADER._replace(classes=tuple(f"class {i}" for i in range(9999)))
    feature_store.create_or_append(folder / "store", other)


def a_store_removed_while_it_is_written(folder):
    with feature_store.create_or_append(folder / "store", _HEADER) as writer:
        shutil.rmtree(folder / "store")
        writer.append("a", "a.mp4", "run", "train", np.ones((2, 3), np.float32))


def a_store_of_labels_that_the_model_lacks(folder):
    _store(folder)
    labelled_features.open_labelled(folder / "store", [f"class {i}" for i in range(9999)])


# Features in HDF5


def features_that_are_the_page_of_a_failed_download(folder):
    (folder / "features.hdf").write_text("<!doctype html>")
    play_fair_features.open_features(folder / "features.hdf")


def features_that_are_a_pointer_of_git_lfs(folder):
    (folder / "features.hdf").write_text("version https://git-lfs.github.com/spec/v1\n")
    play_fair_features.open_features(folder / "features.hdf")


def features_in_gzip(folder):
    (folder / "features.hdf").write_bytes(gzip.compress(b"\x89HDF\r\n\x1a\n"))
    play_fair_features.open_features(folder / "features.hdf")


def features_that_are_the_head_of_a_file(folder):
    (folder / "features.hdf").write_bytes(b"\x89HDF\r\n\x1a\n")
    play_fair_features.open_features(folder / "features.hdf")


def features_whose_path_has_a_nul(folder):
    play_fair_features.open_features(f"{folder}/a\0b.hdf")


def hdf5_of_fifteen_hundred_groups(folder):
    def change(file):
        del file["validation"]
        for i in range(1500):
            file.create_group(f"a group of another program, number {i}")

    _hdf(folder, change)


def hdf5_of_fifteen_hundred_splits(folder):
    def change(file):
        for i in range(1500):
            file[f"split {i}"] = file["validation"]

    _hdf(folder, change)


def hdf5_with_an_external_link(folder):
    _hdf(folder, _linked("validation/uids", h5py.ExternalLink("other.hdf", "/uids")))


def hdf5_with_an_external_link_in_place_of_a_split(folder):
    _hdf(folder, _linked("validation", h5py.ExternalLink("other.hdf", "/validation")))


def hdf5_with_a_soft_link(folder):
    _hdf(folder, _linked("validation/labels/label", h5py.SoftLink("/validation/labels/action")))


def hdf5_with_a_soft_link_to_itself(folder):
    _hdf(folder, _linked("validation/uids", h5py.SoftLink("/validation/uids")))


def hdf5_with_data_in_another_file(folder):
    made = {"data": np.zeros(1, np.int64), "external": str(folder / "raw.bin")}
    _hdf(folder, _replaced("validation/labels/label", **made))


def hdf5_with_a_virtual_dataset(folder):
    def change(file):
        layout = h5py.VirtualLayout((1,), np.int64)
        layout[:] = h5py.VirtualSource("other.hdf", "label", (1,))
        del file["validation/labels/label"]
        file.create_virtual_dataset("validation/labels/label", layout)

    _hdf(folder, change)


def hdf5_of_compounds(folder):
    _hdf(folder, _replaced("validation/labels/label", data=np.zeros(1, [("class", "i8"), ("name", "S9")])))


def hdf5_of_references(folder):
    _hdf(folder, _replaced("validation/features", shape=(1,), dtype=h5py.ref_dtype))


def hdf5_of_an_enumeration(folder):
    _hdf(folder, _replaced("validation/labels/label", shape=(1,), dtype=h5py.enum_dtype({"run": 0})))


def hdf5_of_truth_values(folder):
    _hdf(folder, _replaced("validation/labels/label", data=np.zeros(1, bool)))


def hdf5_of_complex_numbers(folder):
    _hdf(folder, _replaced("validation/features", shape=(1,), dtype=h5py.vlen_dtype(np.complex64)))


def hdf5_of_features_in_a_table(folder):
    _hdf(folder, _replaced("validation/features", data=np.ones((1, 6), np.float32)))


def hdf5_of_features_without_a_length(folder):
    _hdf(folder, _replaced("validation/features", data=np.float32(1)))


def hdf5_of_features_that_are_nothing(folder):
    _hdf(folder, _replaced("validation/features", data=h5py.Empty("f4")))


def hdf5_with_a_dataset_in_place_of_labels(folder):
    _hdf(folder, _replaced("validation/labels", data=np.zeros(1)))


def hdf5_with_a_group_in_place_of_uids(folder):
    def change(file):
        del file["validation/uids"]
        file.create_group("validation/uids")

    _hdf(folder, change)


def hdf5_of_a_hundred_thousand_million_uids(folder):
    _hdf(folder, _replaced("validation/uids", shape=(10**11,), dtype=h5py.string_dtype(), chunks=(1,)))


def hdf5_of_uids_of_a_gigabyte(folder):
    _hdf(folder, _replaced("validation/uids", shape=(1,), dtype="S1000000000", chunks=(1,)))


def hdf5_of_a_dimension_of_nine_digits(folder):
    _hdf(folder, lambda file: file["validation/features"].attrs.update(feature_dim=10**9))


def hdf5_of_a_dimension_in_words(folder):
    _hdf(folder, lambda file: file["validation/features"].attrs.update(feature_dim="three" * 99))


def hdf5_of_labels_beyond_64_bits(folder):
    def change(file):
        for name in ("label", "action"):
            _replaced(f"validation/labels/{name}", data=np.full(1, 2**63, np.uint64))(file)

    _hdf(folder, change)


def hdf5_of_uids_in_latin_1(folder):
    _hdf(folder, _replaced("validation/uids", data=[b"\xe9"]))


def clips_with_endless_names(folder):
    name = "x" * 5000
    with feature_store.create_or_append(folder / "store", _HEADER) as writer:
        writer.append(name, name, "run", name, np.ones((2, 3), np.float32))
    labelled_features.open_labelled(folder / "store", (name, f"{name}y"))


def a_clip_with_an_endless_name_stored_twice(folder):
    with feature_store.create_or_append(folder / "store", _HEADER) as writer:
        for _ in range(2):
            writer.append("x" * 5000, "", "run", "", np.ones((2, 3), np.float32))

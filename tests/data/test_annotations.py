import json

import pytest

from esv_jax.checks import InputError
from esv_jax.data.annotations import read_labels_csv, read_ssv2_classes, read_ssv2_entries

WEIZMANN_LIKE = "path,label,person\nrun/ira.avi,run,ira\nrun/ido.avi,run,ido\nbend/eli.avi,bend,eli\n"


def labels_file(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode())
    return path


def test_paths_are_relative_to_the_csv_or_to_the_folder_given(tmp_path):
    path = labels_file(tmp_path, 'path,label,split\na.avi,run,validation\n"b, c.avi", jump ,\n')
    first, second = read_labels_csv(path)
    assert first[:4] == ("a.avi", tmp_path / "a.avi", "run", "validation")
    assert second[:4] == ("b, c.avi", tmp_path / "b, c.avi", "jump", "train")
    assert read_labels_csv(path, tmp_path / "clips")[0].path == tmp_path / "clips" / "a.avi"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    (clip,) = read_labels_csv(labels_file(tmp_path, "\ufeffpath,label\r\na.avi,run\r\n"))
    assert clip[:4] == ("a.avi", tmp_path / "a.avi", "run", "train")


def test_held_out_values_go_to_the_test_split(tmp_path):
    clips = read_labels_csv(labels_file(tmp_path, WEIZMANN_LIKE), hold_out=("person", ["ira", "eli"]))
    assert [clip.split for clip in clips] == ["test", "train", "test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should have a column 'path', found the columns"),
        ("path,class\na,b\n", "should have a column 'label', found the columns"),
        ("path,label\n", "holds no clips"),
        ("path,label\na,run\n\n,run\n", "line 4 of .*labels.csv has an empty path"),
        ("path,label\na, \n", "line 2 of .* has an empty label"),
        ("path,label\na,run\na,jump\n", "line 3 of .* repeats the clip a"),
        ("path,label\na,run,extra\n", "line 2 of .* should have 2 values"),
        ("path,label\na\n", "line 2 of .* should have 2 values"),
        ('path,label\n"a,run\n', "cannot be read"),
    ],
)
def test_faults_of_a_csv_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_labels_csv(labels_file(tmp_path, text))


def test_holding_out_what_is_not_there_is_a_fault(tmp_path):
    path = labels_file(tmp_path, WEIZMANN_LIKE)
    with pytest.raises(InputError, match=r"no clip of .* has the person irma that is to be held out"):
        read_labels_csv(path, hold_out=("person", ["ira", "irma"]))
    with pytest.raises(InputError, match="should have a column 'who'"):
        read_labels_csv(path, hold_out=("who", ["ira"]))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_labels_csv(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"path,label\n\xff\xfe,run\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_labels_csv(tmp_path / "bytes.csv")
    with pytest.raises(InputError, match="cannot be read as json: No such file"):
        read_ssv2_classes(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(InputError, match="cannot be read"):
        read_ssv2_entries(tmp_path / "bad.json", ["a"], tmp_path, split="train")


def json_file(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    return path


def test_something_something_classes_are_in_the_order_of_their_numbers(tmp_path):
    path = json_file(tmp_path, {"Closing something": "2", "Bending something": "0", "Showing that something": "1"})
    assert read_ssv2_classes(path) == ("Bending something", "Showing that something", "Closing something")


def test_templates_lose_their_brackets(tmp_path):
    classes = ("Putting something next to something", "Closing something")
    entry = {"id": "7", "label": "closing a box", "template": "Closing [something]", "placeholders": ["a box"]}
    other = {"id": "12", "template": "Putting [something] next to [something]"}
    clips = read_ssv2_entries(json_file(tmp_path, [entry, other]), classes, tmp_path / "clips", split="validation")
    assert clips[0][:4] == ("7", tmp_path / "clips" / "7.webm", "Closing something", "validation")
    assert clips[1][:4] == ("12", tmp_path / "clips" / "12.webm", "Putting something next to something", "validation")


@pytest.mark.parametrize("content", [[], ["a"], {}, {"a": "x"}, {"a": "0", "b": "0"}, {"a": "1"}, {"a": None}])
def test_faults_of_a_classes_json(tmp_path, content):
    with pytest.raises(InputError, match=r"file\.json"):
        read_ssv2_classes(json_file(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "should be a json list"),
        ([], "should be a json list"),
        ([{"id": "1", "template": "A"}, "x"], "entry 1 of .* should be an object"),
        ([{"id": 3, "template": "A"}], "entry 0 of .* should be an object"),
        ([{"id": "1"}], r"entry 0 of .* \(id 1\) has no \"template\""),
        ([{"id": "1", "template": "[B]"}], "is of the unknown class 'B'"),
        ([{"id": "1", "template": "A"}] * 2, "entry 1 of .* repeats the id 1"),
    ],
)
def test_faults_of_an_entries_json(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_ssv2_entries(json_file(tmp_path, content), ["A"], tmp_path, split="train")

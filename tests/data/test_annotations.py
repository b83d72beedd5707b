import json

import pytest

from esv_jax.checks import InputError
from esv_jax.data.annotations import (
    read_class_names,
    read_labelled_clips,
    read_labels_csv,
    read_ssv2_entries,
)

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
        ("", "should be a csv in UTF-8, found an empty file"),
        ("path,class\na,b\n", "should have a column 'label', found the columns"),
        ("path,label\n", "holds no clips"),
        ("path,label\na,run\n\n,run\n", "line 4 of .*labels.csv has an empty path"),
        ("path,label\na, \n", "line 2 of .* has an empty label"),
        ("path,label\na,run\na,jump\n", "line 3 of .* repeats the clip a"),
        ("path,label\na,run,extra\n", "line 2 of .* should have 2 values"),
        ("path,label\na.mp4,0,1,162\n", "line 2 of .* should have 2 values"),
        ('path,label\n"a\nb",run\n', "of one line each"),
        ("path, label\na, run\n", "a column 'label', found the columns 'path', ' label'"),
        ("path;label\na;run\n", "found semicolons"),
        ("a.mp4 0\nb.mp4 1\n", "found blanks"),
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
    with pytest.raises(InputError, match="found the byte 0xff of another encoding in line 2"):
        read_labels_csv(tmp_path / "bytes.csv")
    with pytest.raises(InputError, match="cannot be read as json: No such file"):
        read_class_names(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(InputError, match="cannot be read"):
        read_ssv2_entries(tmp_path / "bad.json", ["a"], tmp_path, split="train")


def json_file(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    return path


def test_something_something_classes_are_in_the_order_of_their_numbers(tmp_path):
    path = json_file(tmp_path, {"Closing something": "2", "Bending something": "0", "Showing that something": "1"})
    assert read_class_names(path) == ("Bending something", "Showing that something", "Closing something")


def test_templates_lose_their_brackets(tmp_path):
    classes = ("Putting something next to something", "Closing something")
    entry = {"id": "7", "label": "closing a box", "template": "Closing [something]", "placeholders": ["a box"]}
    other = {"id": "12", "template": "Putting [something] next to [something]"}
    clips = read_ssv2_entries(json_file(tmp_path, [entry, other]), classes, tmp_path / "clips", split="validation")
    assert clips[0][:4] == ("7", tmp_path / "clips" / "7.webm", "Closing something", "validation")
    assert clips[1][:4] == ("12", tmp_path / "clips" / "12.webm", "Putting something next to something", "validation")


def test_class_numbers_of_a_json_may_be_numbers_and_its_suffix_in_capitals(tmp_path):
    path = tmp_path / "CLASSES.JSON"
    path.write_text(json.dumps({"b": 1, "a": 0}), encoding="utf-8-sig")
    assert read_class_names(path) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "should be a json object"),
        (["a"], "should be a json object"),
        ({}, "should be a json object"),
        ({"a": "x"}, "should number the class 'a' in plain digits, found 'x'"),
        ({"a": None}, "found None"),
        ({"a": 0.2, "b": 1.9}, "should number the class 'a' in plain digits, found 0.2"),
        ({"a": False, "b": True}, "found False"),
        ({"a": "00", "b": "1"}, "found '00'"),
        ({"a": "1_0"}, "found '1_0'"),
        ({"a": "-1"}, "found '-1'"),
        ({"a": 10**400}, "found 1000"),
        ({"a": ["0"]}, r"found \['0'\]"),
        ({"a": "1"}, r"should number its 1 classes 0\.\.0, found 1 for 'a'"),
        ({"a": "0", "b": "0"}, "found 0 a second time for 'b'"),
        ({"": "0"}, "should name every class in one line of text, found ''"),
        ({"a\nb": "0"}, "in one line of text, found 'a"),
        ({"\ud800": "0"}, "in one line of text, found"),
    ],
)
def test_faults_of_a_classes_json(tmp_path, content, message):
    with pytest.raises(InputError, match=rf"file\.json .*{message}"):
        read_class_names(json_file(tmp_path, content))


def test_a_class_that_a_json_names_twice_is_not_the_last_one(tmp_path):
    (tmp_path / "file.json").write_text('{"a": "0", "b": "1", "a": "2"}')
    with pytest.raises(InputError, match="names 'a' twice"):
        read_class_names(tmp_path / "file.json")


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
        ([{"id": "a\0b", "template": "A"}], 'entry 0 of .* "id" that is a name of a file, found'),
        ([{"id": "", "template": "A"}], "that is a name of a file, found ''"),
    ],
)
def test_faults_of_an_entries_json(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_ssv2_entries(json_file(tmp_path, content), ["A"], tmp_path, split="train")


# Labels that are numbers, as in lists of Kinetics, of UCF101 and of mmaction


def labelled(tmp_path, labels, names=None):
    """The labels, and the classes, that are read of a csv of such labels; with the class names "id,name" if given."""
    path = labels_file(tmp_path, "path,label\n" + "".join(f"{i}.mp4,{label}\n" for i, label in enumerate(labels)))
    classes = tmp_path / "classes.csv" if names else None
    if classes:
        classes.write_text("name,id\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names)))
    clips, found = read_labelled_clips(path, tmp_path, classes=classes)
    return [clip.label for clip in clips], found


def test_labels_that_are_all_numbers_are_class_ids(tmp_path):
    labels = [str(number) for number in (2, 10, 1, 0, 11, 2)]
    found, classes = labelled(tmp_path, labels)
    assert found == labels
    assert classes == tuple(map(str, range(12)))  # 3 to 9 have their places


def test_class_ids_of_one_who_gives_the_names(tmp_path):
    names = ("run", "jump", "sit", "bend")
    assert labelled(tmp_path, ["3", "0", "3"], names) == (["bend", "run", "bend"], names)
    assert labelled(tmp_path, ["bend", "run", "sit"], names) == (["bend", "run", "sit"], names)
    with pytest.raises(InputError, match=r"the class id 4 of 1.mp4 in .* one of the 4 classes in .*, 0..3"):
        labelled(tmp_path, ["0", "4"], names)
    for mixed in (["0", "run"], ["run", "0"], ["0", "1.0"]):
        with pytest.raises(InputError, match=r"the label '.*' of .*\.mp4 in .* is not one of those in .*classes\.csv"):
            labelled(tmp_path, mixed, names)


def test_names_that_are_numbers_are_names_if_they_are_given(tmp_path):
    """As of UCF101, whose classes count from 1, and of names with zeros in front."""
    names = ("1", "2", "10")
    assert labelled(tmp_path, ["10", "2"], names) == (["10", "2"], names)
    assert labelled(tmp_path, ["0"], names) == (["1"], names)
    with pytest.raises(InputError, match=r"the label .0. of 1\.mp4"):
        labelled(tmp_path, ["1", "0"], names)
    assert labelled(tmp_path, ["007", "1"], ("1", "007")) == (["007", "1"], ("1", "007"))


@pytest.mark.parametrize("number", ["007", "1.0", "0.5", "1e3", "-1", "+1", "1_0", "٣", '"1,5"', "nan", "inf"])
def test_numbers_that_are_not_written_as_class_ids_are_refused(tmp_path, number):
    with pytest.raises(InputError, match=r"are numbers, but class ids are written 0, 1, 2, ...; found .*--classes"):
        labelled(tmp_path, ["0", number])
    with pytest.raises(InputError, match=r"found numbers \(.*\) beside words \(run\): .*--classes"):
        labelled(tmp_path, ["run", number])


def test_numbers_beside_words_and_numbers_too_large(tmp_path):
    with pytest.raises(InputError, match=r"found numbers \(0, 1, 10 and 1 more\) beside words \(jump, run\)"):
        labelled(tmp_path, ["10", "0", "run", "jump", "2", "1"])
    with pytest.raises(InputError, match="numbers up to 100000, but a class id should be less than 100000"):
        labelled(tmp_path, ["100000"])
    assert labelled(tmp_path, ["True", "False"])[1] == ("False", "True")
    assert labelled(tmp_path, ["2 steps", "10 steps"])[1] == ("10 steps", "2 steps")


# Class names of EPIC-KITCHENS, whose actions have a file of tests of their own

VERBS, NOUNS = ("take", "put", "wash", "open"), ("knife", "light", "door")


def classes_file(tmp_path, names):
    """As EPIC_100_noun_classes.csv."""
    path = tmp_path / "classes.csv"
    path.write_text("id,key,instances\n" + "".join(f'{i},{name},"[""x""]"\n' for i, name in enumerate(names)))
    return path


def test_class_names_of_epic(tmp_path):
    assert read_class_names(classes_file(tmp_path, VERBS)) == VERBS
    with pytest.raises(InputError, match="names a class twice"):
        read_class_names(classes_file(tmp_path, ("a", "b", "a")))


def test_label_files_of_other_kinds(tmp_path):
    own = tmp_path / "labels.csv"
    own.write_text("path,label\na.avi,take\nb.avi,open\n")
    assert read_labelled_clips(own, tmp_path)[1] == ("open", "take")
    clips, names = read_labelled_clips(own, tmp_path, classes=classes_file(tmp_path, VERBS))
    assert (len(clips), names) == (2, VERBS)
    with pytest.raises(InputError, match=r"the label 'take' of a.avi in .* is not one of those in .*classes.csv"):
        read_labelled_clips(own, tmp_path, classes=classes_file(tmp_path, NOUNS))
    with pytest.raises(InputError, match="their names are needed too"):
        read_labelled_clips(tmp_path / "EPIC_100_train.csv", tmp_path, head="verb")
    with pytest.raises(InputError, match="held out by the columns of a csv path,label"):
        read_labelled_clips(tmp_path / "EPIC_100_train.csv", tmp_path, head="verb", hold_out=("a", ["b"]))

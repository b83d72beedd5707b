import json
from pathlib import Path

import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.data.priors import describe, priors_from_labels, read_priors, write_priors

GOLDEN = Path(__file__).parents[1] / "golden" / "play_fair"


def prior_file(tmp_path, text, name="priors.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_play_fairs_file_is_read_by_class_not_by_line():
    priors = read_priors(GOLDEN / "class-priors.csv", 9)
    lines = (GOLDEN / "class-priors.csv").read_text().split()[1:]
    assert [line.split(",")[0] for line in lines] == ["8", "1", "5", "0", "6", "3", "4", "7"]
    for line in lines:
        assert priors[int(line.split(",")[0])] == np.float32(line.split(",")[1])
    assert priors.dtype == np.float32
    assert priors[2] == 0
    assert describe(priors) == "9 classes, 1 of which never occur (prior 0): 2"


def test_priors_of_labels_hold_every_class():
    priors = priors_from_labels(np.array([3, 0, 3, 3]), 6)
    np.testing.assert_array_equal(priors, np.float32([0.25, 0, 0, 0.75, 0, 0]))
    assert describe(priors) == "6 classes, 4 of which never occur (prior 0): 1, 2, 4, 5"
    assert describe(priors[[0, 3]]) == "2 classes, all of which occur"


@pytest.mark.parametrize("labels", [np.int64([]), np.int64([0, 6]), np.int64([-1, 0]), np.float32([0, 1]), [[0, 1]]])
def test_labels_that_are_none(labels):
    with pytest.raises(InputError, match="labels should be"):
        priors_from_labels(np.asarray(labels), 6)


def test_what_is_written_is_read_again(tmp_path):
    priors = priors_from_labels(np.random.default_rng(0).integers(0, 150, 400), 174)
    write_priors(tmp_path / "priors.csv", priors)
    lines = [f"{number},{float(prior)!r}" for number, prior in enumerate(priors)]
    assert (tmp_path / "priors.csv").read_text() == "\n".join(["class,prior", *lines, ""])
    np.testing.assert_array_equal(read_priors(tmp_path / "priors.csv", 174), priors)
    assert [path.name for path in tmp_path.iterdir()] == ["priors.csv"]
    with pytest.raises(InputError, match="cannot be written"):
        write_priors(tmp_path / "nowhere" / "priors.csv", priors)


def test_counts_and_json(tmp_path):
    expected = np.float32([0.25, 0, 0.75])
    for name, text in {
        "counts.csv": "class,count\n2,30\n0,10\n",
        "list.json": json.dumps([0.25, 0, 0.75]),
        "object.json": json.dumps({"2": 0.75, "0": 0.25}),
        "more.csv": "prior,name,class\n0.25,a,0\n0.75,c,2\n",
        "blanks.csv": "class,prior\n2 , 7.5e-1\n0,.25\n",
        "CAPITALS.JSON": "\ufeff[0.25, 0, 0.75]",
    }.items():
        np.testing.assert_array_equal(read_priors(prior_file(tmp_path, text, name), 3), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should be a csv in UTF-8, found an empty file"),
        ("class,share\n0,1\n", "should have the columns class,prior or class,count, found class, share"),
        ("class,prior\n", "holds no priors"),
        ("class,prior\n0,0.5\n1,0.4\n", "should sum to 1 within 0.001, found a sum of 0.9"),
        ("class,prior\n0,0.5\n1,0.5\n1,0.5\n", "gives the class 1 twice"),
        ("class,prior\n0,0.5\n3,0.5\n", r"has the class 3, but the classes are 0\.\.2"),
        ("class,prior\n0,1.5\n1,-0.5\n", "prior of the class 1 .* should be a number of at least 0, found '-0.5'"),
        ("class,prior\n0,nan\n1,1\n", "prior of the class 0 .* should be a number of at least 0, found 'nan'"),
        ("class,prior\n0,\n1,1\n", "prior of the class 0 .* found ''"),
        ("class,prior\n0\n1,1\n", "line 2 of .* should have 2 values"),
        ("class,prior\n0,0,5\n1,0,5\n", "line 2 of .* should have 2 values, .* found 3"),
        ('class,prior\n0,"0,5"\n1,"0,5"\n', "prior of the class 0 .* found '0,5'"),
        ("class,prior\n0,60%\n1,40%\n", "found '60%'"),
        ("class,prior\n0,60\n1,40\n", "should sum to 1 within 0.001, found a sum of 100"),
        ("class,prior\n0,1_0\n", "found '1_0'"),
        ("class,prior\n0,inf\n", "found 'inf'"),
        ("class,prior\n0,1e999\n", "found '1e999'"),
        ("class,prior\nrun,1\n", "a class in .* should be its number in plain digits, found 'run'"),
        ("class,prior\n0.0,1\n", "found '0.0'"),
        ("class,prior\n00,1\n", "found '00'"),
        ("class,prior\n-1,1\n", "found '-1'"),
        ("class,prior,class\n0,1,1\n", "every column once, found 'class' twice"),
        ("class,count\n0,0\n", "counts in .* should have a finite sum above 0, found a sum of 0"),
        ("class,count\n0,1e308\n1,1e308\n2,1e308\n", "found a sum of inf"),
    ],
)
def test_faults_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_priors(prior_file(tmp_path, text), 3)


def test_a_sum_within_the_tolerance_is_taken_as_it_is(tmp_path):
    priors = read_priors(prior_file(tmp_path, "class,prior\n0,0.3337\n1,0.3333\n2,0.3333\n"), 3)
    np.testing.assert_array_equal(priors, np.float32([0.3337, 0.3333, 0.3333]))
    with pytest.raises(InputError, match="should sum to 1"):
        read_priors(prior_file(tmp_path, "class,prior\n0,0.335\n1,0.3333\n2,0.3333\n"), 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[0.5, 0.5]", "should list the priors of 3 classes, found 2"),
        ('"x"', "should be a json list"),
        ("[", "cannot be read"),
        ('{"a": 1}', "should be its number in plain digits, found 'a'"),
        ('{"0": 0.5, "0": 1}', "names '0' twice"),
        ('[1, 0, "x"]', "prior of the class 2"),
        ("[1, 0, null]", "found None"),
        ("[true, false, false]", "prior of the class 0 .* found True"),
        ("[NaN, 0, 1]", "found nan"),
        ("[Infinity, 0, 1]", "found inf"),
        (f"[1{'0' * 400}, 0, 0]", "prior of the class 0 .* found 1000"),
        ("[[1], 0, 0]", r"found \[1\]"),
    ],
)
def test_faults_of_a_json(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_priors(prior_file(tmp_path, text, "priors.json"), 3)


def test_more_classes_than_there_can_be(tmp_path):
    with pytest.raises(InputError, match="num_classes should be at most 100000, found 10000000000"):
        read_priors(prior_file(tmp_path, "class,prior\n0,1\n"), 10**10)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_priors(tmp_path / "none.csv", 3)

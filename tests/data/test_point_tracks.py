import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.data import feature_store, point_tracks
from tests.experiments.scripts import run_script


def write(path, num_lines, num_points=4):
    points = np.random.default_rng(0).normal(2.0, 1.0, (num_lines, 2 * num_points)).round(4)
    lines = [f"{i * 2 // num_lines}," + ",".join(map(str, row)) for i, row in enumerate(points.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return points


def test_blocks_are_held_out_with_a_gap(tmp_path):
    points = write(tmp_path / "t.csv", 700)
    tracks = point_tracks.read_tracks(tmp_path / "t.csv")
    test = set(tracks.line[tracks.split == "test"].tolist())
    assert test == {*range(120, 180, 4), *range(420, 480, 4)}
    train = set(tracks.line[tracks.split == "train"].tolist())
    assert train == {i for i in range(700) if not 117 <= i <= 182 and not 417 <= i <= 482}
    scale = np.sqrt(np.mean([points[i] ** 2 for i in sorted(train)]))
    np.testing.assert_allclose(tracks.points[5], points[5].reshape(4, 2) / scale, rtol=1e-6)
    np.testing.assert_array_equal(tracks.label, (tracks.line * 2 // 700))


def test_blocks_to_validate_on_are_apart_from_both(tmp_path):
    write(tmp_path / "t.csv", 700)
    tracks = point_tracks.read_tracks(tmp_path / "t.csv", validation=True)
    lines = {split: set(tracks.line[tracks.split == split].tolist()) for split in ("train", "validation", "test")}
    assert lines["test"] == {*range(120, 180, 4), *range(420, 480, 4)}
    assert lines["validation"] == {*range(0, 60, 4), *range(300, 360, 4), *range(600, 660, 4)}
    held_out = ((-9, 62), (117, 182), (297, 362), (417, 482), (597, 662))
    assert lines["train"] == {i for i in range(700) if not any(low <= i <= high for low, high in held_out)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found an empty file"),
        ("0,1,2\n0,1,2,3,4\n", "all of the same length"),
        ("0,1\n", "all of the same length"),
        ("0,1,2,3\n", "all of the same length"),
        ("a,1,2\n", "a class number in plain digits, found 'a'"),
        ("0.5,1,2\n", "a class number in plain digits, found '0.5'"),
        ("-1,1,2\n", "a class number in plain digits, found '-1'"),
        ("0,1,x\n", "cannot be read: could not convert string to float: 'x'"),
        ("0,1,nan\n", "should have finite points"),
        ("0,1,1e200\n", "should have finite points"),
        ("0;1;2\n", "all of the same length"),
        ("0,1,2\n1,1,2\n", "to train on and to hold out, found 2 lines"),
        ("0,0,0\n" * 400, "found all of them at 0,0"),
    ],
)
def test_what_is_no_table_of_tracks(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=rf"t\.csv.*{message}"):
        point_tracks.read_tracks(tmp_path / "t.csv")


def test_features_are_the_position_and_how_near_it_is_to_every_place():
    found = point_tracks.features_of(np.array([[2.0, -2.0], [0.0, 0.0]], np.float32))
    assert found.shape == (2, 66)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, :2], [2.0, -2.0])
    near = found[:, 2:].reshape(2, 8, 8)  # y, x
    assert near[0, 0, 7] == 1.0  # at the place itself
    np.testing.assert_allclose(near[0, 1, 7], np.exp(-((4 / 7) ** 2) / 0.5), rtol=1e-6)
    np.testing.assert_allclose(near[1], near[1, ::-1, ::-1], rtol=1e-6)


def test_the_script_makes_a_store(tmp_path, capsys, monkeypatch):
    write(tmp_path / "t.csv", 400)
    arguments = (f"--tracks={tmp_path / 't.csv'}", f"--out={tmp_path / 'out'}")
    for _ in range(2):
        ran = run_script("track_features", *arguments, "--class_names=a,b", capsys=capsys, monkeypatch=monkeypatch)
        assert ran.exit_code == 0, ran.stderr
    tracks = point_tracks.read_tracks(tmp_path / "t.csv")
    store = feature_store.open_store(tmp_path / "out")
    assert len(store.clips) == len(tracks.label)
    np.testing.assert_array_equal(store.features(7), point_tracks.features_of(tracks.points[7]))
    assert [c.split for c in store.clips] == tracks.split.tolist()
    ran = run_script("track_features", *arguments, "--class_names=a", capsys=capsys, monkeypatch=monkeypatch)
    assert ran.exit_code == 1
    assert "1 classes" in ran.stderr

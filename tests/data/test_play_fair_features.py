from pathlib import Path

import h5py
import numpy as np
import pytest

from esv_jax import files
from esv_jax.checks import InputError
from esv_jax.data.play_fair_features import open_features, write_features

GOLDEN = Path(__file__).parents[1] / "golden" / "play_fair" / "features.hdf"


def clips():
    rng = np.random.default_rng(0)
    return [(f"clip {i}", i % 3, rng.normal(size=(1 + i % 5, 4)).astype(np.float32)) for i in range(7)]


@pytest.fixture
def path(tmp_path):
    write_features(tmp_path / "features.hdf", clips(), feature_dim=4)
    return tmp_path / "features.hdf"


def edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replaced(name, values, **options):
    def change(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=values, **options)
        file[name].attrs.update(attributes)

    return change


def test_play_fairs_own_file():
    features = open_features(GOLDEN)
    assert features.header.feature_dim == 16
    assert [clip.uid for clip in features.clips] == [str(uid) for uid in range(100000, 100012)]
    np.testing.assert_array_equal(features.labels, [0, 8, 7, 3, 1, 4, 8, 0, 1, 0, 3, 5])
    assert [clip.num_frames for clip in features.clips] == [33, 19, 10, 9, 16, 19, 3, 21, 37, 20, 12, 34]
    assert features.clips[8].offset == 130
    assert features.clips[1][:4] == ("100001", "", "8", "validation")
    with h5py.File(GOLDEN) as file:
        flat = file["validation/features"][2]
    np.testing.assert_array_equal(features.features(2)[3], flat[48:64])
    assert features.features(2).dtype == np.float32


def test_what_is_written_is_read_again(path):
    features = open_features(path)
    assert [(c.uid, int(c.label), c.num_frames) for c in features.clips] == [(u, c, len(f)) for u, c, f in clips()]
    for i, (_, _, expected) in enumerate(clips()):
        np.testing.assert_array_equal(features.features(i), expected)


def test_the_layout_is_that_of_play_fairs_file(path):
    """What their reader looks for is there, and of the same kinds."""
    layouts = []
    for name in (path, GOLDEN):
        with h5py.File(name) as file:
            found = {}
            file.visititems(lambda n, item, found=found: found.update({n: str(getattr(item, "dtype", "group"))}))
            assert h5py.check_vlen_dtype(file["validation/features"].dtype) == np.float32
            assert h5py.check_string_dtype(file["validation/uids"].dtype).length is None
            layouts.append((found, list(file["validation/features"].attrs)))
    assert layouts[0] == layouts[1]


def test_labels_are_joined_by_uid(path):
    edit(path, replaced("validation/labels/uid", [u for u, _, _ in clips()][::-1], dtype=h5py.string_dtype()))
    np.testing.assert_array_equal(open_features(path).labels, [c for _, c, _ in clips()][::-1])


def test_a_split_is_chosen_where_there_are_several(path):
    edit(path, lambda file: file.copy("validation", "train"))
    assert len(open_features(path, "train").clips) == 7
    with pytest.raises(InputError, match=r"holds the splits \['train', 'validation'\]: choose one"):
        open_features(path)
    with pytest.raises(InputError, match="not 'test'"):
        open_features(path, "test")


def delete(name):
    def change(file):
        del file[name]

    return change


UIDS = [uid for uid, _, _ in clips()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (delete("validation/features"), r"it should hold SPLIT/features, found \['validation'\]"),
        (delete("validation/uids"), "lacks uids or labels"),
        (delete("validation/labels"), "lacks uids or labels"),
        (delete("validation/labels/uid"), "should have labels/uid and labels/label"),
        (
            lambda f: f["validation/features"].attrs.pop("feature_dim"),
            "the attribute feature_dim, at least 1, found None",
        ),
        (lambda f: f["validation/features"].attrs.update(feature_dim=3), "clip 0 .* frames of 3 features, found 4"),
        (replaced("validation/uids", [*UIDS[:-1], UIDS[0]], dtype=h5py.string_dtype()), "holds the uid clip 0 twice"),
        (
            replaced("validation/uids", UIDS[:-1], dtype=h5py.string_dtype()),
            r"has 6 uids, but features of the shape \[7\]",
        ),
        (
            replaced("validation/uids", [*UIDS[:-1], "x"], dtype=h5py.string_dtype()),
            "no label for 1 of its 7 clips, .* x",
        ),
        (replaced("validation/labels/action", np.zeros(7, np.int64)), "labels/label and labels/action of .* disagree"),
        (replaced("validation/labels/label", np.zeros(7)), "should be class numbers, found float64"),
        (replaced("validation/labels/uid", UIDS[:-1], dtype=h5py.string_dtype()), "cannot be read as a feature file"),
    ],
)
def test_faults_are_named(path, change, message):
    with pytest.raises(InputError, match=message):
        open_features(edit(path, change))


def test_a_clip_without_frames_is_a_fault(tmp_path):
    write_features(tmp_path / "f.hdf", [("a", 0, np.zeros((0, 4), np.float32))], feature_dim=4)
    with pytest.raises(InputError, match=r"clip a in .* whole number of frames"):
        open_features(tmp_path / "f.hdf")


def test_files_that_are_no_feature_files(tmp_path, path):
    with pytest.raises(InputError, match="there is no feature file"):
        open_features(tmp_path / "none.hdf")
    (tmp_path / "cut.hdf").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cut\.hdf cannot be read as a feature file of HDF5: .*truncated"):
        open_features(tmp_path / "cut.hdf")
    (tmp_path / "text.hdf").write_text("class,prior\n0,1\n")
    with pytest.raises(InputError, match=r"text\.hdf cannot be read as a feature file of HDF5"):
        open_features(tmp_path / "text.hdf")
    with h5py.File(tmp_path / "foreign.hdf", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(InputError, match=r"is not a feature file of Play Fair: .* found \['images'\]"):
        open_features(tmp_path / "foreign.hdf")


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, path):
    before = path.read_bytes()
    good = clips()
    for bad, message in (
        ([*good, ("x", 0, np.zeros((2, 5), np.float32))], r"features of x should have shape \[T, 4\], found \[2, 5\]"),
        ([*good, good[0]], "the clip clip 0 comes twice"),
        ([("x", 0, np.zeros((2, 4), np.int64))], "should be floating point"),
    ):
        with pytest.raises(InputError, match=message):
            write_features(path, bad, feature_dim=4)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["features.hdf"]
    with pytest.raises(InputError, match="cannot be written"):
        write_features(tmp_path / "nowhere" / "f.hdf", good, feature_dim=4)


def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0")
    (tmp_path / ".f.hdf.0.partial").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"the feature file .* cannot be written"):
        write_features(tmp_path / "f.hdf", clips(), feature_dim=4)
    assert list(tmp_path.iterdir()) == []

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


@pytest.mark.parametrize("kind", [">f4", ">f8", ">f2", ">i2", "<i4", "<f8", "<f2", "u1"])
def test_features_of_any_numbers_in_any_byte_order(tmp_path, kind):
    """h5py gives those of the other order as garbage, though the bytes in the file are right."""
    values = [(np.arange(4 * n).reshape(n, 4) + n).astype(kind) for n in (1, 3, 2)]
    with h5py.File(tmp_path / "f.hdf", "w") as file:
        rows = file.create_dataset("validation/features", (3,), h5py.vlen_dtype(np.dtype(kind)))
        rows.attrs["feature_dim"] = 4
        for i, clip in enumerate(values):
            rows[i] = clip.ravel()
        file["validation/uids"] = file["validation/labels/uid"] = np.array([5, 7, 2], ">i8")
        file["validation/labels/label"] = np.array([2, 0, 1], ">u2")
    content = (tmp_path / "f.hdf").read_bytes()
    assert all(clip.tobytes() in content for clip in values)
    features = open_features(tmp_path / "f.hdf")
    assert [clip.uid for clip in features.clips] == ["5", "7", "2"]
    np.testing.assert_array_equal(features.labels, [2, 0, 1])
    for read in (features.read(range(3)), [features.features(i) for i in range(3)]):
        for found, expected in zip(read, values, strict=True):
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_links_into_other_files_are_not_followed(tmp_path, path):
    """Though there is in the other file what is looked for."""
    before = path.read_bytes()
    (tmp_path / "other.hdf").write_bytes(before)
    for name in ("features", "uids", "labels", "labels/uid", "labels/label"):
        path.write_bytes(before)
        with pytest.raises(InputError, match="is a link, which is not followed"):
            open_features(edit(path, link(f"validation/{name}", h5py.ExternalLink("other.hdf", f"validation/{name}"))))


def test_labels_are_joined_by_uid(path):
    edit(path, replaced("validation/labels/uid", [u for u, _, _ in clips()][::-1], dtype=h5py.string_dtype()))
    np.testing.assert_array_equal(open_features(path).labels, [c for _, c, _ in clips()][::-1])


def test_a_split_is_chosen_where_there_are_several(path):
    edit(path, lambda file: file.copy("validation", "train"))
    assert len(open_features(path, "train").clips) == 7
    with pytest.raises(InputError, match=r"holds the splits train, validation: choose one"):
        open_features(path)
    with pytest.raises(InputError, match="not 'test'"):
        open_features(path, "test")


def delete(name):
    def change(file):
        del file[name]

    return change


def link(name, to):
    def change(file):
        if name in file:
            del file[name]
        file[name] = to

    return change


def virtual(file, name):
    """Puts in place of a dataset one that is made of another file's."""
    layout = h5py.VirtualLayout(file[name].shape, file[name].dtype)
    layout[:] = h5py.VirtualSource("other.hdf", name, file[name].shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def promised(name, length, dtype):
    """A dataset of which nothing is written."""

    def change(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, (length,), dtype, chunks=(1,)).attrs.update(attributes)

    return change


UIDS = [uid for uid, _, _ in clips()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (delete("validation/features"), "it should hold SPLIT/features, found validation$"),
        (delete("validation/uids"), "lacks uids or labels"),
        (delete("validation/labels"), "lacks uids or labels"),
        (delete("validation/labels/uid"), "should have labels/uid and labels/label"),
        (
            lambda f: f["validation/features"].attrs.pop("feature_dim"),
            "the attribute feature_dim, 1 to 16,777,216, found None",
        ),
        (lambda f: f["validation/features"].attrs.update(feature_dim=3), "clip 0 .* frames of 3 features, found 4"),
        (replaced("validation/uids", [*UIDS[:-1], UIDS[0]], dtype=h5py.string_dtype()), "holds the uid 'clip 0' twice"),
        (
            replaced("validation/uids", UIDS[:-1], dtype=h5py.string_dtype()),
            r"has 6 uids, but features of the shape \[7\]",
        ),
        (
            replaced("validation/uids", [*UIDS[:-1], "x"], dtype=h5py.string_dtype()),
            "no label for 1 of its 7 clips: x",
        ),
        (replaced("validation/labels/action", np.zeros(7, np.int64)), "labels/label and labels/action of .* disagree"),
        (replaced("validation/labels/label", np.zeros(7)), "should be class numbers, found float64"),
        (replaced("validation/labels/uid", UIDS[:-1], dtype=h5py.string_dtype()), "found 7 for 6"),
        (
            replaced("validation/labels/uid", [*UIDS[:-1], UIDS[0]], dtype=h5py.string_dtype()),
            "labels/uid of .* holds a uid twice",
        ),
        (replaced("validation/labels/label", np.full(7, 2**63, np.uint64)), "disagree"),
        (
            replaced("validation/labels/label", np.zeros(7, np.int8), dtype=h5py.enum_dtype({"a": 0})),
            "should be class numbers, found an enumeration",
        ),
        (replaced("validation/labels/label", [b"1"] * 7), "should be class numbers, found texts"),
        (
            replaced("validation/labels/label", np.zeros((7, 1), np.int64)),
            r"one value a clip, found the shape \[7, 1\]",
        ),
        (replaced("validation/labels/label", np.int64(3)), r"found the shape \[\]"),
        (replaced("validation/labels", np.zeros(7, np.int64)), "should be a group of uid and label, found a dataset"),
        (replaced("validation/uids", np.zeros(7, [("a", "i4"), ("b", "f4")])), "found compounds of a, b"),
        (replaced("validation/uids", np.zeros(7)), "should be texts or whole numbers, found float64"),
        (replaced("validation/uids", [b"\xe9"] * 7), r"should be text in UTF-8, found b'\\xe9'"),
        (replaced("validation/uids", [b""] * 7), "should be names of one line each, found ''"),
        (replaced("validation/features", np.zeros(7, np.float32)), "numbers of variable length, .* found float32"),
        (
            replaced("validation/features", ["a"] * 7, dtype=h5py.string_dtype()),
            "numbers of variable length, .* found texts",
        ),
        (
            replaced("validation/features", [None] * 7, dtype=h5py.ref_dtype),
            "numbers of variable length, .* found references",
        ),
        (lambda f: f["validation/features"].attrs.update(feature_dim=10**9), "found np.int64"),
        (lambda f: f["validation/features"].attrs.update(feature_dim=True), "found np.True_"),
        (link("validation/uids", h5py.SoftLink("/validation/labels/uid")), "'/validation/uids' in .* is a link"),
        (link("validation/labels", h5py.ExternalLink("other.hdf", "/labels")), "'/validation/labels' in .* is a link"),
        (link("validation/features", h5py.ExternalLink("other.hdf", "/x")), "'/validation/features' in .* is a link"),
        (link("train", h5py.ExternalLink("other.hdf", "/validation")), "'/train' in .* is a link"),
        (lambda f: virtual(f, "validation/labels/label"), "labels/label' in .* lies in other files"),
        (
            lambda f: replaced("validation/labels/label", np.zeros(7), external=f"{f.filename}.bin")(f),
            "labels/label' in .* lies in other files",
        ),
        (
            promised("validation/uids", 10**11, h5py.string_dtype()),
            "should be of the clips in the file, found 100,000,000,000",
        ),
        (promised("validation/features", 10**11, h5py.vlen_dtype(np.float32)), "found 100,000,000,000 of them"),
        (promised("validation/uids", 7, "S100000000"), "should have at most 268,435,456 bytes, found 700,000,000"),
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
    (tmp_path / "page.hdf").write_text("<!DOCTYPE html><title>Not found</title>")
    with pytest.raises(InputError, match=r"page\.hdf cannot be read as .*: it is an HTML page, as a failed download"):
        open_features(tmp_path / "page.hdf")
    with h5py.File(tmp_path / "foreign.hdf", "w") as file:
        for i in range(1500):
            file.create_group(f"images {i:04}")
    with pytest.raises(
        InputError, match=r"of Play Fair: .* found images 0000, images 0001, images 0002 and 1,497 more$"
    ):
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
    for split in ("", "..", "a/b", "a\0b"):
        with pytest.raises(InputError, match=r"the split should be a name that a group of .* can have, found"):
            write_features(path, good, feature_dim=4, split=split)


def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0")
    (tmp_path / ".f.hdf.0.partial").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"the feature file .* cannot be written"):
        write_features(tmp_path / "f.hdf", clips(), feature_dim=4)
    assert list(tmp_path.iterdir()) == []

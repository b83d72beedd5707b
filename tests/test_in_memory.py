"""From arrays in memory to features, to a store, and back: no command of ours in between."""

import re

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import data, results
from esv_jax.checks import InputError
from esv_jax.data import feature_store
from tests import documentation

pytest.importorskip("zarr")
NAMES = ("left", "right", "rest")
PRIOR = np.array([0.5, 0.25, 0.25], np.float32)


def clips(seed=0, lengths=(4, 6, 5)):
    return [np.random.default_rng(seed + i).normal(size=(n, 3)).astype(np.float32) for i, n in enumerate(lengths)]


def test_features_come_back_as_they_were(tmp_path):
    data.write_features(tmp_path / "f", clips(), ["rest", 0, np.int64(1)], class_names=NAMES, splits="train")
    more = [clip.astype(np.float64) for clip in clips(9)]
    data.write_features(tmp_path / "f", more[:1], [2], class_names=NAMES, uids=["mine"], paths=["a/b.mp4"])
    store = feature_store.open_store(tmp_path / "f")
    assert [clip.uid for clip in store.clips] == ["0", "1", "2", "mine"]
    assert [clip.label for clip in store.clips] == ["rest", "left", "right", "rest"]
    assert [clip.split for clip in store.clips] == ["train"] * 3 + ["test"]
    assert store.clips[3].path == "a/b.mp4"
    for found, expected in zip(store.read(range(4)), [*clips(), clips(9)[0]], strict=True):
        np.testing.assert_array_equal(found, expected)
    data.write_features(tmp_path / "half", [clips()[0].astype(np.float16)], [0], class_names=NAMES)
    assert feature_store.open_store(tmp_path / "half").header.dtype == "float16"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1]}, "labels should be of 3 clips, as features are, found 2"),
        ({"labels": [0, 1, 3]}, r"labels should be names of classes, or their numbers 0\.\.2, found 3"),
        ({"labels": [0, 1, "up"]}, r"labels should be names of classes, or their numbers 0\.\.2, found 'up'"),
        ({"features": []}, "features should be of at least one clip, found none"),
        ({"features": [np.zeros(3)]}, r"the features of the first clip should have shape \[T, D\], found \[3\]"),
        ({"uids": ["a"]}, "uids should be of 3 clips, as features are, found 1"),
        ({"uids": ["a", "a", "b"]}, "the clip a is in the store"),
    ],
)
def test_features_that_do_not_fit(tmp_path, change, message):
    given = {"features": clips(), "labels": [0, 1, 2], "class_names": NAMES} | change
    with pytest.raises(InputError, match=message):
        data.write_features(tmp_path / "f", given.pop("features"), given.pop("labels"), **given)


def test_values_come_back_as_they_were(tmp_path):
    game = esv_jax.clip_game(lambda params, shown: shown.sum(axis=1) * params, empty=PRIOR)
    videos = np.stack([clip[:4] for clip in clips()])
    out = esv_jax.explain_batch(esv_jax.exact(), game, np.float32(1), videos)
    results.write(
        tmp_path / "s.zarr", out, uids=["a", "b", "c"], class_names=NAMES, labels=[0, 1, 2], about={"model": "mine"}
    )
    found = results.open(tmp_path / "s.zarr")
    np.testing.assert_array_equal(found["esv"].values, out.values)
    np.testing.assert_array_equal(found["low"].values, out.values)
    np.testing.assert_array_equal(found["score"].values, out.full)
    np.testing.assert_array_equal(found["prior"].values, PRIOR)
    np.testing.assert_array_equal(found["frame_index"].values, np.tile(np.arange(4), (3, 1)))
    assert found["uid"].values.tolist() == ["a", "b", "c"]
    assert found["label"].values.tolist() == [0, 1, 2]
    assert found.attrs["model"] == "mine"
    # Another number of frames, sampled, one by one.
    some = esv_jax.regression(max_evaluations=8)
    each = [
        esv_jax.explain(some, game, np.float32(1), video[:3], key=jax.random.key(i)) for i, video in enumerate(videos)
    ]
    each = [a._replace(std_error=np.full_like(a.values, 0.1), degrees=5.0) for a in each]
    frames = np.array([[0, 2, 4], [1, 3, 5], [0, 1, 4]])
    results.write(
        tmp_path / "s.zarr", each, uids=["a", "b", "c"], class_names=NAMES, frame_index=frames, about={"model": "mine"}
    )
    assert results.num_frames_stored(tmp_path / "s.zarr") == [3, 4]
    found = results.open(tmp_path / "s.zarr", 3)
    for v, attribution in enumerate(each):
        low, high = attribution.interval()
        for name, expected in {"esv": attribution.values, "low": low, "high": high, "std_error": 0.1}.items():
            np.testing.assert_array_equal(found[name].values[v], np.broadcast_to(np.float32(expected), (3, 3)))
    assert found["label"].values.tolist() == [-1, -1, -1]
    assert found["num_frames_in_video"].values.tolist() == [5, 6, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uids": ["a"]}, "uids should be of 3 videos, as attributions are, found 1"),
        ({"about": {"model": object()}}, "about should be such as json holds"),
        ({"class_names": ["x"]}, "class_names should be 3, as attributions have, found 1"),
        ({"labels": [0, 1, 5]}, r"labels should be class numbers, 0\.\.2, found"),
        ({"labels": [0.0, 1.0, 2.0]}, r"labels should be class numbers, 0\.\.2, found float64"),
        ({"frame_index": [[0, 1]]}, r"frame_index should have shape \[3, 4\], found \[1, 2\]"),
        ({"attributions": []}, "attributions should be of at least one video, found none"),
        ({"empty": True}, r"attributions should have the same v\(nobody\)"),
        ({"nan": "values"}, "values of attributions should be finite, found 1 NaN"),
        ({"nan": "full"}, "full of attributions should be finite, found 1 NaN"),
        ({"uids": ["a", "b", "a"]}, "uids should be different, found 'a' more than once"),
        ({"frame_index": np.arange(12).reshape(3, 4) / 2}, "frame_index should be integers, 0 and more, found float64"),
        ({"frame_index": np.arange(-1, 11).reshape(3, 4)}, "frame_index should be integers, 0 and more, found int64"),
        ({"num_frames_in_video": [4, 3, 4]}, "frame_index should be below num_frames_in_video, found 3 of 3"),
    ],
)
def test_values_that_do_not_fit(tmp_path, change, message):
    game = esv_jax.clip_game(lambda params, shown: shown.sum(axis=1) * params, empty=PRIOR)
    videos = np.stack([clip[:4] for clip in clips()])
    out = jax.tree.map(np.array, esv_jax.explain_batch(esv_jax.exact(), game, np.float32(1), videos))
    if change.pop("empty", False):
        out.empty[1] = 0
    if name := change.get("nan"):
        getattr(out, name).flat[-1] = np.nan
    given = {"attributions": out, "uids": ["a", "b", "c"], "class_names": NAMES} | change
    given.pop("nan", None)
    with pytest.raises(InputError, match=message):
        results.write(tmp_path / "s.zarr", given.pop("attributions"), **given)
    assert not (tmp_path / "s.zarr").exists()


def test_another_about_is_another_store(tmp_path):
    game = esv_jax.clip_game(lambda params, shown: shown.sum(axis=1) * params, empty=PRIOR)
    out = esv_jax.explain_batch(esv_jax.exact(), game, np.float32(1), clips()[0][None])
    results.write(tmp_path / "s.zarr", out, uids=["a"], class_names=NAMES, about={"model": "mine"})
    results.write(tmp_path / "s.zarr", out, uids=["a"], class_names=NAMES, about={"model": "mine"})
    with pytest.raises(InputError, match="model"):
        results.write(tmp_path / "s.zarr", out, uids=["a"], class_names=NAMES, about={"model": "theirs"})


@pytest.mark.parametrize("change", ["values", "uids", "labels"])
def test_what_is_written_is_never_taken_for_something_else(tmp_path, change):
    game = esv_jax.clip_game(lambda params, shown: shown.sum(axis=1) * params, empty=PRIOR)
    videos = np.stack([clip[:4] for clip in clips()])
    given = {"uids": ["a", "b", "c"], "class_names": NAMES, "labels": [0, 1, 2]}
    out = esv_jax.explain_batch(esv_jax.exact(), game, np.float32(1), videos)
    results.write(tmp_path / "s.zarr", out, **given)
    results.write(tmp_path / "s.zarr", out, **given)
    if change == "values":
        out = esv_jax.explain_batch(esv_jax.exact(), game, np.float32(2), videos)
    else:
        given[change] = given[change][::-1]
    with pytest.raises(InputError, match="holds other values of 4 frames: use another folder, or remove it"):
        results.write(tmp_path / "s.zarr", out, **given)


def test_features_that_do_not_fit_leave_nothing(tmp_path):
    for last, label in ((np.zeros((5, 2)), 2), (np.full((5, 3), np.nan), 2), (clips()[2], "up")):
        with pytest.raises(InputError):
            data.write_features(tmp_path / "f", [*clips()[:2], last], [0, 1, label], class_names=NAMES)
    assert not (tmp_path / "f").exists()
    data.write_features(tmp_path / "f", clips(), jax.numpy.arange(3), class_names=NAMES)
    assert [clip.uid for clip in feature_store.open_store(tmp_path / "f").clips] == ["0", "1", "2"]
    with pytest.raises(InputError, match=r"labels should be names of classes, or their numbers 0\.\.2, found True"):
        data.write_features(tmp_path / "g", clips(), [True, False, True], class_names=NAMES)


def test_the_documentation(tmp_path, monkeypatch, capsys):
    """Every block of Python of docs/analyses.md, one after the other, in a folder of its own."""
    blocks = documentation.python_blocks(documentation.read("analyses.md"))
    assert len(blocks) == 3
    rng = np.random.default_rng(0)
    labels = np.arange(12) % 3
    features = (rng.normal(size=(12, 4, 3)) + np.eye(3)[labels][:, None]).astype(np.float32)
    game = esv_jax.clip_game(lambda scale, shown: jax.nn.softmax(scale * shown.mean(axis=1)), empty=PRIOR)
    given = {"esv_jax": esv_jax, "jax": jax, "game": game, "model": np.float32(0.2), "videos": features}
    given |= {"features": features, "labels": labels, "names": NAMES, "uids": [f"v{i}" for i in range(12)]}
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block, given)
    assert re.match("(good|doubtful|bad): ", capsys.readouterr().out)
    assert feature_store.open_store("out/features").clips[3].uid == "v3"
    np.testing.assert_array_equal(results.open("out/mine.zarr")["esv"].values[2], given["out"][2].values)

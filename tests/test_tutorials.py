"""The tutorials run as written, print what they say, and what they print is right."""

import numpy as np
import pytest

import esv_jax
from tests import documentation, oracles


@pytest.fixture
def follow(tmp_path, monkeypatch, capsys):
    """Does what a page says, in a folder of its own with the package beside it, as in a clone -> the names it made."""
    (tmp_path / "esv_jax").symlink_to(documentation.ROOT / "esv_jax")
    monkeypatch.chdir(tmp_path)

    def run(name):
        names = {}
        documentation.run(f"tutorials/{name}.md", names, capsys=capsys, monkeypatch=monkeypatch)
        return names

    return run


def test_explain_a_clip(follow, tmp_path):
    pytest.importorskip("av")
    names = follow("explain_a_clip")
    # The command and Python mean the same frames and the same question.
    with np.load(tmp_path / "out" / "clip" / "attribution.npz") as kept:
        np.testing.assert_allclose(kept["values"], names["values"], atol=1e-5)
    game, given, empty = names["trn"], (names["model"].variables, names["features"]), names["out"].empty

    def worth(coalition):
        mask = np.isin(np.arange(8), coalition)[None]
        return esv_jax.worths(game, *given, mask)[0] if coalition else empty

    expected = oracles.permutation_shapley(worth, 8)
    np.testing.assert_allclose(names["values"], expected, atol=1e-4)
    assert (tmp_path / "out" / "clip" / "page.html").exists()


def test_choose_a_removal(follow):
    names = follow("choose_a_removal")
    x = names["video"][:, 0]
    # How far it has moved is a difference of the ends: without an end, what stands in for it.
    zero, mean = (np.asarray(names["found"].attributions[i].values[:, 1]) for i in (2, 1))
    np.testing.assert_allclose(zero, [-x[0], 0, 0, 0, 0, 0, 0, x[7]], atol=1e-5)
    np.testing.assert_allclose(mean, [x.mean() - x[0], 0, 0, 0, 0, 0, 0, x[7] - x.mean()], atol=1e-5)

    def nearest(coalition):
        if not coalition:
            return np.zeros(1)
        kept = sorted(coalition)
        return np.array([x[kept[-1]] - x[kept[0]]], np.float64)

    expected = oracles.permutation_shapley(nearest, 8)[:, 0]
    np.testing.assert_allclose(names["found"].attributions[0].values[:, 1], expected, atol=1e-5)


def test_choose_an_estimator(follow):
    names = follow("choose_an_estimator")
    assert names["found"].certain
    assert names["found"].answer == np.asarray(names["truth"].values)[:, 0].argmax()
    assert float(names["out"].std_error.max()) <= 0.005


def test_a_whole_data_set(follow, tmp_path):
    for package in ("av", "zarr", "xarray", "pandas"):
        pytest.importorskip(package)
    names = follow("whole_dataset")
    dataset = names["dataset"]
    # Counted without pandas.
    own = np.stack([esv[:, label] for esv, label in zip(dataset["esv"].values, dataset["label"].values, strict=True)])
    assert len(names["own"]) == own.size == 48
    assert int((names["own"]["esv"] > 0).sum()) == int((own > 0).sum())
    assert (tmp_path / "out" / "page" / "index.html").exists()
    # The guide to pages goes on from such a store; its other block needs Rerun.
    exec(documentation.python_blocks(documentation.read("page.md"))[0], {"esv_jax": esv_jax})
    assert (tmp_path / "own.csv").exists()
    assert len((tmp_path / "out" / "down.csv").read_text().splitlines()) == 49


def test_write_your_own(follow):
    names = follow("write_your_own")
    frames = np.tanh(np.asarray(names["video"], np.float64)) @ np.asarray(names["params"]["w"], np.float64)

    def worth(coalition):
        if not coalition:
            return np.full(3, 1 / 3)
        return oracles.softmax(frames[sorted(coalition)].sum(axis=0) / np.sqrt(len(coalition)))

    np.testing.assert_allclose(names["truth"].values, oracles.permutation_shapley(worth, 6), atol=1e-5)

    # Of a game of pairs the ends are enough, as the page says.
    pairs = np.random.default_rng(0).normal(size=(6, 6))
    clip = np.arange(6, dtype=np.float32)[:, None]

    def predict(model, clips):
        present = np.stack([np.isin(np.arange(6), clip_of) for clip_of in clips[:, :, 0]]).astype(float)
        return np.einsum("ni,ij,nj->n", present, pairs, present)[:, None]

    game = esv_jax.host_game(predict, empty=[0.0], removal="delete")
    ends = esv_jax.explain(names["ends"](), game, None, clip)
    expected = oracles.permutation_shapley(lambda s: pairs[np.ix_(sorted(s), sorted(s))].sum(keepdims=True)[0], 6)
    np.testing.assert_allclose(ends.values, expected, atol=1e-4)

    path = names["path"][:, 0]

    def length(coalition):
        kept = sorted(coalition)
        return np.array([np.abs(np.diff(path[kept])).sum()]) if kept else np.zeros(1)

    np.testing.assert_allclose(names["out"].values, oracles.permutation_shapley(length, 6), atol=1e-5)


def test_play_fair(follow):
    names = follow("play_fair")
    # Every coalition of every size: the paper's estimate is exact.
    every = esv_jax.stratified(per_size=70)
    given = names["model"].variables, names["features"]
    out = esv_jax.explain(every, names["papers"], *given, key=names["jax"].random.key(1))
    np.testing.assert_allclose(out.values, names["truth"].values, atol=1e-4)

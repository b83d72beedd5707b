import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

import esv_jax
from esv_jax import results
from esv_jax.analyses import methods, study
from esv_jax.analyses.subject import asked_of_folder, open_subjects
from esv_jax.checks import InputError
from esv_jax.data import feature_store
from esv_jax.explaining.batch import explain_batch
from esv_jax.saved import model_folder
from esv_jax.saved.model_folder import ModelCard
from tests.analyses.fakes import CLASSES, MODULES, PRIOR, C, D, subject
from tests.experiments import scripts

pytest.importorskip("matplotlib")
pytest.importorskip("xarray")
pytest.importorskip("zarr")
LENGTHS = (5, 4, 3, 7, 6, 4)
OPTIONS = {
    "tsn": {"num_classes": C},
    "multiscale_trn": {"num_scales": 2, "hidden_dim": 6, "num_classes": C},
}


@pytest.fixture
def run_script(capsys, monkeypatch):
    return lambda name, *arguments: scripts.run_script(name, *arguments, capsys=capsys, monkeypatch=monkeypatch)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A feature store of six held-out clips and two to train on, and a model of either kind."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    header = feature_store.StoreHeader(D, "float32", CLASSES)
    with feature_store.create_or_append(folder / "features", header) as writer:
        for i, length in enumerate((*LENGTHS, 3, 3)):
            split = "test" if i < len(LENGTHS) else "train"
            writer.append(f"v{i}", f"v{i}.webm", CLASSES[i % C], split, rng.normal(size=(length, D)).astype(np.float32))
    for kind in MODULES:
        card = ModelCard(kind, OPTIONS[kind], D, CLASSES, PRIOR)
        model_folder.save_model(folder / kind, card, subject(kind).model.variables)
    return folder


@pytest.fixture
def stores(world, run_script):
    for kind in MODULES:
        if not (world / f"{kind}.zarr").exists():
            arguments = (f"--features={world / 'features'}", f"--model={world / kind}", f"--out={world / kind}.zarr")
            ran = run_script(
                "compute_esvs", *arguments, "--split=test", "--num_frames=2", "--num_frames=4", "--estimator=exact"
            )
            assert ran.exit_code == 0, ran.stderr
    return [world / f"{kind}.zarr" for kind in MODULES], [world / kind for kind in MODULES]


def opened(stores, models, *more):
    return open_subjects(stores, [asked_of_folder(model) for model in models], *more)


def test_subjects_are_of_the_videos_that_all_hold(world, stores):
    tsn, trn = opened(*stores, world / "features")
    long_enough = [i for i, length in enumerate(LENGTHS) if length >= 4]
    source = feature_store.open_store(world / "features")
    for one in (tsn, trn):
        assert one.uid == tuple(f"v{i}" for i in long_enough)
        np.testing.assert_array_equal(one.label, [i % C for i in long_enough])
        for count, found in one.features.items():
            expected = [source.features(i)[one.values[count].frame_index[n]] for n, i in enumerate(long_enough)]
            np.testing.assert_array_equal(found, np.stack(expected))
            gap = one.values[count].score - one.prior - one.values[count].esv.sum(axis=1)
            np.testing.assert_allclose(gap, 0, atol=1e-5)
        training = np.concatenate([source.features(i) for i in (6, 7)])
        np.testing.assert_allclose(one.mean_feature, training.mean(axis=0), rtol=1e-5)


def test_videos_are_looked_for_in_the_folder_of_the_clips(world, stores, tmp_path):
    (one, _) = opened(*stores, world / "features", tmp_path)
    assert one.path == tuple(str(tmp_path / f"{uid}.webm") for uid in one.uid)


def test_stores_and_models_that_do_not_belong_together(world, stores):
    with pytest.raises(InputError, match="not of the one given"):
        opened(stores[0], stores[1][::-1], world / "features")
    with pytest.raises(InputError, match="found 2 stores and 1 models"):
        opened(stores[0], stores[1][:1], world / "features")
    same = opened([stores[0][0]] * 2, [stores[1][0]] * 2, world / "features")
    assert [subject.name for subject in same] == ["tsn (1)", "tsn (2)"]


def written(path, world, kind, order=(0, 1, 3, 4), flipped=False, **more):
    """A store of `results.write`, of two frames of clips in an order."""
    asked = asked_of_folder(world / kind)
    source = feature_store.open_store(world / "features")
    clips = np.stack([source.features(i)[:2] for i in order])
    out = explain_batch(esv_jax.exact(), asked.game, asked.params, clips)
    given = {"uids": [f"v{i}" for i in order], "class_names": CLASSES, "labels": [i % C for i in order], **more}
    if flipped:
        out = jax.tree.map(lambda array: array[..., ::-1] if np.ndim(array) else array, out)
    results.write(path, out, **given)
    return path


def test_stores_of_ones_own_are_put_into_one_order(world, stores, tmp_path):
    paths = [written(tmp_path / "a.zarr", world, "tsn"), written(tmp_path / "b.zarr", world, "tsn", (4, 0, 2, 3, 1))]
    one, other = opened(paths, [world / "tsn"] * 2, world / "features")
    assert one.uid == other.uid == ("v0", "v1", "v3", "v4")
    jax.tree.map(np.testing.assert_array_equal, one.values, other.values)
    np.testing.assert_array_equal(one.features[2], other.features[2])
    np.testing.assert_array_equal(one.label, other.label)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frame_index": [[0, 1], [0, 1], [0, 9], [0, 1]]}, "are of frame 9 of v3, which has 7 frames in the features"),
        ({"frame_index": [[1, 2]] * 4}, "the model gives v0 other scores than .* holds"),
        ({"flipped": True, "class_names": CLASSES[::-1]}, "should be of the classes of tsn, in their order"),
        (
            {"labels": [0, 1, 0, 2]},
            "the label of v4 in .* should be that of the features, 'moving right', found",
        ),
        ({"kind": "multiscale_trn"}, "the model gives v0 other scores than .* holds"),
    ],
)
def test_stores_of_ones_own_that_do_not_belong_to_the_model(world, tmp_path, given, message):
    store = written(tmp_path / "s.zarr", world, given.pop("kind", "tsn"), **given)
    with pytest.raises(InputError, match=message):
        opened([store], [world / "tsn"], world / "features")


def test_other_values_at_the_same_place_are_analysed_anew(world, tmp_path, run_script, monkeypatch):
    chosen = {"supporting": study.every_analysis()["supporting"]}
    monkeypatch.setattr(study, "every_analysis", lambda: chosen)

    def run():
        store = written(tmp_path / "s.zarr", world, "tsn", order)
        given = (f"--store={store}", f"--model={world / 'tsn'}", f"--features={world / 'features'}")
        ran = run_script("analyse", *given, f"--out={tmp_path / 'out'}")
        assert ran.exit_code == 0, ran.stderr
        return ran.stdout

    order = (0, 1, 3, 4)
    assert "done before" not in run()
    assert "done before" in run()
    shutil.rmtree(tmp_path / "s.zarr")
    order = (0, 1, 2, 4)
    assert "done before" not in run()


def test_what_is_done_is_not_done_again(world, stores, tmp_path, capsys, monkeypatch):
    pairs = zip(*stores, strict=True)
    arguments = [flag for store, model in pairs for flag in (f"--store={store}", f"--model={model}")]
    arguments += [f"--features={world / 'features'}", "--num_frames=4", "--approximated_frames=4"]

    every = study.every_analysis()
    chosen = {name: every[name] for name in ("supporting", "positions", "lengths", "mistakes")}
    monkeypatch.setattr(study, "every_analysis", lambda: chosen)

    def run(*more):
        ran = scripts.run_script(
            "analyse", *arguments, f"--out={tmp_path / 'out'}", *more, capsys=capsys, monkeypatch=monkeypatch
        )
        assert ran.exit_code == 0, ran.stderr
        return ran.stdout

    first = run()
    assert "positions: b_position.csv, b_by_class.csv" in first
    table = pd.read_csv(tmp_path / "out" / "a_supporting.csv")
    assert set(table["model"]) == {"TSN", "multi-scale TRN"}
    assert (tmp_path / "out" / "supporting.md").read_text().startswith("| clips | TSN | multi-scale TRN |\n| --- |")
    done = json.loads((tmp_path / "out" / "done.json").read_text())
    del done["positions"]  # as if it had been killed before
    (tmp_path / "out" / "done.json").write_text(json.dumps(done))
    assert [line for line in run().splitlines() if "done before" not in line] == [
        "positions: b_position.csv, b_by_class.csv",
        f"wrote {tmp_path / 'out'}",
    ]
    assert "done before" not in run("--seed=1")


def test_numbers_of_frames_that_are_not_stored(world, stores, run_script, tmp_path):
    pairs = zip(*stores, strict=True)
    arguments = [flag for store, model in pairs for flag in (f"--store={store}", f"--model={model}")]
    ran = run_script("analyse", *arguments, f"--features={world / 'features'}", f"--out={tmp_path}", "--num_frames=3")
    assert ran.exit_code == 1
    assert "--num_frames should be one of the numbers of frames in the stores, [2, 4], found 3" in ran.stderr
    ran = run_script("analyse", *arguments, f"--features={world / 'features'}", f"--out={tmp_path}", "--smooth=2")
    assert ran.exit_code == 1
    assert "over an odd number of frames, 1 or more, found 2" in ran.stderr


FACTORY = """
import numpy as np

def sums():
    return lambda clips: np.tanh(clips.cumsum(axis=1)).sum(axis=1)[:, :3]
"""


def test_two_of_a_kind_and_anyones_model(world, run_script, tmp_path, monkeypatch):
    """Two TRNs and a model on the host, each with a store; evidence by uid; one table a model at the end."""
    (tmp_path / "host_for_analyse.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(methods, "STEPS", 2)
    monkeypatch.setattr(methods, "SAMPLES", 2)
    card = ModelCard("tsn", OPTIONS["tsn"], D, CLASSES, PRIOR)
    variables = jax.tree.map(lambda weights: -weights, subject("tsn").params)
    model_folder.save_model(tmp_path / "another", card, variables)
    (tmp_path / "classes.csv").write_text("id,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(CLASSES)))
    (tmp_path / "priors.csv").write_text("class,prior\n0,0.5\n1,0.25\n2,0.25\n")
    theirs = [f"--classes={tmp_path / 'classes.csv'}", f"--priors={tmp_path / 'priors.csv'}"]
    models = [str(world / "tsn"), str(tmp_path / "another"), "host_for_analyse:sums"]
    flags = []
    for i, model in enumerate(models):
        given = [f"--features={world / 'features'}", f"--model={model}", f"--out={tmp_path / str(i)}.zarr"]
        ran = run_script("compute_esvs", *given, "--split=test", "--num_frames=3", *(theirs if i == 2 else []))
        assert ran.exit_code == 0, ran.stderr
        flags += [f"--store={tmp_path / str(i)}.zarr", f"--model={model}"]
    flags += [f"--features={world / 'features'}", f"--out={tmp_path / 'out'}", *theirs]
    (tmp_path / "evidence.csv").write_text("uid,first,last\nv0,0,1\n")
    bad = run_script("analyse", *flags, f"--evidence={tmp_path / 'evidence.csv'}")
    assert bad.exit_code == 1
    assert "the evidence should be recorded of all videos, found none of 5: v1, v2, v3" in bad.stderr
    assert not (tmp_path / "out" / "done.json").exists()
    lines = [f"v{i},{i % 2},{i % 2}" for i in range(len(LENGTHS))]
    (tmp_path / "evidence.csv").write_text("\n".join(["uid,first,last", *lines]) + "\n")
    ran = run_script("analyse", *flags, f"--evidence={tmp_path / 'evidence.csv'}")
    assert ran.exit_code == 0, ran.stderr
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert set(table["model"]) == {"tsn", "another", "host_for_analyse:sums"}
    assert (
        (tmp_path / "out" / "comparison_3.md").read_text().startswith("| host_for_analyse:sums | Spearman with ESV |")
    )
    named = run_script("analyse", *flags, "--name=a", "--name=b", "--name=a")
    assert "--name should be given once a model, all different, found ['a', 'b', 'a']" in named.stderr

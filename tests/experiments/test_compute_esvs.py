import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags as absl_flags

import esv_jax
from esv_jax import files, models
from esv_jax.data import feature_store, play_fair_features
from esv_jax.explaining import batch as explain_batch
from esv_jax.explaining import choose as choosing
from esv_jax.interop import heads
from esv_jax.results import store, store_writer
from esv_jax.saved import model_folder
from esv_jax.video.frame_sampling import segment_centres
from tests.experiments.scripts import imported, run_script
from tests.results.stores import files_of

GOLDEN = Path(__file__).parents[1] / "golden" / "play_fair"
DIM, CLASSES = 4, ("run", "jump", "sit")
LENGTHS = [6, 3, 9, 5, 4, 7, 2, 8, 6, 5, 11]


def add_clips(path, lengths=LENGTHS, dim=DIM, classes=CLASSES, backbone=None):
    rng = np.random.default_rng(0)
    header = feature_store.StoreHeader(dim, "float32", classes, backbone)
    with feature_store.create_or_append(path, header) as writer:
        for i, length in enumerate(lengths):
            split = "test" if i % 2 else "train"
            writer.append(f"v{i}", "", classes[i % 3], split, rng.normal(size=(length, dim)).astype(np.float32))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Features of a few clips, priors, and a model of each kind."""
    root = tmp_path_factory.mktemp("compute_esvs")
    add_clips(root / "features")
    (root / "priors.csv").write_text("class,prior\n2,0.2\n0,0.8\n")
    kinds = {"tsn": models.TSN(num_classes=3), "multiscale_trn": models.MultiscaleTRN(2, 5, 3)}
    for kind, module in kinds.items():
        variables = jax.jit(module.init)(jax.random.key(1), np.zeros((2, DIM), np.float32))
        options = {"num_classes": 3} if kind == "tsn" else {"num_scales": 2, "hidden_dim": 5, "num_classes": 3}
        prior = np.full(3, 1 / 3, np.float32)
        model_folder.save_model(root / kind, model_folder.ModelCard(kind, options, DIM, CLASSES, prior), variables)
    return root


@pytest.fixture
def compute(root, tmp_path, capsys, monkeypatch):
    def run(*flags, features=root / "features", model="multiscale_trn", out="s.zarr"):
        given = [f"--features={features}", f"--model={root / model}", f"--out={tmp_path / out}", *flags]
        return run_script("compute_esvs", *given, capsys=capsys, monkeypatch=monkeypatch)

    return run


@pytest.mark.parametrize("kind", ["tsn", "mtrn"])
def test_the_authors_files_give_the_authors_values(tmp_path, compute, kind):
    with np.load(GOLDEN / "expected_esvs.npz") as file:
        expected = dict(file)
    states = {}
    for name in ["tsn", "trn_1_frames", "trn_2_frames", "trn_3_frames", "trn_4_frames"]:
        with np.load(GOLDEN / f"{name}.npz") as file:
            states[name] = dict(file)
    tsn = states.pop("tsn")
    imported = heads.tsn(tsn, "tsn") if kind == "tsn" else heads.multiscale_trn(list(states.values()), list(states))
    classes = tuple(map(str, range(9)))
    card = model_folder.ModelCard(imported.kind, imported.options, imported.feature_dim, classes)
    model_folder.save_model(tmp_path / "model", card, imported.variables)
    counts = sorted({int(name.split("_")[0][1:]) for name in expected})
    ran = compute(
        f"--priors={GOLDEN / 'class-priors.csv'}",
        *(f"--num_frames={n}" for n in counts),
        features=GOLDEN / "features.hdf",
        model=tmp_path / "model",
    )
    assert ran.exit_code == 0, ran.stderr
    seen = set()
    for n in counts:
        dataset = esv_jax.results.open(tmp_path / "s.zarr", n)
        for v, uid in enumerate(dataset["uid"].values.tolist()):
            arrays = {"idx": dataset["frame_index"], f"{kind}_esv": dataset["esv"], f"{kind}_score": dataset["score"]}
            for name, array in arrays.items():
                key = f"n{n}_{uid}_{name}"
                seen.add(key)
                np.testing.assert_allclose(array.values[v], expected[key], atol=1e-5, rtol=0)
    assert seen == {key for key in expected if key.endswith("_idx") or f"_{kind}_" in key}


def test_every_video_is_explained_as_if_it_were_alone(root, tmp_path, compute):
    num_compiled = explain_batch._explain_all._cache_size()
    ran = compute("--num_frames=4", "--num_frames=6", "--batch_size=4", f"--priors={root / 'priors.csv'}")
    assert ran.exit_code == 0, ran.stderr
    # Five batches of two numbers of frames, one program for each number.
    assert explain_batch._explain_all._cache_size() <= num_compiled + 2
    assert "9/9 videos" in ran.stderr
    assert "videos/s" in ran.stderr
    assert "s.zarr: num_frames=4: 9 videos, 2 left out\n  v1 has 3 frames\n  v6 has 2 frames\n" in ran.stdout
    assert "s.zarr: num_frames=6: 6 videos, 5 left out\n" in ran.stdout
    model = model_folder.load_model(root / "multiscale_trn")
    prior = np.array([0.8, 0, 0.2], np.float32)
    game = esv_jax.trn_game(model.module, empty=prior)
    source = feature_store.open_store(root / "features")
    for count in (4, 6):
        dataset = esv_jax.results.open(tmp_path / "s.zarr", count)
        kept = [i for i, length in enumerate(LENGTHS) if length >= count]
        assert dataset["uid"].values.tolist() == [f"v{i}" for i in kept]
        assert dataset["label"].values.tolist() == [i % 3 for i in kept]
        assert dataset["num_frames_in_video"].values.tolist() == [LENGTHS[i] for i in kept]
        np.testing.assert_array_equal(dataset["prior"].values, prior)
        for v in (0, len(kept) - 1):
            frames = segment_centres(LENGTHS[kept[v]], count)
            assert dataset["frame_index"].values[v].tolist() == frames.tolist()
            alone = esv_jax.explain(esv_jax.exact(), game, model.variables, source.features(kept[v])[frames])
            np.testing.assert_allclose(dataset["esv"].values[v], alone.values, atol=1e-6)
            np.testing.assert_allclose(dataset["score"].values[v], alone.full, atol=1e-6)
        assert not dataset["std_error"].values.any()
        np.testing.assert_array_equal(dataset["low"].values, dataset["esv"].values)


def test_the_store_says_how_it_was_made(root, tmp_path, compute):
    compute("--num_frames=4", "--seed=5")
    how = esv_jax.results.open(tmp_path / "s.zarr").attrs
    assert how["command"] == (
        "python -m experiments.compute_esvs --features=features --model=multiscale_trn --num_frames=4 --seed=5"
    )
    assert not any(str(root.parent) in file.read_text(errors="replace") for file in tmp_path.rglob("zarr.json"))
    assert how["model_digest"] == model_folder.digest(model_folder.load_model(root / "multiscale_trn"))
    told = {"estimator": "recommended", "seed": 5, "model_kind": "multiscale_trn", "num_frames": 4}
    assert told.items() <= how.items()
    assert json.loads(how["versions"])["jax"] == jax.__version__
    assert len(how["features_digest"]) == 64


def test_a_killed_run_goes_on_to_the_same_store_bit_for_bit(root, tmp_path, compute):
    flags = ["--num_frames=4", "--num_frames=5", "--batch_size=2"]
    assert compute(*flags, out="whole.zarr").exit_code == 0
    # Killed in the middle of the third batch of the first of two groups, the file half written.
    killed = """if True:
        import os, signal
        from pathlib import Path
        from absl import app
        write = Path.write_bytes
        def half(self, content):
            if self.parts[-4:-1] == ("score", "c", "2"):
                write(self, bytes(content)[:7])
                os.kill(os.getpid(), signal.SIGKILL)
            return write(self, content)
        Path.write_bytes = half
        from experiments import cli, compute_esvs
        cli.run(compute_esvs.main)
    """
    given = [f"--features={root / 'features'}", f"--model={root / 'multiscale_trn'}", f"--out={tmp_path / 's.zarr'}"]
    ran = subprocess.run(
        [sys.executable, "-c", killed, *given, *flags], env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    left = files_of(tmp_path / "s.zarr")
    assert "num_frames=4/score/c/1/0" in left
    assert "num_frames=4/score/c/2/0" not in left
    with pytest.raises(esv_jax.InputError, match="not finished"):
        esv_jax.results.open(tmp_path / "s.zarr")
    ran = compute(*flags)
    assert ran.exit_code == 0, ran.stderr
    # The command is that of this process, which pytest started, in both.
    assert files_of(tmp_path / "s.zarr") == files_of(tmp_path / "whole.zarr")


@pytest.mark.parametrize("fault", ["index", 0, 1, 3])
def test_a_run_that_fails_says_so_and_goes_on(tmp_path, compute, monkeypatch, fault):
    assert compute("--num_frames=4", "--batch_size=4", out="whole.zarr").exit_code == 0
    original, count = os.replace, 0

    def full(partial, target):
        nonlocal count
        is_chunk = Path(partial).name.startswith(".0.")
        failing = count == fault if is_chunk else (fault == "index" and Path(target).name == "num_frames=4")
        count += is_chunk
        if failing:
            raise OSError(28, "No space left on device")
        return original(partial, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        ran = compute("--num_frames=4", "--batch_size=4")
    assert ran.exit_code == 1
    assert ran.stderr.splitlines()[-1] == (
        f"error: the results store {tmp_path / 's.zarr'} cannot be written: No space left on device; what is in it "
        "stays: run the same command again to go on"
    )
    assert compute("--num_frames=4", "--batch_size=4").exit_code == 0
    assert files_of(tmp_path / "s.zarr") == files_of(tmp_path / "whole.zarr")


def test_a_number_of_frames_is_added_to_a_store(tmp_path, compute):
    assert compute("--num_frames=6").exit_code == 0
    before = files_of(tmp_path / "s.zarr")
    assert compute("--num_frames=4").exit_code == 0
    assert before.items() <= files_of(tmp_path / "s.zarr").items()
    common = esv_jax.results.open_common(tmp_path / "s.zarr")
    assert common[4]["uid"].values.tolist() == common[6]["uid"].values.tolist()


def test_another_configuration_is_refused(root, tmp_path, compute):
    assert compute("--num_frames=4").exit_code == 0
    before = files_of(tmp_path / "s.zarr")
    add_clips(tmp_path / "features", LENGTHS[:-1])
    for message, flags, given in [
        ("made with model_kind multiscale_trn, not tsn", [], {"model": "tsn"}),
        ("made with features_digest", [], {"features": tmp_path / "features"}),
        ("made with prior_digest", [f"--priors={root / 'priors.csv'}"], {}),
        ("made with estimator recommended, not orderings", ["--estimator=orderings"], {}),
        ("made with seed 0, not 1", ["--seed=1"], {}),
        ("made with split None, not test", ["--split=test"], {}),
        ("begun with a batch size of 16, not of 2", ["--batch_size=2"], {}),
    ]:
        ran = compute("--num_frames=4", *flags, **given)
        assert ran.exit_code == 1
        assert message in ran.stderr
    assert files_of(tmp_path / "s.zarr") == before


def test_a_batch_that_changed_is_computed_anew(tmp_path, compute):
    flags = ["--num_frames=4", "--batch_size=4"]
    assert compute(*flags).exit_code == 0
    whole = files_of(tmp_path / "s.zarr")
    changed = tmp_path / "s.zarr" / "num_frames=4" / "esv" / "c" / "1" / "0" / "0"
    changed.write_bytes(bytes(changed.stat().st_size))
    with pytest.raises(esv_jax.InputError, match=r"has changed .* with its --out: python -m experiments.compute_esvs"):
        esv_jax.results.open(tmp_path / "s.zarr")["esv"].load()
    assert compute(*flags).exit_code == 0
    assert files_of(tmp_path / "s.zarr") == whole


def test_a_store_that_is_removed_or_replaced_during_a_run_is_told_of(tmp_path, compute, monkeypatch):
    flags, out = ["--num_frames=4", "--batch_size=2"], tmp_path / "s.zarr"
    write, count = store_writer.write_chunk, 0

    def removing(chunks, k, arrays, failed):
        nonlocal count
        count += 1
        if count == 3:
            shutil.rmtree(out) if remove else shutil.copytree(out, tmp_path / "copy")
            if not remove:
                shutil.rmtree(out)
                (tmp_path / "copy").rename(out)
        write(chunks, k, arrays, failed)

    for remove in (True, False):
        count = 0
        with monkeypatch.context() as patch:
            patch.setattr(store_writer, "write_chunk", removing)
            ran = compute(*flags)
        assert ran.exit_code == 1
        assert ran.stderr.splitlines()[-1] == (
            f"error: {out / 'num_frames=4'} was removed or replaced while it was written: run the same command again, "
            "it goes on with what is there"
        )
        assert out.exists() != remove
        assert compute(*flags).exit_code == 0
        assert len(esv_jax.results.open(out)["uid"]) == 9
        shutil.rmtree(out)


def test_a_batch_size_is_no_more_than_all_videos_and_what_memory_holds(tmp_path, compute, monkeypatch):
    assert compute("--num_frames=4", "--batch_size=10000000").exit_code == 0
    assert esv_jax.results.open(tmp_path / "s.zarr").attrs["batch_size"] == 16
    assert sum(map(len, files_of(tmp_path / "s.zarr").values())) < 20_000
    with imported("compute_esvs") as script:
        absl_flags.FLAGS(["compute_esvs", "--features=f", "--model=m", "--out=o", "--batch_size=10000000"])
        assert script._batch_size(2**18, 2**10) == 2**18
        with pytest.raises(esv_jax.InputError, match=r"--batch_size should be at most 131072, .* found 10000000"):
            script._batch_size(2**18, 2**11)


def test_two_runs_at_once_are_refused(tmp_path, compute):
    with files.exclusive_lock(tmp_path, f"the results store {tmp_path}"):
        ran = compute("--num_frames=4", out=".")
    assert ran.exit_code == 1
    assert ran.stderr == f"error: another process is writing the results store {tmp_path}\n"


@pytest.mark.parametrize(
    ("model", "estimator"), [("tsn", "stratified"), ("multiscale_trn", "orderings"), ("multiscale_trn", "regression")]
)
def test_sampled_values_do_not_depend_on_the_batches(tmp_path, compute, model, estimator):
    flags = ["--num_frames=5", f"--estimator={estimator}", "--max_evaluations=20", "--per_size=3", "--split=train"]
    values = {}
    for name, more in {"a": ["--batch_size=1"], "b": [], "c": ["--seed=1"]}.items():
        assert compute(*flags, *more, model=model, out=name).exit_code == 0
        values[name] = esv_jax.results.open(tmp_path / name)
    assert values["a"]["uid"].values.tolist() == ["v0", "v2", "v8", "v10"]
    for name in ("esv", "std_error", "low", "high", "score"):
        np.testing.assert_allclose(values["a"][name].values, values["b"][name].values, atol=1e-6)
    assert values["a"]["std_error"].values.any()
    assert abs(values["a"]["esv"].values - values["c"]["esv"].values).max() > 1e-4


def test_intervals_are_stored_or_too_few_samples_are_told_of(tmp_path, compute):
    sentence = "\n  too few samples for an interval: ask for more evaluations\n"
    for budget, is_few in ((20, True), (400, False)):
        ran = compute("--num_frames=5", "--estimator=orderings", f"--max_evaluations={budget}", out=f"{budget}")
        assert ran.exit_code == 0, ran.stderr
        assert (sentence in ran.stdout) == is_few
        dataset = esv_jax.results.open(tmp_path / f"{budget}")
        assert np.isinf(dataset["low"].values).all() == is_few
        assert (dataset["high"] >= dataset["esv"]).all()


def test_what_was_chosen_by_time_is_kept_and_not_chosen_again(tmp_path, compute, monkeypatch):
    flags = ["--num_frames=5", "--by_time", "--max_evaluations=16", "--max_exact_frames=1", "--split=train"]
    chosen = choosing.Choice("regression", {"max_evaluations": 20}, "regression: it was told to")
    monkeypatch.setattr(choosing, "choose", lambda *_, max_evaluations: {16: chosen}[max_evaluations])
    ran = compute(*flags)
    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout.startswith("num_frames=5: regression: it was told to\n")
    whole = files_of(tmp_path / "s.zarr")
    how = esv_jax.results.open(tmp_path / "s.zarr").attrs
    assert (how["chosen_estimator"], json.loads(how["chosen_options"])) == ("regression", {"max_evaluations": 20})
    monkeypatch.setattr(choosing, "choose", lambda *_, **__: pytest.fail("chosen again"))
    (tmp_path / "s.zarr" / "num_frames=5" / "esv" / "c" / "0" / "0" / "0").unlink()
    assert compute(*flags).exit_code == 0
    assert files_of(tmp_path / "s.zarr") == whole
    assert compute("--num_frames=5", "--estimator=regression", "--max_evaluations=20", "--split=train").exit_code == 1
    refused = compute(*flags, "--estimator=exact", out="t.zarr")
    assert refused.stderr == "error: --by_time chooses the estimator: give no --estimator=exact\n"


def test_by_time_measures(tmp_path, compute):
    ran = compute("--num_frames=5", "--by_time", "--max_evaluations=30", "--max_exact_frames=1")
    assert ran.exit_code == 0, ran.stderr
    assert esv_jax.results.open(tmp_path / "s.zarr").attrs["chosen_estimator"] in ran.stdout.splitlines()[0]


def test_features_that_are_not_finite_are_listed(tmp_path, compute):
    rng = np.random.default_rng(0)
    clips = {f"v{i}": rng.normal(size=(5, DIM)).astype(np.float32) for i in range(4)}
    clips["v1"][3, 2] = np.nan
    clips["v2"][:, 1] = np.inf
    play_fair_features.write_features(
        tmp_path / "f.hdf", [(uid, 2, features) for uid, features in clips.items()], feature_dim=DIM
    )
    ran = compute("--num_frames=4", features=tmp_path / "f.hdf")
    assert ran.exit_code == 0, ran.stderr
    assert "2 left out\n  v1 holds 1 NaN or infinite features\n  v2 holds 5 NaN or infinite features\n" in ran.stdout
    dataset = esv_jax.results.open(tmp_path / "s.zarr")
    assert dataset["uid"].values.tolist() == ["v0", "v3"]
    assert list(json.loads(dataset.attrs["left_out"])) == ["v1", "v2"]
    assert np.isfinite(dataset["esv"].values).all()


def test_values_that_overflow_are_told_of(tmp_path, compute):
    clips = [("tame", 0, np.ones((4, DIM), np.float32)), ("wild", 0, np.full((4, DIM), 3e38, np.float32))]
    play_fair_features.write_features(tmp_path / "f.hdf", clips, feature_dim=DIM)
    ran = compute("--num_frames=4", model="tsn", features=tmp_path / "f.hdf")
    assert ran.exit_code == 1
    assert "1 videos in" in ran.stderr
    assert ran.stderr.endswith("being too large: wild (4 frames)\n")
    assert np.isfinite(esv_jax.results.open(tmp_path / "s.zarr")["esv"].values[0]).all()


def test_many_values_that_overflow_are_told_of_in_one_sentence(tmp_path, compute):
    clips = [(f"wild{i:04}", 0, np.full((4, DIM), 3e38, np.float32)) for i in range(30)]
    play_fair_features.write_features(tmp_path / "f.hdf", clips, feature_dim=DIM)
    ran = compute("--num_frames=4", model="tsn", features=tmp_path / "f.hdf")
    assert ran.exit_code == 1
    assert ran.stderr.endswith(
        "being too large: wild0000 (4 frames), wild0001 (4 frames), wild0002 (4 frames) and 27 more\n"
    )


def test_names_that_a_spreadsheet_would_run_are_told_of_before_anything_is_computed(tmp_path, compute):
    clips = [("=cmd", 0, np.ones((4, DIM), np.float32))]
    play_fair_features.write_features(tmp_path / "f.hdf", clips, feature_dim=DIM)
    ran = compute("--num_frames=4", model="tsn", features=tmp_path / "f.hdf")
    assert ran.exit_code == 1
    assert ran.stderr.splitlines()[-1] == (
        "error: uids should not begin as formulas do, which a spreadsheet runs, found '=cmd': rename them"
    )


def test_mistakes_are_one_sentence(root, tmp_path, compute):
    add_clips(tmp_path / "wide", dim=5)
    add_clips(tmp_path / "long", [1500])
    add_clips(tmp_path / "sat", classes=("run", "jump", "sat"))
    play_fair_features.write_features(tmp_path / "f.hdf", [("u", 3, np.ones((5, DIM), np.float32))], feature_dim=DIM)
    (tmp_path / "noise.hdf").write_bytes(bytes(999))
    (tmp_path / "bad.csv").write_text("class,prior\n0,0.5\n1,0.4\n")
    add_clips(tmp_path / "twice")
    clips = tmp_path / "twice" / "clips.csv"
    clips.write_text(clips.read_text().replace("v1,", "v0,"))
    for message, flags, given in [
        ("reads features of dimension 4, but those in", [], {"features": tmp_path / "wide"}),
        ("the label 'sat' of v2 in", [], {"features": tmp_path / "sat"}),
        ("the label '3' of u in", [], {"features": tmp_path / "f.hdf"}),
        ("it holds a uid twice", [], {"features": tmp_path / "twice"}),
        ("noise.hdf cannot be read", [], {"features": tmp_path / "noise.hdf"}),
        ("there is no feature file", [], {"features": tmp_path / "nowhere"}),
        ("there is no model folder", [], {"model": "nowhere"}),
        ("should sum to 1 within 0.001", [f"--priors={tmp_path / 'bad.csv'}"], {}),
        ("none of the 11 videos has 12 frames and finite", ["--num_frames=12"], {}),
        ("holds no clips of the split 'dev'", ["--split=dev"], {}),
        ("holds no clips of the split ''", ["--split="], {}),
        ("takes at most 30 frames", ["--estimator=exact", "--num_frames=31"], {"features": tmp_path / "long"}),
        ("max_evaluations should be at least", ["--estimator=orderings", "--max_evaluations=3"], {}),
    ]:
        ran = compute(*flags, **given)
        assert ran.exit_code == 1
        assert message in ran.stderr
        assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr
        assert not (tmp_path / "s.zarr").exists()


def test_a_store_of_another_machine_is_gone_on_with_only_if_that_is_asked_for(compute, tmp_path, monkeypatch):
    """Of another number of threads the last bits differ."""
    assert compute().exit_code == 0
    assert "other_machines" not in esv_jax.results.open(tmp_path / "s.zarr").attrs
    machine = store.read_configuration(tmp_path / "s.zarr")["machine"]
    threads = machine["threads"]
    assert machine == {"platform": "cpu", "device": "cpu", "threads": len(os.sched_getaffinity(0))}
    monkeypatch.setenv("NPROC", str(threads + 1))
    refused = compute("--num_frames=2")
    assert refused.exit_code == 1
    assert (
        f"was made with machine.threads {threads}, not {threads + 1}: the last bits of values depend on it; "
        f"set NPROC={threads}, use another folder, or go on with --allow_other_machine" in refused.stderr
    )
    for _ in range(2):
        assert compute("--num_frames=2", "--num_frames=4", "--allow_other_machine").exit_code == 0
    told = json.loads(esv_jax.results.open(tmp_path / "s.zarr", 2).attrs["other_machines"])
    assert [of["machine"]["threads"] for of in told] == [threads + 1]
    monkeypatch.setenv("NPROC", str(threads))
    assert compute("--num_frames=3").exit_code == 0
    other_model = compute("--allow_other_machine", model="tsn")
    assert "was made with model_kind multiscale_trn, not tsn: use another folder" in other_model.stderr

import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from esv_jax import InputError, files
from esv_jax.training import loop
from esv_jax.training.checkpoints import Checkpoints
from esv_jax.training.loop import Schedule, Selection

NUM_EXAMPLES = 23
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(NUM_EXAMPLES, 3)).astype(np.float32)
DATA = {"x": INPUTS, "label": (INPUTS @ np.float32([2, -1, 0.5]) > 0).astype(np.int32)}
PARAMS = {"w": np.zeros((3, 2), np.float32), "b": np.zeros(2, np.float32)}
SCHEDULE = Schedule(epochs=6, batch_size=5, learning_rate=0.1, weight_decay=0.01, seed=3)


def loss(params, state, data, rows, key):
    """Logistic regression on noisy inputs; the state counts how often each example was seen."""
    x = data["x"][rows] + 0.1 * jax.random.normal(key, (len(rows), 3))
    logits, label = x @ params["w"] + params["b"][None], data["label"][rows]
    value = -jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], axis=1).mean()
    seen = state["seen"].at[rows].add(1)
    return value, ({"seen": seen}, {"accuracy": (logits.argmax(axis=1) == label).astype(jnp.float32).mean()})


def train(schedule=SCHEDULE, loss=loss, **options):
    state = {"seen": np.zeros(NUM_EXAMPLES, np.int32)}
    return loop.train(loss, PARAMS, state, DATA, num_examples=NUM_EXAMPLES, schedule=schedule, **options)


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_learns_and_keeps_a_history(capsys):
    out = train()
    assert set(out.history) == {"loss", "accuracy"}
    assert out.history["loss"].shape == (6,)
    assert out.history["loss"][-1] < 0.5 * out.history["loss"][0]
    logits = DATA["x"] @ np.asarray(out.params["w"]) + np.asarray(out.params["b"])
    assert logits.argmax(axis=1).tolist() == DATA["label"].tolist()
    shown = capsys.readouterr().err
    assert "6/6 epochs" in shown
    assert f"loss {out.history['loss'][-1]:.3f}, accuracy {out.history['accuracy'][-1]:.3f}" in shown


def test_every_example_is_seen_in_every_epoch():
    one = train(SCHEDULE._replace(epochs=1)).state["seen"]
    assert set(one.tolist()) == {1, 2}
    assert one.sum() == 25  # five batches of five
    two = train(SCHEDULE._replace(epochs=2)).state["seen"]
    assert two.min() >= 2
    assert (two - one).tolist() != one.tolist()  # shuffled anew


def test_the_seed_decides_everything():
    first, again, other = train(), train(), train(SCHEDULE._replace(seed=4))
    assert_identical(first, again)
    assert abs(first.params["w"] - other.params["w"]).max() > 1e-4


def test_one_program_an_epoch_or_a_step_is_the_same():
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), train(), train(scan_steps=False))


def test_learning_rate_and_weight_decay_are_those_of_the_schedule():
    """Without a gradient AdamW only decays: every matrix is multiplied by (1 - rate * decay) a step."""

    def flat(params, state, data, rows, key):
        return jnp.float32(0), (state, {})

    schedule = Schedule(epochs=8, batch_size=5, learning_rate=0.5, weight_decay=0.1)
    params = {"w": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}
    out = loop.train(flat, params, {}, {}, num_examples=23, schedule=schedule)
    step = np.arange(40)
    warm = 0.5 * step / 2
    cosine = 0.5 * (1 + np.cos(np.pi * (step - 2) / 38)) / 2
    rates = np.where(step < 2, warm, cosine)
    np.testing.assert_allclose(out.params["w"], np.prod(1 - rates * 0.1), rtol=1e-5)
    np.testing.assert_array_equal(out.params["b"], 1)


@pytest.mark.parametrize("saves", [1, 3])
def test_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, saves):
    whole = train(checkpoints=tmp_path / "whole", save_every_s=0)
    original, saved = Checkpoints.save, []

    def interrupted(self, epoch, arrays, history):
        original(self, epoch, arrays, history)
        saved.append(epoch)
        if len(saved) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(checkpoints=tmp_path / "run", save_every_s=0)
    assert saved == list(range(1, saves + 1))
    resumed = train(checkpoints=tmp_path / "run", save_every_s=0)
    assert saved == [1, 2, 3, 4, 5, 6]  # no epoch was done twice
    assert_identical(resumed, whole)


def selection_by(curve, **options):
    """A validation loss that is what the curve says after so many epochs, of 25 examples each."""
    looks = []

    def validation_loss(params, state):
        epoch = int(state["seen"].sum()) // 25
        looks.append(epoch)
        return curve[epoch - 1]

    return Selection(validation_loss, **options), looks


@pytest.mark.parametrize(
    ("curve", "options", "expected", "looked"),
    [
        ([5, 4, 3, 2, 1, 0.5], {}, 6, [1, 2, 3, 4, 5, 6]),
        ([5, 4, 1, 2, 1, 3], {}, 3, [1, 2, 3, 4, 5, 6]),  # of equal ones the first
        ([5, 1, 3, 2, 4, 0.5], {"every": 2}, 6, [2, 4, 6]),
        ([5, 1, 3, 2, 4, 3], {"every": 2}, 2, [2, 4, 6]),
        ([5, 4, 3, 2, 1, 3], {"every": 4}, 4, [4, 6]),  # the last is always looked at
        ([3, 1, 2, 2, 0.5, 0.1], {"patience": 2}, 2, [1, 2, 3, 4]),
        ([3, 1, 2, 0.9, 2, 2], {"patience": 2}, 4, [1, 2, 3, 4, 5, 6]),
        ([3, 2, 2, 1, 1, 1], {"patience": 1}, 2, [1, 2, 3]),
        ([3, 1, 0.5, 2, 0.1, 2], {"patience": 1, "every": 2}, 2, [2, 4]),
    ],
)
def test_the_epoch_of_the_least_validation_loss_is_kept(curve, options, expected, looked):
    selection, looks = selection_by(curve, **options)
    out = train(selection=selection)
    assert out.epoch == expected
    assert looks == looked
    # As the params of an uninterrupted run of the same schedule were after that epoch.
    assert int(out.state["seen"].sum()) == 25 * expected
    seen = {}

    def watch(params, state):
        seen[int(state["seen"].sum()) // 25] = params
        return 0.0

    train(selection=Selection(watch))
    assert_identical(out.params, seen[expected])
    told = out.history["validation_loss"]
    assert len(told) == len(out.history["loss"]) == max(looked)
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(told)) + 1, looked)
    np.testing.assert_allclose(told[np.array(looked) - 1], np.array(curve)[np.array(looked) - 1])


def test_without_validation_it_is_the_last_epoch():
    out = train()
    assert out.epoch == 6
    assert_identical(out.params, train(selection=Selection(lambda params, state: -float(state["seen"].sum()))).params)


@pytest.mark.parametrize("saves", [1, 2, 3, 4])
def test_interrupted_it_selects_and_stops_as_if_it_were_not(tmp_path, monkeypatch, saves):
    def options(folder):
        selection, _ = selection_by([4, 1, 2, 3, 2, 0], patience=3)
        return {"checkpoints": tmp_path / folder, "save_every_s": 0, "selection": selection}

    whole = train(**options("whole"))
    assert (whole.epoch, len(whole.history["loss"])) == (2, 5)  # the third without a better one
    original, saved = Checkpoints.save, []

    def interrupted(self, epoch, arrays, history):
        original(self, epoch, arrays, history)
        saved.append(epoch)
        if len(saved) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(**options("run"))
    assert_identical(train(**options("run")), whole)
    assert_identical(train(**options("run")), whole)  # a run that has stopped is not gone on with


def test_checkpoints_of_another_selection_are_refused(tmp_path):
    train(checkpoints=tmp_path, selection=Selection(lambda params, state: 1.0, patience=3))
    with pytest.raises(InputError, match="of a run with patience = 3, not 4"):
        train(checkpoints=tmp_path, selection=Selection(lambda params, state: 1.0, patience=4))
    with pytest.raises(InputError, match=r"of a run with every = 1, not None"):
        train(checkpoints=tmp_path)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(lambda params, state: np.nan), "the validation_loss became nan in epoch 1: lower the learning rate"),
        (Selection(lambda params, state: 1.0, every=0), "every should be an integer of at least 1, found 0"),
        (Selection(lambda params, state: 1.0, patience=0), "patience should be an integer of at least 1, found 0"),
    ],
)
def test_impossible_selections(selection, message):
    with pytest.raises(InputError, match=message):
        train(selection=selection)


def test_a_finished_run_is_not_done_again(tmp_path, monkeypatch):
    whole = train(checkpoints=tmp_path, save_every_s=1e9)
    monkeypatch.setattr(loop, "_batches", None)
    assert_identical(train(checkpoints=tmp_path), whole)
    shutil.rmtree(tmp_path)
    assert not tmp_path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": SCHEDULE._replace(epochs=1, learning_rate=0.2)}, "of a run with learning_rate = 0.1, not 0.2"),
        ({"settings": {"data": "b", "dims": (1, 2)}}, "of a run with data = 'a', not 'b'"),
        ({"settings": {"data": "a", "dims": (1, 2), "more": 1}}, "of a run with more = None, not 1"),
    ],
)
def test_checkpoints_of_another_run_are_refused(tmp_path, change, message):
    given = {"schedule": SCHEDULE._replace(epochs=1), "settings": {"data": "a", "dims": (1, 2)}}
    train(checkpoints=tmp_path, **given)
    train(checkpoints=tmp_path, **given)
    with pytest.raises(InputError, match=message):
        train(checkpoints=tmp_path, **{**given, **change})


def test_checkpoints_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the checkpoints in .*file cannot be used"):
        train(checkpoints=tmp_path / "file")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The checkpoints of a whole run, of epochs 5 and 6, and what came of it."""
    folder = tmp_path_factory.mktemp("checkpoints") / "run"
    return folder, train(checkpoints=folder, save_every_s=0)


def names_of_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_changed_byte_or_a_missing_file_is_noticed_and_what_is_before_goes_on(tmp_path, run):
    whole, expected = run
    assert names_of_files(whole / "6")
    for name in names_of_files(whole / "6"):
        for damage in ("changed", "missing"):
            folder = tmp_path / damage
            shutil.copytree(whole, folder)
            content = (folder / "6" / name).read_bytes()
            (folder / "6" / name).unlink()
            if damage == "changed":
                at = len(content) // 2
                (folder / "6" / name).write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            with pytest.raises(InputError, match=r"6.*: delete .*6, and training goes on from epoch 5$"):
                train(checkpoints=folder)
            shutil.rmtree(folder / "6")
            if damage == "changed" and name == "run.json":
                assert_identical(train(checkpoints=folder), expected)
            shutil.rmtree(folder)


def test_a_single_damaged_checkpoint_and_one_under_another_number(tmp_path, run):
    shutil.copytree(run[0] / "6", tmp_path / "6")
    shutil.rmtree(tmp_path / "6" / "state")
    with pytest.raises(InputError, match=r"delete .*6, and training starts anew$"):
        train(checkpoints=tmp_path)
    shutil.rmtree(tmp_path / "6")
    shutil.copytree(run[0] / "5", tmp_path / "6")
    with pytest.raises(InputError, match=r"6 is the state after 5 epochs: delete .*6, and training starts anew$"):
        train(checkpoints=tmp_path)


def test_checkpoints_of_other_arrays_are_refused(tmp_path):
    train(SCHEDULE._replace(epochs=1), checkpoints=tmp_path)
    state = {"seen": np.zeros(NUM_EXAMPLES + 1, np.int32)}
    with pytest.raises(InputError, match=r"1 holds arrays of another model"):
        loop.train(
            loss,
            PARAMS,
            state,
            DATA,
            num_examples=NUM_EXAMPLES,
            schedule=SCHEDULE._replace(epochs=1),
            checkpoints=tmp_path,
        )


def test_what_killed_runs_leave_is_removed(tmp_path, run):
    shutil.copytree(run[0], tmp_path / "run")
    for name in (".6.0123abcd.partial", ".6.0123abcd.partial.orbax-checkpoint-tmp"):
        shutil.copytree(run[0] / "6", tmp_path / "run" / name)
    assert_identical(train(checkpoints=tmp_path / "run"), run[1])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["5", "6"]


def test_two_runs_on_one_folder(tmp_path):
    with files.exclusive_lock(tmp_path, "it"), pytest.raises(InputError, match="another process is writing"):
        train(checkpoints=tmp_path)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_removed_meanwhile(tmp_path, monkeypatch, replaced):
    original = Checkpoints.save

    def save(self, epoch, arrays, history):
        if epoch == 2:
            shutil.move(tmp_path / "run", tmp_path / "elsewhere")
            if replaced:
                (tmp_path / "run").mkdir()
        original(self, epoch, arrays, history)

    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(InputError, match=r"run was removed or replaced while this process wrote checkpoints there"):
        train(checkpoints=tmp_path / "run", save_every_s=0)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path, caplog):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    first = Checkpoints(tmp_path / "run", {})
    with first:
        first.save(1, [np.zeros(3)], {})
        before = files.digests(tmp_path / "run")
        noise = np.random.default_rng(0).normal(size=100_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))  # as a full disk, in small
        try:
            with pytest.raises(InputError, match=r"2 cannot be written: File too large; run again, .* from epoch 1$"):
                first.save(2, [noise], {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert files.digests(tmp_path / "run") == before
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["1"]
    assert not caplog.records


def test_a_single_step_is_taken_at_the_peak():
    """AdamW's first step is the learning rate in every direction, whatever the gradient's size."""
    out = train(SCHEDULE._replace(epochs=1, batch_size=NUM_EXAMPLES))
    np.testing.assert_allclose(abs(out.params["w"]), SCHEDULE.learning_rate, rtol=1e-5)


def test_a_batch_is_all_examples_where_there_are_fewer():
    huge = train(SCHEDULE._replace(epochs=2, batch_size=10**9))
    assert_identical(huge, train(SCHEDULE._replace(epochs=2, batch_size=NUM_EXAMPLES)))
    assert huge.state["seen"].tolist() == NUM_EXAMPLES * [2]


def test_a_loss_that_is_not_finite():
    def bad(params, state, data, rows, key):
        return jnp.log(params["w"].sum() - 1), (state, {})

    with pytest.raises(InputError, match="the loss became nan in epoch 1: lower the learning rate"):
        train(loss=bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs should be an integer of at least 1, found 0"),
        ({"batch_size": 0}, "batch_size should be an integer of at least 1, found 0"),
        ({"learning_rate": 0.0}, "learning_rate should be positive, found 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate should be positive, found nan"),
        ({"learning_rate": float("inf")}, "learning_rate should be positive, found inf"),
        ({"weight_decay": -1.0}, "weight_decay should be at least 0, found -1.0"),
        ({"epochs": 10**18}, r"1,000,000,000,000,000,000 epochs are more steps \(5e\+18\) than the 2,147,483,647"),
        ({"seed": 2**63}, "seed should be an integer of 64 bits, found 9223372036854775808"),
    ],
)
def test_impossible_schedules(change, message):
    with pytest.raises(InputError, match=message):
        train(SCHEDULE._replace(**change))


def test_nothing_to_train_on():
    with pytest.raises(InputError, match="should hold at least one example, found none"):
        loop.train(loss, PARAMS, {}, DATA, num_examples=0, schedule=SCHEDULE)

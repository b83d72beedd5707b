import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from esv_jax import InputError
from esv_jax.training import loop
from esv_jax.training.loop import Schedule

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
    original, saved = loop._Store.save, []

    def interrupted(self, epoch, carry, history):
        original(self, epoch, carry, history)
        saved.append(epoch)
        if len(saved) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._Store, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(checkpoints=tmp_path / "run", save_every_s=0)
    assert saved == list(range(1, saves + 1))
    resumed = train(checkpoints=tmp_path / "run", save_every_s=0)
    assert saved == [1, 2, 3, 4, 5, 6]  # no epoch was done twice
    assert_identical(resumed, whole)


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
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json cannot be read as json"):
        train(checkpoints=tmp_path)
    (tmp_path / "run.json").write_text(json.dumps([]))
    with pytest.raises(InputError, match=r"run\.json does not describe a run"):
        train(checkpoints=tmp_path)


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
        ({"weight_decay": -1.0}, "weight_decay should be at least 0, found -1.0"),
    ],
)
def test_impossible_schedules(change, message):
    with pytest.raises(InputError, match=message):
        train(SCHEDULE._replace(**change))


def test_nothing_to_train_on():
    with pytest.raises(InputError, match="should hold at least one example, found none"):
        loop.train(loss, PARAMS, {}, DATA, num_examples=0, schedule=SCHEDULE)

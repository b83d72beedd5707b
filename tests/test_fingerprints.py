"""What is told apart, and what is not."""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from esv_jax import fingerprints

ROOT = Path(__file__).parents[1]
SCALE = np.ones(3)


def scaled(model, clips):
    return clips * SCALE


def of_number(k):
    return lambda model, clips: clips[k]


def with_default(k):
    def predict(model, clips, k=k):
        return clips[k]

    return predict


def around(inner):
    return lambda model, clips: inner(model, clips)


class Server:
    def __init__(self, address):
        self.address, self.calls = address, 0

    def predict(self, model, clips):
        self.calls += 1
        return self.address, clips

    __call__ = predict


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda m, c: c + 1, lambda m, c: c + 2),
        (of_number(0), of_number(1)),
        (with_default(0), with_default(1)),
        (around(of_number(0)), around(of_number(1))),
        (functools.partial(scaled, np.ones(2)), functools.partial(scaled, np.zeros(2))),
        (Server("a").predict, Server("b").predict),
        (Server("a"), Server("b")),
    ],
    ids=["code", "closure", "default", "inner", "partial", "method", "object"],
)
def test_functions_that_do_something_else(one, other):
    assert fingerprints.of_code(one) == fingerprints.of_code(one)
    assert fingerprints.of_code(one) != fingerprints.of_code(other)


def test_global_variables_that_are_named(monkeypatch):
    before = fingerprints.of_code(scaled)
    monkeypatch.setitem(globals(), "SCALE", np.zeros(3))
    assert fingerprints.of_code(scaled) != before


def test_calls_that_are_counted_and_lists_that_grow_change_nothing():
    server, log = Server("a"), []

    def predict(model, clips):
        log.append(clips)

    before = fingerprints.of_code(server.predict, predict)
    server.predict(None, None)
    predict(None, None)
    assert fingerprints.of_code(server.predict, predict) == before


def test_it_is_the_same_in_another_process():
    script = (
        "from esv_jax import fingerprints\n"
        "def predict(model, clips):\n    return model in {'alpha', 'beta', 'gamma', 'delta'}\n"
        "print(fingerprints.of_code(predict))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": str(seed), "PATH": "", "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(found) == 1


def test_functions_that_hold_one_another_end():
    def one(model, clips):
        return other(model, clips)

    def other(model, clips):
        return one(model, clips)

    assert fingerprints.of_code(one)


def test_a_file_is_known_by_what_is_in_it_and_in_those_beside(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    alone = fingerprints.of_model(path)
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    first = fingerprints.of_model(path)
    (tmp_path / "model.onnx.data").write_bytes(b"others")
    assert len({alone, first, fingerprints.of_model(path)}) == 3


def test_modules_of_the_same_weights_and_another_form():
    nn = pytest.importorskip("torch").nn
    linear = nn.Linear(2, 2)
    one, other = nn.Sequential(linear, nn.ReLU()), nn.Sequential(linear, nn.Tanh())
    assert fingerprints.of_model(one) == fingerprints.of_model(nn.Sequential(linear, nn.ReLU()))
    assert fingerprints.of_model(one) != fingerprints.of_model(other)

"""A whole set of videos: its parts in order, whatever works on them."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.explaining import runner
from esv_jax.explaining.batch import explain_batch
from tests.explaining.test_batch import GAME, VIDEOS, WEIGHTS, B, D, T

COMPUTE = """
import hashlib, sys
import jax, numpy as np
import esv_jax
from esv_jax import machine, models
from esv_jax.explaining import runner

module = models.MultiscaleTRN(3, 16, 5)
variables = module.init(jax.random.key(0), np.zeros((3, 8), np.float32))
videos = np.random.default_rng(0).normal(size=(21, 9, 8)).astype(np.float32)
game = esv_jax.trn_game(module, empty=np.full(5, 0.2, np.float32))
shape = jax.ShapeDtypeStruct((9, 8), np.float32)
for estimator in (esv_jax.exact(), esv_jax.regression(max_evaluations=60)):
    work = runner.prepare(
        estimator, game, variables, shape, num_videos=21, floats_of_a_video=2**19, key=jax.random.key(1)
    )
    used = {d for part in work.start(videos[:16]) for d in part.values.devices()}
    chunks = [k for k in range(-(-21 // work.chunk))]
    found = dict(runner.run(work, chunks, lambda k: videos[k * work.chunk : (k + 1) * work.chunk], np.asarray))
    values = np.concatenate([found[k].attribution.values for k in chunks])
    print(len(used), work.chunk, values.shape, hashlib.sha256(values.tobytes()).hexdigest())
print(machine.described()["threads"])
"""


@pytest.mark.parametrize("at_once", [1, 2, 3, 8])
def test_parts_are_all_videos_in_order(at_once):
    whole = explain_batch(esv_jax.exact(), GAME, WEIGHTS, VIDEOS)
    parts = runner.Work(esv_jax.exact(), GAME, (WEIGHTS,), None, 8, at_once).start(VIDEOS)
    assert {part.values.shape[0] for part in parts} == {at_once}
    np.testing.assert_allclose(np.concatenate([part.values for part in parts])[:B], whole.values, atol=1e-6)


def test_chunks_come_with_their_numbers_and_videos():
    shape = jax.ShapeDtypeStruct((T, D), np.float32)
    work = runner.prepare(esv_jax.exact(), GAME, WEIGHTS, shape, num_videos=B, floats_of_a_video=100, chunk=2)
    whole = explain_batch(esv_jax.exact(), GAME, WEIGHTS, VIDEOS)
    for executor in (None, runner.one_by_one, runner.one_ahead):
        found = dict(runner.run(work, [1, 0], lambda k: VIDEOS[2 * k : 2 * k + 2], np.asarray, executor))
        values = np.concatenate([found[k].attribution.values for k in (0, 1)])
        np.testing.assert_allclose(values, whole.values, atol=1e-6)
        assert [found[k].rows.tolist() for k in (0, 1)] == [[0, 1], [0]]
        assert found[0].failed == found[1].failed == {}


def test_devices_take_turns_and_give_the_bits_of_one():
    """Processors that stand for four devices, and for one, with the same number of threads."""

    def ran(num_devices):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}", "NPROC": "4"}
        command = [sys.executable, "-c", COMPUTE]
        found = subprocess.run(
            command, env=os.environ | flags, capture_output=True, text=True, timeout=240, check=False
        )
        assert found.returncode == 0, found.stderr
        return [line.split(" ", 1) for line in found.stdout.splitlines()]

    one, four = ran(1), ran(4)
    assert [line[0] for line in one] == ["1", "1", "4"]
    assert [line[0] for line in four] == ["4", "4", "4"]
    assert [line[1:] for line in one] == [line[1:] for line in four]

"""Workers of Ray: whatever dies, every chunk is done, and what cannot be done is told of."""

import os
import signal
import threading
import time

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.explaining import on_ray, runner
from tests.explaining import ray_cluster
from tests.explaining.test_batch import GAME, VIDEOS, WEIGHTS, B, D, T

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """Two machines, simulated, of two and of one processor."""
    with ray_cluster.cluster(2, 1) as cluster:
        yield cluster


@pytest.fixture
def hire(cluster, monkeypatch):
    """`on_ray.workers` of the cluster."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return on_ray.workers


def doubled(given):
    return lambda: 2 * given


def done(hired, start, chunks, given=lambda k: k):
    return dict(hired.executor(start, given, chunks))


def test_values_are_those_of_this_process_bit_for_bit(hire):
    shape = jax.ShapeDtypeStruct((T, D), np.float32)
    options = {"num_videos": B, "floats_of_a_video": 100, "chunk": 2}
    work = runner.prepare(esv_jax.exact(), GAME, WEIGHTS, shape, **options)
    here = dict(runner.run(work, [0, 1], lambda k: VIDEOS[2 * k : 2 * k + 2], np.asarray))
    with hire(2) as hired:
        there = dict(runner.run(work, [0, 1], lambda k: VIDEOS[2 * k : 2 * k + 2], np.asarray, hired.executor))
        assert hired.machine["platform"] == "cpu"
        assert hired.sees(__file__)
        assert not hired.sees(f"{__file__}.none")
    for k, found in here.items():
        jax.tree.map(np.testing.assert_array_equal, there[k].attribution, found.attribution)


def test_a_second_set_for_the_same_workers_and_what_a_task_raises(hire):
    states = []

    def refused(given):
        raise esv_jax.InputError(f"{given} is refused")

    with hire(2, tell=states.append) as hired:
        assert done(hired, doubled, range(20)) == {k: 2 * k for k in range(20)}
        assert done(hired, lambda given: lambda: -given, [3, 5]) == {3: -3, 5: -5}
        with pytest.raises(esv_jax.InputError, match=r"^7 is refused$"):
            done(hired, refused, [7])
    assert " workers busy" in str(states[-1])


def test_a_killed_worker_costs_nothing(hire, tmp_path):
    said = []

    def killed_once(given):
        mark = tmp_path / f"{given}"
        if given in (3, 11) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return lambda: 2 * given

    with hire(2, log=said.append) as hired:
        assert done(hired, killed_once, range(16)) == {k: 2 * k for k in range(16)}
    assert len(said) == 2
    assert all(" died at chunk " in of_one for of_one in said)


def test_a_chunk_that_kills_its_workers_is_given_up_and_all_else_is_done(hire, tmp_path):
    def killed(given):
        with open(tmp_path / f"{given}", "a") as file:
            file.write("x")
        if given == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return lambda: 2 * given

    with hire(2, log=lambda _: None) as hired:
        found = done(hired, killed, range(9))
    died = found.pop(2)
    assert isinstance(died, runner.Died)
    assert died.said.startswith("3 workers died at its chunk, the last one so: ")
    assert found == {k: 2 * k for k in (0, 1, *range(3, 9))}
    assert len((tmp_path / "2").read_text()) == on_ray.TRIES
    # Of others at most the answer of one was lost on its way, each time.
    assert sum(len((tmp_path / f"{k}").read_text()) for k in found) <= len(found) + on_ray.TRIES


def test_a_lost_machine_costs_nothing(hire, cluster):
    """Of three workers on as many processors one is lost with its machine, for which there is no other."""
    cluster.tell("add 1")

    def slow(given):
        time.sleep(0.3)
        return lambda: np.full(200_000, given, np.float32)  # too large to travel with the answer

    with hire(4, log=lambda _: None) as hired:
        found = {}
        for k, of_chunk in hired.executor(slow, lambda k: k, range(30)):
            found[k] = of_chunk[0]
            if len(found) == 6:
                cluster.tell("lose")
    assert found == {k: k for k in range(30)}


def test_memory_is_bounded_where_one_chunk_takes_long(hire):
    """No chunk is begun that is too far behind the first that is not done."""
    given_before_first = []

    def first_is_slow(given):
        if given == 0:
            time.sleep(3)
        return lambda: given

    taken = []

    def given(k):
        taken.append(k)
        return k

    with hire(2) as hired:
        for k, _ in hired.executor(first_is_slow, given, range(60)):
            if k == 0:
                given_before_first = [*taken]
                break
    assert len(given_before_first) <= on_ray.WINDOW * 2


def test_what_cannot_be_had_is_one_sentence(hire, monkeypatch):
    lock = threading.Lock()
    with hire(1) as hired, pytest.raises(esv_jax.InputError, match=r"^what is to be done cannot be sent to workers: "):
        done(hired, lambda given: lock, [0])
    with hire(1) as hired, monkeypatch.context() as patch:
        patch.setattr(on_ray, "_versions", lambda: {"python": "4.0"})
        with pytest.raises(
            esv_jax.InputError, match=r"^the worker on .* has python 3\.\d.*, not 4\.0: install the same"
        ):
            done(hired, lambda given: os._exit(1), [0])  # so that another one is hired
    with pytest.raises(esv_jax.InputError, match=r"^workers should be an integer of at least 1, found 0$"), hire(0):
        pass
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    with pytest.raises(esv_jax.InputError, match=r"^RAY_ADDRESS should be HOST:PORT of a cluster"), hire(1):
        pass
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(esv_jax.InputError, match=r"^Ray at RAY_ADDRESS=127\.0\.0\.1:1 is not reached: "), hire(1):
        pass


def test_a_cluster_that_has_no_room(hire, monkeypatch):
    monkeypatch.setattr(on_ray, "READY_S", 2.0)
    monkeypatch.setattr(on_ray, "_CPUS", 64)
    message = r"^no worker has come in 2 s: the Ray cluster at .* has \d CPU, 0 GPU free, and a worker takes 64 CPU and"
    with pytest.raises(esv_jax.InputError, match=message), hire(1):
        pass

"""A model on the host, killed at random moments while it is asked: no answer is lost, and values are the same.

KILLS=50 python -m pytest -m slow tests/slow/test_archive_storm.py
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("KILLS", "50"))
BATCH, PAUSE = 8, 0.02  # seconds a batch
# Every answer is logged, one line a batch, before it is given.
SCRIPT = """
import sys, time
import jax, numpy as np
import esv_jax

archive, log, values = sys.argv[1:]
video = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)

def predict(model, clips):
    time.sleep({pause})
    kept = clips.any(axis=2)
    with open(log, "a") as file:
        file.write(" ".join("".join(map(str, row.astype(int))) for row in kept) + "\\n")
    return np.tanh(clips.cumsum(axis=1)).sum(axis=1)

game = esv_jax.host_game(predict, empty=np.zeros(3, np.float32), removal="zero", batch_size={batch})
out = esv_jax.explain(
    esv_jax.regression(max_evaluations=1600), game, "model", video, key=jax.random.key(0), archive=archive
)
np.save(values, np.asarray(out.values))
"""


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_killed_at_random_moments_no_answer_is_lost(tmp_path):
    rng = random.Random(0)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(pause=PAUSE, batch=BATCH))

    def start(name):
        paths = [str(tmp_path / f"{name}.{kind}") for kind in ("esv", "log", "npy")]
        return subprocess.Popen([sys.executable, "-W", "ignore", str(script), *paths], cwd=ROOT)

    assert start("whole").wait() == 0
    log, killed = tmp_path / "killed.log", 0
    log.touch()
    while killed < KILLS:
        process, size = start("killed"), log.stat().st_size
        if rng.random() > 0.2:  # else anywhere, while it starts
            while log.stat().st_size == size and process.poll() is None:
                time.sleep(0.002)
        time.sleep(rng.uniform(0, 4 * PAUSE))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        killed += 1
    ended_early = killed < KILLS
    if not ended_early:
        assert start("killed").wait() == 0
    np.testing.assert_array_equal(np.load(tmp_path / "killed.npy"), np.load(tmp_path / "whole.npy"))
    asked = Counter(log.read_text().split())
    expected = Counter((tmp_path / "whole.log").read_text().split())
    assert set(asked) == set(expected)
    again = sum(asked.values()) - sum(expected.values())
    print(f"{killed} kills, {again} answers asked for again, of at most {killed * BATCH}")
    assert 0 <= again <= killed * BATCH
    assert killed >= min(KILLS, 10)

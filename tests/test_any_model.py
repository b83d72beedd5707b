"""The code of docs/any_model.md runs as written: PyTorch (needs torch and transformers), and a real server."""

import http.server
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "any_model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
WEIGHTS = np.random.default_rng(0).normal(size=(2, 3))


def scores(clips):
    return np.tanh(clips).mean(axis=1) @ WEIGHTS


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with logits; every fifth connection is dropped."""

    calls, lock = 0, threading.Lock()

    def do_POST(self):
        with self.lock:
            type(self).calls += 1
            drop = self.calls % 5 == 0
        if drop:
            self.connection.close()
            return
        clips = np.array(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        body = json.dumps(scores(clips).tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("esv_jax.explaining.answers.FIRST_PAUSE", 0.01)
    video = np.random.default_rng(1).normal(size=(8, 2))
    with http.server.ThreadingHTTPServer(("localhost", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        names = {"address": f"http://localhost:{server.server_address[1]}/", "video": video}
        exec(BLOCKS[1], names)
        server.shutdown()
    out = names["out"]
    logits = scores(video[None])[0]
    np.testing.assert_allclose(out.full, np.exp(logits) / np.exp(logits).sum(), atol=1e-6)
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-6)
    # 2 dollars are 200 evaluations of the 255 that there are: half as many are the plan that was done.
    assert 100 <= int(out.num_evaluations) <= 127
    assert (tmp_path / "clip.esv").exists()


def test_pytorch(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(BLOCKS[0], names)
    out = names["out"]
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-6)

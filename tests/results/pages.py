"""Stores and clips that pages are made of, and what stands in the files of a page, read by Python's own means."""

import base64
import html.parser
import json
import zlib
from typing import Any, NamedTuple

import numpy as np

from esv_jax import results
from esv_jax.base import Attribution
from esv_jax.video.frame_sampling import segment_centres
from tests.video.videos import write_video

CLASSES = ("Opening something", 'Closing <something> & "so"', "Pushing é")
PRIOR = np.array([0.5, 0.25, 0.25])
LENGTH = 40  # frames of a clip


class Truth(NamedTuple):
    """What is in a store: names, labels [V], values [V, T, C] and scores [V, C]."""

    uids: list[str]
    label: np.ndarray
    esv: np.ndarray
    score: np.ndarray


def write_store(path, uids, num_frames=8, *, sampled=False, scale=1.0, seed=0, labels=True) -> Truth:
    """Random values; a quarter of all labels are what is predicted. What two stores have in common they have alike."""
    rng = [np.random.default_rng([seed, num_frames, *uid.encode()]) for uid in uids]
    esv = scale * np.stack([each.normal(0, 0.1, (num_frames, len(CLASSES))) for each in rng])
    esv[:, 0, 2] = 0.0
    std_error = np.abs(esv) / 5 + 0.001 if sampled else np.zeros_like(esv)
    full = PRIOR + esv.sum(axis=1) + (0.01 if sampled else 0.0)
    label = np.array([len(uid) % 3 for uid in uids])
    results.write(
        path,
        [Attribution(esv[v], std_error[v], full[v], PRIOR) for v in range(len(uids))],
        uids=uids,
        class_names=CLASSES,
        labels=label if labels else None,
        frame_index=np.tile(segment_centres(LENGTH, num_frames), (len(uids), 1)),
        num_frames_in_video=np.full(len(uids), LENGTH),
    )
    return Truth(list(uids), label, esv.astype(np.float32), full.astype(np.float32))


def write_clips(folder, names, codec="libx264"):
    """A clip of numbered frames for each name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / name, codec, LENGTH, options={"preset": "ultrafast", "crf": "10"})
    return folder


class _Scripts(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.of, self.found = None, {}

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self.of = dict(attrs).get("id")

    def handle_endtag(self, tag):
        self.of = None

    def handle_data(self, data):
        if self.of is not None:
            self.found[self.of] = self.found.get(self.of, "") + data


def inline_json(file) -> dict[str, Any]:
    """The json scripts of a page, by their ids, as an HTML parser finds them."""
    scripts = _Scripts()
    scripts.feed(file.read_text(encoding="utf-8"))
    return {name: json.loads(text) for name, text in scripts.found.items()}


def index_of(page) -> dict[str, Any]:
    return inline_json(page / "index.html")["index"]


def chunk(page, name) -> dict[str, Any]:
    text = (page / name).read_text(encoding="ascii")
    start = f"esvArrived({json.dumps(name)},"
    assert text.startswith(start)
    assert text.endswith(");\n")
    return json.loads(text[len(start) : -3])


def inflated(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text, validate=True), -15)


def numbers(packed: dict[str, str], steps: int = 20_000) -> np.ndarray:
    """What a script makes of an array: its bytes by planes, fixed point to the middle of its steps."""
    size = {"i1": 1, "i4": 4, "f4": 4, "fixed": 2}[packed["type"]]
    planes = np.frombuffer(inflated(packed["bytes"]), np.uint8).reshape(size, -1)
    whole = planes.T.tobytes()
    if packed["type"] != "fixed":
        return np.frombuffer(whole, f"<{packed['type']}")
    found = np.array([-(code + 1) // 2 if code % 2 else code // 2 for code in np.frombuffer(whole, "<u2").tolist()])
    values = (found.astype(np.float64) + 0.5) / steps
    return np.where(found == -32768, np.nan, np.where(found == -32767, 0.0, values))

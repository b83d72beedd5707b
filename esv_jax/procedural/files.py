"""Writes the procedural action set: video files, and annotations in the format of Something-Something v2.

DIR/set.json         seed and version: a folder holds clips of one set only
DIR/videos/ID.webm   VP9, as Something-Something's
DIR/labels.json, train.json, validation.json, test.json    as Something-Something v2's
DIR/labels.csv       path,label,split, for experiments.extract_features
DIR/evidence.json    per id: num_frames, fps, the action's first and last frame, the frames with the evidence
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, require
from esv_jax.procedural import drawing
from esv_jax.procedural.scripts import ACTIONS, CLASS_NAMES, FPS, SPLITS, Script, label, script_of

VERSION = 1  # of what the clips look like; a folder with another is not added to
# Without look-ahead and hidden frames every frame of the clip is one of the file, and encoding takes 1 ms a frame.
_VP9 = {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "7", "lag-in-frames": "0"}


def encode(frames: Iterable[np.ndarray], fps: int) -> bytes:
    """A webm file (VP9) of RGB frames uint8 [H, W, 3] of one even size.

    Raises:
      MissingExtraError: PyAV is not installed.
    """
    av = require("av", extra="video")
    file = io.BytesIO()
    # "bitexact" leaves random ids and the encoder's version out of the file.
    with av.open(file, "w", format="webm", options={"fflags": "bitexact"}) as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libvpx-vp9", rate=fps, options=_VP9)
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv420p"
                stream.codec_context.thread_count = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode(None))
    return file.getvalue()


def clip_id(index: int) -> str:
    return f"{index:06d}"


def video_path(folder: Path, index: int) -> Path:
    return folder / "videos" / f"{clip_id(index)}.webm"


def start(folder: Path, seed: int) -> None:
    """Makes a folder ready for clips of this seed.

    Raises:
      InputError: it holds clips of another seed or version.
    """
    mark, ours = folder / "set.json", {"seed": seed, "version": VERSION}
    (folder / "videos").mkdir(exist_ok=True)
    if not mark.exists():
        files.write_text(mark, json.dumps(ours) + "\n")
        return
    found = files.read_json(mark)
    if found != ours:
        raise InputError(f"{folder} holds clips of the set {found}, not of {ours}: choose another folder")


def write_clip(folder: Path, seed: int, index: int) -> None:
    """Draws and encodes a clip; a write cut short leaves no file of the clip's name."""
    files.write_bytes(video_path(folder, index), encode(drawing.frames(script_of(seed, index)), FPS))


def write_annotations(folder: Path, seed: int) -> int:
    """Writes the annotations of all clips that the folder holds; returns how many."""
    scripts = [script_of(seed, int(path.stem)) for path in sorted((folder / "videos").glob("*.webm"))]
    numbers = {name: str(i) for i, name in enumerate(CLASS_NAMES)}
    files.write_text(folder / "labels.json", _json(numbers))
    for split in dict.fromkeys(SPLITS):
        files.write_text(folder / f"{split}.json", _json([_entry(one) for one in scripts if one.split == split]))
    paths = [video_path(folder, one.number).relative_to(folder).as_posix() for one in scripts]
    rows = [(path, CLASS_NAMES[one.class_index], one.split) for path, one in zip(paths, scripts, strict=True)]
    files.write_csv(folder / "labels.csv", [("path", "label", "split"), *rows])
    files.write_text(folder / "evidence.json", _json({clip_id(one.number): _evidence(one) for one in scripts}))
    return len(scripts)


def _entry(script: Script) -> dict[str, Any]:
    text, names = label(script)
    template = ACTIONS[script.class_index].template
    return {"id": clip_id(script.number), "label": text, "template": template, "placeholders": names}


def _evidence(script: Script) -> dict[str, Any]:
    return {
        "num_frames": len(script.poses),
        "fps": FPS,
        "action": [script.action[0], script.action[1] - 1],
        "evidence": script.evidence.tolist(),
    }


def _json(content: Any) -> str:
    """Json with an entry a line, as Something-Something's files."""
    if isinstance(content, dict):
        return "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in content.items()) + "\n}\n"
    return "[\n" + ",\n".join(json.dumps(v) for v in content) + "\n]\n"

"""What a page shows of a video: a sprite of the frames that the values are about, and the video itself.

Files in media/ are named by the digest of what they are made of (the clip's uid, the video's size and time of change,
the frames): what is there is up to date, and what has another name is no more needed.
"""

import functools
import itertools
import os
import shutil
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, listed, require
from esv_jax.video import decode

VIDEOS = ("link", "copy", "preview", "none")
FOLDER = "media"
SPRITE_COLUMNS = 16
_SPRITE_HEIGHT, _SPRITE_QUALITY = 128, 75
_LARGEST_SIDE = 2**14 - 1  # of a webp
_PREVIEW_HEIGHT, _PREVIEW_OPTIONS = 240, {"preset": "veryfast", "crf": "26", "bf": "0"}
_MILLISECOND = Fraction(1, 1000)
_SECONDS_OF_ONE = 0.04
_VERSION = "1"  # of what is drawn: another one draws all anew


class Shown(NamedTuple):
    """Some frames of one video.

    Attributes:
      uid: the clip's name.
      frames: int64 [T], their numbers.
      num_frames: of the video.
    """

    uid: str
    frames: np.ndarray
    num_frames: int


class Clips:
    """Finds the videos of clips: by `path_of`, else as files or folders named as the clips are, with any ending."""

    def __init__(self, folder: Path, path_of: Mapping[str, str] | None = None):
        self._folder, self._path_of = folder, path_of
        self._called = functools.cache(_names_by_stem)

    def find(self, uid: str) -> Path:
        """The video of a clip.

        Raises:
          InputError: it is not there, or several may be meant.
        """
        name = uid if self._path_of is None else self._path_of.get(uid, "")
        place = Path(name)
        if not name:
            raise InputError("the features do not say which file it is")
        if "\0" in name or place.is_absolute() or ".." in place.parts:
            raise InputError(f"{name!r:.80} is not the name of a file below {self._folder}")
        video = self._folder / place
        if video.exists():
            return video
        found = self._called(video.parent).get(video.name, [])
        if len(found) != 1:
            several = f"several files are called so: {listed(found)}" if found else "there is no such video"
            raise InputError(f"{several} ({video})")
        return video.parent / found[0]


def _names_by_stem(folder: Path) -> dict[str, list[str]]:
    """What is in a folder, by its names without their endings."""
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        names.setdefault(Path(name).stem, []).append(name)
    return names


def show(shown: Shown, video: Path, out: Path, page: Path, videos: str) -> dict[str, Any]:
    """Makes what is not there yet of a video, and describes it as json.

    Args:
      shown: which frames.
      video: a file, or a folder of images.
      out: the folder that has media/.
      page: the folder that the page will be in, where links to videos start.
      videos: one of `VIDEOS`.

    Returns:
      sprite, columns, width, height: the file of the frames, how many stand in a row, and the size of each;
      times: seconds after the first frame; src: the file to play, start: the first frame's time in it, and middles:
      seconds after that at which it shows the frames.

    Raises:
      InputError: the video cannot be read, or is not the one that the values are about.
    """
    about = video.stat()
    made_of = [_VERSION, shown.uid, str(about.st_size), str(about.st_mtime_ns)]
    name = files.short_digest([*made_of, shown.frames.astype("<i8")])
    card = out / FOLDER / f"{name}.json"
    if not card.exists():
        files.write_json(card, _sprite(shown, video, out / FOLDER / f"{name}.webp"))
    found = {"sprite": f"{FOLDER}/{name}.webp", **files.read_json(card)}
    if videos == "none" or video.is_dir():
        return {key: value for key, value in found.items() if key not in ("start", "middles")}
    whole = files.short_digest([*made_of, videos])
    if videos == "link":
        return {**found, "src": _link(video, page)}
    if videos == "copy":
        copy = f"{FOLDER}/{whole}{urllib.parse.quote(video.suffix.lower())}"
        if not (out / copy).exists():
            with files.atomic(out / copy) as partial:
                shutil.copyfile(video, partial)
        return {**found, "src": copy}
    return {**found, **preview(video, shown.frames, out, whole)}


def _edges(times: np.ndarray) -> np.ndarray:
    """When M frames begin, and the last one ends, [M + 1] seconds: it is taken to be as long as the one before."""
    last = times[-1] - times[-2] if len(times) > 1 else _SECONDS_OF_ONE
    return np.append(times, times[-1] + last)


def preview(video: Path, frames: np.ndarray, out: Path, name: str) -> dict[str, Any]:
    """Makes a small file of a video unless it is there, and says how it is played: src, start and middles.

    Raises:
      InputError: the video cannot be read, or PyAV has no encoder.
    """
    file = f"{FOLDER}/{name}.mp4"
    if not (out / file).exists():
        with files.atomic(out / file) as partial:
            _encode_preview(video, partial)
    return {**_played(video, frames), "src": file, "start": 0.0}


def files_of(found: Mapping[str, Any]) -> Iterator[str]:
    """The files in media/ that a description of `show` needs."""
    for key in ("sprite", "src"):
        name = found.get(key, "")
        if name.startswith(f"{FOLDER}/"):
            yield name
            yield str(Path(name).with_suffix(".json"))


def write_sprite(images: Sequence[np.ndarray] | np.ndarray, path: Path) -> dict[str, Any]:
    """Writes frames uint8 [T, H, W, 3] as one picture, so many in a row; returns how to find them in it."""
    pillow = require("PIL.Image", extra="video")
    tall, wide = images[0].shape[:2]
    height = min(_SPRITE_HEIGHT, tall)
    columns = min(len(images), SPRITE_COLUMNS)
    rows = -(-len(images) // columns)
    height = min(height, _LARGEST_SIDE // rows)
    width = max(1, min(round(height * wide / tall), _LARGEST_SIDE // columns))
    sprite = pillow.new("RGB", (columns * width, rows * height))
    for i, image in enumerate(images):
        cell = pillow.fromarray(np.asarray(image)).resize((width, height), pillow.Resampling.BILINEAR)
        sprite.paste(cell, (i % columns * width, i // columns * height))
    with files.atomic(path) as partial:
        sprite.save(partial, "WEBP", quality=_SPRITE_QUALITY)
    return {"columns": columns, "width": width, "height": height}


def _link(video: Path, page: Path) -> str:
    """The address of a file, from a page in the folder `page`; with an absolute path where no relative one leads."""
    try:
        parts = Path(os.path.relpath(video, page)).parts
    except ValueError:  # another drive
        return video.absolute().as_uri()
    return "/".join(map(urllib.parse.quote, parts))


def _sprite(shown: Shown, video: Path, path: Path) -> dict[str, Any]:
    frames = decode.read_frames(video, shown.frames)
    if frames.num_frames_in_video != shown.num_frames:
        raise InputError(
            f"{video} should have {shown.num_frames} frames, as the store says, found {frames.num_frames_in_video}: "
            "it is another video, or the values are of a part of it"
        )
    described = write_sprite(frames.images, path)
    return {**described, "times": np.round(frames.times, 6).tolist(), **_played(video, shown.frames)}


def _played(video: Path, frames: np.ndarray) -> dict[str, Any]:
    """`start`, the time of the video's first frame in its file, and `middles`, seconds after it in which players surely
    show the frames: in the middle of each, as they round times in ways of their own. Nothing of a folder."""
    if video.is_dir():
        return {}
    edges = _edges(decode.times_of(video))
    middles = (edges[frames] + edges[frames + 1]) / 2
    return {"start": round(decode.start_of(video), 6), "middles": np.round(middles, 6).tolist()}


def _encode_preview(video: Path, path: Path) -> None:
    """A small file of all frames at their times, from 0 on.

    H.264 in mp4 says how long each frame is seen. Of VP8 and VP9 players guess it by the frame before, and show others
    than they are asked for where the rate varies.
    """
    av = require("av", extra="video")
    if "libx264" not in av.codecs_available:
        raise InputError(f"{video} cannot be made smaller: the installed PyAV has no libx264")
    begins, count = np.rint(1000 * decode.times_of(video)).astype(int).tolist(), 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as new:
        stream = None
        for image in itertools.islice(decode.iter_frames(video), len(begins)):
            if stream is None:
                tall, wide = image.shape[:2]
                scale = min(1.0, _PREVIEW_HEIGHT / tall)
                stream = new.add_stream("libx264", options=_PREVIEW_OPTIONS)
                stream.width, stream.height = (max(2, 2 * round(side * scale / 2)) for side in (wide, tall))
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = _MILLISECOND
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
            frame.pts, frame.time_base = begins[count], _MILLISECOND
            count += 1
            new.mux(stream.encode(frame))
        if stream is not None:
            new.mux(stream.encode())
    if count < len(begins):
        raise InputError(f"{video} should have {len(begins)} frames, found {count} when all of it is decoded")

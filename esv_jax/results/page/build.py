"""Writes a page: one folder, or one file, that a browser shows from the disk.

index.html               what is needed to sort and filter: the table, the names, how the values were made
page-DIGEST.js, .css     the scripts of this folder, one behind the other
values/T-N-DIGEST.js     the values of some videos by T frames, loaded when one of them is looked at
values/T-all-DIGEST.js   the values of all videos for the classes that the overview is about
media/DIGEST.webp, ...   frames and videos (`media`)

Names hold the digest of what a file was made of. So what is there is up to date, a run that is killed leaves the page
that was there, and the next one makes what is missing, puts index.html in its place and removes what it does not name.
"""

import base64
import concurrent.futures
import functools
import hashlib
import html
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, listed
from esv_jax.results import panels, store
from esv_jax.results.explanation import Explanation, cells, names
from esv_jax.results.page import encoding, media
from esv_jax.results.store_files import INTERVAL

if TYPE_CHECKING:
    import xarray

MOST_IN_ONE_FILE = 500  # videos
MOST_PLAYED = 3000  # frames of a video that stands in a page whole
_VERSION = "2"  # of the files in values/: another one writes all anew
_VALUES = "values"
_BYTES_A_CHUNK = 2**18  # as they are kept, before they are deflated
_MOST_IN_A_CHUNK = 256  # videos
_SCRIPTS = ("data.js", "table.js", "video.js", "overview.js", "main.js")
_HERE = Path(__file__).parent
# What we name files: nothing else is ever removed.
_OURS = {
    ".": r"page-[0-9a-f]{16}\.(js|css)",
    _VALUES: r"[0-9]+-\w+-[0-9a-f]{16}\.js",
    media.FOLDER: r"[0-9a-f]{16}\..+",
}
_SOURCES = "default-src 'none'; base-uri 'none'; form-action 'none'; script-src {script}; style-src {style}; "
_SOURCES += "img-src 'self' file: data:; media-src 'self' file: data:"


class Made(NamedTuple):
    """What `write` did.

    Attributes:
      file: the one to open.
      num_videos: of the page.
      num_written: files that were made; the others were up to date.
      problems: uid -> why a video is not shown beside its values.
      num_unlabelled: videos that the `columns` say nothing of, where there are any.
    """

    file: Path
    num_videos: int
    num_written: int
    problems: dict[str, str]
    num_unlabelled: int = 0


class _Piece(NamedTuple):
    """Values of some videos, from `start` on, and what is told of each of them; arrays [n, ...] by their names."""

    start: int
    arrays: dict[str, np.ndarray]


class _Set(NamedTuple):
    """The values of V videos by T frames, as a page is made of them.

    Attributes:
      uid: V names.
      label: int64 [V]; -1: not known.
      num_frames_in_video: int64 [V].
      frame_index: int64 [V, T].
      prior: float32 [C].
      sampled: whether values have standard errors.
      pieces: gives esv [n, T, C], score [n, C], and std_error, low, high [n, T, C] of sampled ones, piece by piece.
      about: json-able: how they were made.
    """

    uid: list[str]
    label: np.ndarray
    num_frames_in_video: np.ndarray
    frame_index: np.ndarray
    prior: np.ndarray
    sampled: bool
    pieces: Callable[[], Iterator[_Piece]]
    about: dict[str, Any]


def write(
    path: "str | os.PathLike",
    out: "str | os.PathLike",
    *,
    num_frames: Sequence[int] | None = None,
    clips: "str | os.PathLike | None" = None,
    path_of: Mapping[str, str] | None = None,
    columns: Mapping[str, Mapping[str, str]] | None = None,
    videos: str = "link",
    one_file: bool = False,
    callback: Callable[[int, int], None] | None = None,
) -> Made:
    """Writes a page of a results store, or brings one up to date.

    Args:
      path: the results store.
      out: the folder of the page, made if need be; with `one_file` the file, which ends in .html.
      num_frames: which numbers of frames of the store; all by default. The page begins with the first of them.
      clips: the folder of the videos; None: values alone.
      path_of: uid -> path of its video in `clips`; by default a video is called as its uid, with any ending.
      columns: more columns of the table, name -> uid -> text.
      videos: "link" plays them where they are, "copy" and "preview" (small and re-encoded) put them into the page,
        "none" shows frames alone.
      one_file: everything in one file; for a few hundred videos.
      callback: called with the numbers of videos done and of all.

    Raises:
      InputError: as `results.open`; no such folder of clips; columns that say nothing of any video; `out` cannot be
        written, or is written by another process.
    """
    if videos not in media.VIDEOS:
        raise InputError(f"videos should be one of {', '.join(media.VIDEOS)}, found {videos!r:.80}")
    wanted = list(dict.fromkeys(num_frames)) if num_frames else store.num_frames_stored(path)
    datasets = [store.open(path, n) for n in wanted] or [store.open(path)]
    if clips is not None and not Path(clips).is_dir():
        raise InputError(f"there is no folder of clips {clips}")
    sets = [_of_dataset(dataset) for dataset in datasets]
    classes = [dataset["class_name"].values.tolist() for dataset in datasets]
    if any(of_one != classes[0] for of_one in classes):
        raise InputError(f"{path} should hold values of the same classes for every number of frames, found others")
    if one_file and len(sets[0].uid) > MOST_IN_ONE_FILE:
        raise InputError(
            f"one file is for at most {MOST_IN_ONE_FILE} videos, found {len(sets[0].uid):,}: make a folder"
        )
    show = None
    if clips is not None:
        found = media.Clips(Path(clips), path_of)
        show = functools.partial(_show_clip, found, videos)
    columns = columns or {}
    uids = {uid for of in sets for uid in of.uid}
    unlabelled = len(uids.difference(*columns.values())) if columns else 0
    if unlabelled == len(uids):
        raise InputError(
            f"the columns of labels should be of the videos in {path}, found none of these, {listed(sorted(uids))}"
        )
    title = Path(path).absolute().name
    made = _write(sets, classes[0], Path(out), title, show=show, columns=columns, one_file=one_file, tell=callback)
    return made._replace(num_unlabelled=unlabelled)


def write_one(
    path: "str | os.PathLike",
    explained: Explanation,
    about: Mapping[str, Any],
    *,
    uid: str,
    num_frames_in_video: int,
    pairs: np.ndarray | None = None,
    video: "str | os.PathLike | None" = None,
) -> None:
    """Writes the page of one explained video, one file. Of groups of frames the middle one is shown.

    Args:
      path: the file.
      explained: whose players are its frames, or groups of these.
      about: json-able; how the values were made.
      uid: what the video is called.
      num_frames_in_video: how many frames it has.
      pairs: interactions float [P, P, C].
      video: the file that a small copy is played of, where it has no more than `MOST_PLAYED` frames.

    Raises:
      InputError: a player without frames, or the file cannot be written.
    """
    places = [own[len(own) // 2] for own in cells(explained)]
    if max(places) >= len(explained.frames):
        raise InputError("a page shows values of frames, found those of something else")
    arrays = {"esv": explained.values[None], "score": explained.full[None]}
    if explained.sampled:
        arrays |= {name: getattr(explained, name)[None] for name in ("std_error", *INTERVAL)}
    if pairs is not None:
        arrays["pairs"] = np.asarray(pairs)[None]
    of_one = _Set(
        uid=[uid],
        label=np.array([-1]),
        num_frames_in_video=np.array([num_frames_in_video]),
        frame_index=explained.frames[places][None],
        prior=explained.empty,
        sampled=explained.sampled,
        pieces=lambda: iter([_Piece(0, arrays)]),
        about=dict(about),
    )
    played = None if video is None or os.path.isdir(video) or num_frames_in_video > MOST_PLAYED else Path(video)
    show = functools.partial(_show_explained, explained, places, played)
    _write([of_one], list(explained.class_names), Path(path), explained.title, show=show, columns={}, one_file=True)


def _of_dataset(dataset: "xarray.Dataset") -> _Set:
    attributes = dict(dataset.attrs)
    sampled = attributes.get("sampled") == "true"
    arrays = ["esv", "score", *(["std_error"] if sampled else [])]
    arrays += [name for name in INTERVAL if sampled and name in dataset]

    def pieces() -> Iterator[_Piece]:
        num_videos, num_frames, num_classes = (dataset.sizes[dim] for dim in ("video", "frame", "class"))
        batch = int(attributes["batch_size"])
        few = max(1, min(_MOST_IN_A_CHUNK, _BYTES_A_CHUNK // (2 * num_frames * num_classes)))
        step = batch * -(-few // batch)  # a batch is read whole, and once
        for first in range(0, num_videos, step):
            read = {name: dataset[name][first : first + step].values for name in arrays}
            for start in range(0, len(read["esv"]), few):
                yield _Piece(first + start, {name: of[start : start + few] for name, of in read.items()})

    index = {name: dataset[name].values for name in ("label", "num_frames_in_video", "frame_index", "prior")}
    return _Set(dataset["uid"].values.tolist(), **index, sampled=sampled, pieces=pieces, about=attributes)


# What is shown of a video


def _show_clip(clips: media.Clips, videos: str, of: media.Shown, out: Path, page: Path) -> dict[str, Any]:
    return media.show(of, clips.find(of.uid), out, page, videos)


def _show_explained(
    explained: Explanation, places: list[int], video: Path | None, of: media.Shown, out: Path, page: Path
) -> dict[str, Any]:
    images, times = explained.images[places], explained.times[places]
    name = f"{media.FOLDER}/{files.short_digest([of.uid, images])}.webp"
    found = {"sprite": name, **media.write_sprite(images, out / name), "times": times.tolist()}
    if explained.players is not None:
        found["names"] = names(explained)
    if video is not None:
        try:
            found |= media.preview(video, of.frames, out, files.short_digest([of.uid]))
        except InputError as error:
            found["problem"] = str(error)
    return found


# Making


def _write(
    sets: list[_Set],
    classes: list[str],
    out: Path,
    title: str,
    *,
    show: Callable[..., dict[str, Any]] | None,
    columns: Mapping[str, Mapping[str, str]],
    one_file: bool,
    tell: Callable[[int, int], None] | None = None,
) -> Made:
    page = out.parent if one_file else out
    if one_file and out.suffix.lower() != ".html":
        raise InputError(f"a page of one file should be called .html, found {out}")
    with files.disk_errors(f"the page {out} cannot be written"):
        if one_file:
            with tempfile.TemporaryDirectory() as folder:
                maker = _Maker(Path(folder), page.absolute(), show, tell, sum(len(of.uid) for of in sets))
                index = maker.make(sets, classes, columns, title)
                files.write_text(out, _in_one_file(index, title, Path(folder)))
            return Made(out, len(maker.uids), 1, maker.problems)
        out.mkdir(parents=True, exist_ok=True)
        with files.exclusive_lock(out, f"the page {out}"):
            maker = _Maker(out, page.absolute(), show, tell, sum(len(of.uid) for of in sets))
            index = maker.make(sets, classes, columns, title)
            maker.put_index(_in_folder(index, title, maker))
            maker.remove_others()
        return Made(out / "index.html", len(maker.uids), maker.num_written, maker.problems)


class _Maker:
    """Makes the files of a page in a folder, and keeps count of them."""

    def __init__(
        self,
        out: Path,
        page: Path,
        show: Callable[..., dict[str, Any]] | None,
        tell: Callable[[int, int], None] | None,
        total: int,
    ):
        self._out, self._page, self._show, self._tell, self._total = out, page, show, tell, total
        self._used: set[str] = set()
        self._done = 0
        self.uids: list[str] = []
        self.num_written = 0
        self.problems: dict[str, str] = {}
        for folder in (_VALUES, media.FOLDER):
            (out / folder).mkdir(exist_ok=True)

    def make(
        self, sets: list[_Set], classes: list[str], columns: Mapping[str, Mapping[str, str]], title: str
    ) -> dict[str, Any]:
        """Everything but index.html, whose content this gives."""
        number: dict[str, int] = {}
        for of in sets:
            for uid in of.uid:
                number.setdefault(uid, len(number))
        self.uids = list(number)
        made = [self._set(of, np.array([number[uid] for uid in of.uid])) for of in sets]
        more = [{"name": name, "values": _words([of.get(uid, "") for uid in number])} for name, of in columns.items()]
        return {
            "title": title,
            "classes": classes,
            "colours": {"supporting": panels.SUPPORTING, "distracting": panels.DISTRACTING},
            "steps": encoding.STEPS,
            "uids": encoding.packed_json(self.uids),
            "columns": more,
            "sets": made,
            "problems": encoding.packed_json(self.problems),
        }

    def _set(self, of: _Set, numbers: np.ndarray) -> dict[str, Any]:
        num_videos, num_frames = of.frame_index.shape
        table = {name: np.zeros(num_videos, np.float32) for name in ("score", "most", "least", "std_error")}
        table |= {name: np.zeros(num_videos, np.int32) for name in ("predicted", "most_at", "least_at")}
        of_predicted, of_true = (np.zeros((num_videos, num_frames), np.float32) for _ in range(2))
        chunks = []
        for piece in of.pieces():
            rows = slice(piece.start, piece.start + len(piece.arrays["esv"]))
            predicted, own = _rows_of(piece.arrays, of.label[rows])
            of_predicted[rows], of_true[rows] = own
            for name, column in predicted.items():
                table[name][rows] = column
            chunks.append([piece.start, self._chunk(of, piece, rows)])
        if not of.sampled:
            del table["std_error"]
        wrong = (of.label >= 0) & (table["predicted"] != of.label)
        everything = {"predicted": encoding.coded(of_predicted), "true": encoding.coded(of_true[wrong])}
        of_all = f"{_VALUES}/{num_frames}-all-{files.short_digest([_VERSION, of_predicted, of_true[wrong]])}.js"
        self._put_script(of_all, lambda: everything)
        whole = {name: array for name, array in table.items() if array.dtype == np.int32}
        return {
            "num_frames": num_frames,
            "count": num_videos,
            "sampled": of.sampled,
            "prior": [float(p) for p in of.prior],
            "who": encoding.packed(numbers.astype(np.int32)),
            "label": encoding.packed(of.label.astype(np.int32)),
            "length": encoding.packed(of.num_frames_in_video.astype(np.int32)),
            **{name: encoding.packed(array) for name, array in whole.items()},
            **{name: encoding.coded(array) for name, array in table.items() if name not in whole},
            "strip": encoding.packed(_strips(of_predicted)),
            "chunks": chunks,
            "of_all": of_all,
            "about": {name: value for name, value in of.about.items() if name != "left_out"},
            "left_out": _json_of(of.about.get("left_out")),
        }

    def _chunk(self, of: _Set, piece: _Piece, rows: slice) -> str:
        """Writes what is kept of some videos, and gives the name of the file."""
        told = self._videos(of, rows)
        arrays = _kept(piece.arrays)
        num_frames = of.frame_index.shape[1]
        digest = files.short_digest([_VERSION, json.dumps(told), *arrays, *arrays.values()])
        name = f"{_VALUES}/{num_frames}-{piece.start:06d}-{digest}.js"
        self._put_script(
            name, lambda: {"videos": told, "arrays": {key: encoding.coded(array) for key, array in arrays.items()}}
        )
        self._done += len(told)
        if self._tell is not None:
            self._tell(self._done, self._total)
        return name

    def _videos(self, of: _Set, rows: slice) -> list[dict[str, Any]]:
        places = range(*rows.indices(len(of.uid)))
        asked = [media.Shown(of.uid[v], of.frame_index[v], int(of.num_frames_in_video[v])) for v in places]
        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(self._video, asked))

    def _video(self, asked: media.Shown) -> dict[str, Any]:
        told: dict[str, Any] = {"frames": asked.frames.tolist()}
        if self._show is None:
            return told
        try:
            found = self._show(asked, self._out, self._page)
        except InputError as error:
            self.problems[asked.uid] = str(error)
            return {**told, "problem": str(error)}
        self._used.update(media.files_of(found))
        return {**told, **found}

    def _put_script(self, name: str, content: Callable[[], Any]) -> None:
        self.put(name, lambda: f"{_arrived(name)}{encoding.inline(content())});\n")

    def put(self, name: str, text: Callable[[], str]) -> None:
        """Writes a file of the page, unless it is there."""
        self._used.add(name)
        if not (self._out / name).exists():
            files.write_text(self._out / name, text())
            self.num_written += 1

    def put_index(self, text: str) -> None:
        index = self._out / "index.html"
        if not index.exists() or index.read_text(encoding="utf-8") != text:
            files.write_text(index, text)
            self.num_written += 1

    def remove_others(self) -> None:
        """Removes files of an earlier page that this one does not name."""
        for folder, ours in _OURS.items():
            files.remove_leftovers(self._out / folder)
            for file in (self._out / folder).iterdir():
                name = file.relative_to(self._out).as_posix()
                if name not in self._used and re.fullmatch(ours, file.name):
                    file.unlink()


def _rows_of(arrays: Mapping[str, np.ndarray], label: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What the table says of n videos, by column; and their values [2, n, T] for the predicted and the true class."""
    score, esv, every = arrays["score"], arrays["esv"], np.arange(len(arrays["esv"]))
    predicted = np.where(np.isfinite(score), score, -np.inf).argmax(axis=1)
    of_predicted = esv[every, :, predicted]
    finite = np.nan_to_num(of_predicted, nan=0.0)
    most, least = finite.argmax(axis=1), finite.argmin(axis=1)
    columns = {
        "predicted": predicted,
        "score": score[every, predicted],
        "most": of_predicted[every, most],
        "most_at": most,
        "least": of_predicted[every, least],
        "least_at": least,
    }
    if "std_error" in arrays:
        columns["std_error"] = arrays["std_error"][every, :, predicted].max(axis=1)
    return columns, np.stack([of_predicted, esv[every, :, np.where(label < 0, predicted, label)]])


def _kept(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a chunk: standard errors only where there are no intervals; and sums over frames, whose rounding
    would else add up."""
    esv = np.asarray(arrays["esv"], np.float64)
    kept = {name: array for name, array in arrays.items() if name != "std_error" or INTERVAL[0] not in arrays}
    kept["supporting"] = np.maximum(esv, 0).sum(axis=1)
    if "std_error" in arrays:
        kept["distracting"] = np.minimum(esv, 0).sum(axis=1)
    return kept


def _strips(values: np.ndarray) -> np.ndarray:
    """Values [V, T] for a picture of a few pixels: int8, each video's largest is 127, and none but 0 is 0."""
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    largest = np.abs(finite).max(axis=1, keepdims=True)
    scaled = 127 * finite / np.where(largest > 0, largest, 1)
    return (np.sign(scaled) * np.ceil(np.abs(scaled) - 1e-3)).astype(np.int8)


def _words(values: list[str]) -> dict[str, Any]:
    """A column of texts, each different one written once."""
    words = sorted(set(values))
    place = {word: i for i, word in enumerate(words)}
    return {
        "words": encoding.packed_json(words),
        "at": encoding.packed(np.array([place[value] for value in values], np.int32)),
    }


def _json_of(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else {}


# The page itself


def _arrived(name: str) -> str:
    return f"esvArrived({json.dumps(name)},"


def _script() -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)


def _in_folder(index: Mapping[str, Any], title: str, maker: _Maker) -> str:
    script, style = _script(), (_HERE / "page.css").read_text(encoding="utf-8")
    kept = [f"page-{files.short_digest([text])}.{ending}" for text, ending in ((script, "js"), (style, "css"))]
    for name, text in zip(kept, (script, style), strict=True):
        maker.put(name, lambda text=text: text)  # type: ignore[misc]
    return _filled(
        title,
        sources=_SOURCES.format(script="'self' file:", style="'self' file:"),
        style=f'<link rel="stylesheet" href="{kept[1]}">',
        data=_data("index", encoding.inline(index)),
        script=f'<script src="{kept[0]}"></script>',
    )


def _in_one_file(index: Mapping[str, Any], title: str, folder: Path) -> str:
    script, style = _script(), (_HERE / "page.css").read_text(encoding="utf-8")
    data = [_data("index", encoding.inline(index))]
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"):
        name = file.relative_to(folder).as_posix()
        if file.suffix == ".js":
            start = _arrived(name)
            data.append(_data(name, file.read_text(encoding="utf-8")[len(start) : -len(");\n")]))
        else:
            content = base64.b64encode(file.read_bytes()).decode("ascii")
            kind = "image/webp" if file.suffix == ".webp" else f"video/{file.suffix[1:]}"
            data.append(_data(name, json.dumps(f"data:{kind};base64,{content}")))
    return _filled(
        title,
        sources=_SOURCES.format(script=_hash(script), style=_hash(style)),
        style=f"<style>{style}</style>",
        data="\n".join(data),
        script=f"<script>{script}</script>",
    )


def _data(name: str, content: str) -> str:
    return f'<script type="application/json" id="{html.escape(name)}">{content}</script>'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _filled(title: str, **parts: str) -> str:
    page = (_HERE / "page.html").read_text(encoding="utf-8")
    parts["title"] = html.escape(title)
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)

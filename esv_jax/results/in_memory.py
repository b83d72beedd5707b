"""From attributions in memory to a results store, for values that `compute_esvs` did not compute."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from esv_jax import fingerprints
from esv_jax.base import Attribution
from esv_jax.checks import InputError, check_finite, check_shape, repeated
from esv_jax.results import store_writer
from esv_jax.results.store_files import read_group
from esv_jax.results.video_index import VideoIndex

_FLOATS_A_BATCH = 2**22
_UNKNOWN = -1  # label
_DIGEST = "written_digest"


def write(
    path: str | os.PathLike,
    attributions: Attribution | Sequence[Attribution],
    *,
    uids: Sequence[str],
    class_names: Sequence[str],
    labels: Any = None,
    frame_index: Any = None,
    num_frames_in_video: Any = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Writes attributions of videos into a results store, which `results.open` and all commands read.

        write("out/esvs.zarr", [explain(estimator, game, model, video, key=key) for video in videos],
              uids=uids, class_names=names, labels=labels)

    Called again with attributions of another number of frames, it adds these; with the very same ones, it goes on where
    it was stopped. What a store holds is never replaced.

    Args:
      path: the folder, which usually ends in .zarr.
      attributions: of V videos of T players each: of `explain_batch` (values [V, T, C]), or one of each video, as of
        `explain`. All have the same v(nobody).
      uids: V names, all different.
      class_names: C names, all different.
      labels: int [V], the true classes; None: not known.
      frame_index: int [V, T], which frames of the videos they are about, 0 and more; by default 0..T-1.
      num_frames_in_video: int [V], more than the last of them; by default that and one.
      about: json-able, kept beside the values: the model, its digest, how they were made. Of all that is added the
        same.

    Raises:
      InputError: shapes that do not fit, values or scores that are not finite, standard errors that are NaN, other
        values in the store at `path`, or as `store_writer.writing`.
    """
    values, std_error, low, high, full, empty = _arrays(attributions)
    num_videos, num_frames, num_classes = values.shape
    names = tuple(map(str, uids))
    if len(names) != num_videos:
        raise InputError(f"uids should be of {num_videos} videos, as attributions are, found {len(names)}")
    for what, of_all in (("uids", names), ("class_names", class_names)):
        if twice := repeated(of_all):
            raise InputError(f"{what} should be different, found {twice[0]!r:.80} more than once")
    if len(class_names) != num_classes:
        raise InputError(f"class_names should be {num_classes}, as attributions have, found {len(class_names)}")
    if not (empty == empty[:1]).all():
        raise InputError("attributions should have the same v(nobody) (`empty`), found several: a store keeps one")
    label = np.full(num_videos, _UNKNOWN) if labels is None else np.asarray(labels)
    check_shape("labels", label, (num_videos,))
    if not np.issubdtype(label.dtype, np.integer) or (label >= num_classes).any() or (label < _UNKNOWN).any():
        raise InputError(f"labels should be class numbers, 0..{num_classes - 1}, found {label.dtype} {label[:3]}")
    frames = np.tile(np.arange(num_frames), (num_videos, 1)) if frame_index is None else np.asarray(frame_index)
    check_shape("frame_index", frames, (num_videos, num_frames))
    lengths = frames.max(axis=1) + 1 if num_frames_in_video is None else np.asarray(num_frames_in_video)
    check_shape("num_frames_in_video", lengths, (num_videos,))
    for name, array in (("frame_index", frames), ("num_frames_in_video", lengths)):
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
            raise InputError(f"{name} should be integers, 0 and more, found {array.dtype} {array.ravel()[:3]}")
    if (short := np.flatnonzero(frames.max(axis=1) >= lengths)).size:
        raise InputError(
            f"frame_index should be below num_frames_in_video, found {frames[short[0]].max()} of {lengths[short[0]]}"
        )
    index = VideoIndex(names, label.astype(np.int64), lengths.astype(np.int64), frames.astype(np.int64), {})
    configuration = {"written_by": "esv_jax.results.write", **(about or {})}
    try:
        json.dumps(configuration, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"about should be such as json holds: {error}") from error
    sampled = bool((std_error != 0).any() or (low != values).any())
    arrays = {"esv": values, "score": full, "std_error": std_error, "low": low, "high": high}
    digest = fingerprints.of_arrays([json.dumps([names, list(class_names)]), *index[1:4], empty[0], *arrays.values()])
    with store_writer.writing(path, configuration) as folder:
        chunks = store_writer.open_group(
            folder,
            index,
            prior=empty[0],
            class_names=tuple(class_names),
            batch_size=min(num_videos, max(1, _FLOATS_A_BATCH // (num_frames * num_classes))),
            sampled=sampled,
            provenance={"command": "esv_jax.results.write", **configuration, _DIGEST: digest},
        )
        if read_group(folder, num_frames).attributes.get(_DIGEST) != digest:
            raise InputError(f"{path} holds other values of {num_frames} frames: use another folder, or remove it")
        for k in chunks.unfinished():
            rows = slice(k * chunks.batch_size, (k + 1) * chunks.batch_size)
            store_writer.write_chunk(chunks, k, {name: arrays[name][rows] for name in chunks.shapes})


def _arrays(attributions: Attribution | Sequence[Attribution]) -> tuple[np.ndarray, ...]:
    """Values, standard errors and ends of intervals [V, T, C], and scores of everyone and of nobody [V, C], float32."""
    of_each = [attributions] if isinstance(attributions, Attribution) else list(attributions)
    if not of_each:
        raise InputError("attributions should be of at least one video, found none")
    parts: list[tuple[Any, ...]] = [(a.values, a.std_error, *a.interval(), a.full, a.empty) for a in of_each]
    if not isinstance(attributions, Attribution):
        parts = [tuple(np.asarray(array)[None] for array in part) for part in parts]
    shapes = {np.shape(part[0])[1:] for part in parts}
    if len(shapes) > 1:
        raise InputError(f"attributions should be of one number of frames and classes a call, found {sorted(shapes)}")
    found = tuple(np.concatenate([np.asarray(part[i]) for part in parts]).astype(np.float32) for i in range(6))
    check_shape("the values of attributions", found[0], ("V", "T", "C"))
    check_shape("the standard errors of attributions", found[1], found[0].shape)
    for name, i in (("values", 0), ("full", 4), ("empty", 5)):
        check_finite(f"{name} of attributions", found[i])
    # Unknown ones are infinite, and so are their intervals.
    if any(np.isnan(array).any() for array in found[1:4]):
        raise InputError("standard errors of attributions should be numbers, found NaN")
    return found

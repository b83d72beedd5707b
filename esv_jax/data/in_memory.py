"""From arrays in memory to a feature store, for features that no command of ours made."""

import operator
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from esv_jax.checks import InputError, check_finite, check_floating, check_shape
from esv_jax.data import feature_store
from esv_jax.data.feature_store import StoreHeader


def write_features(
    path: str | os.PathLike,
    features: Sequence[Any],
    labels: Sequence[str],
    *,
    class_names: Sequence[str],
    uids: Sequence[str] | None = None,
    splits: Sequence[str] | str = "test",
    paths: Sequence[str] | None = None,
) -> None:
    """Writes features of clips into a feature store, which all commands read; called again, it adds the clips.

        write_features("out/features", features, labels, class_names=names, splits=splits)

    Args:
      path: the folder; made if it is not there, else a store of the same classes and dimension.
      features: of N clips, floating [T_i, D] each: as many frames as the clip has. float16 arrays are kept as float16,
        all others as float32.
      labels: of every clip, the name of its class, or its number.
      class_names: of the C classes, in the order of a model's scores.
      uids: of every clip, a name that no other has; by default "0", "1", ... behind those that are there.
      splits: of every clip, or one for all: "train", "validation" or "test".
      paths: of every clip, where its video is, relative to a folder of your choice; by default nowhere.

    Raises:
      InputError: the numbers of clips differ, a label is none of the classes, or as `FeatureWriter.append`.
    """
    arrays = [np.asarray(clip) for clip in features]
    if not arrays:
        raise InputError("features should be of at least one clip, found none")
    check_shape("the features of the first clip", arrays[0], ("T", "D"))
    names = tuple(class_names)
    dtype = "float16" if all(array.dtype == np.float16 for array in arrays) else "float32"
    of_clips = [splits] * len(arrays) if isinstance(splits, str) else list(splits)
    columns = {"labels": list(labels), "splits": of_clips}
    columns["paths"] = [""] * len(arrays) if paths is None else list(paths)
    if uids is not None:
        columns["uids"] = list(uids)
    for name, column in columns.items():
        if len(column) != len(arrays):
            raise InputError(f"{name} should be of {len(arrays)} clips, as features are, found {len(column)}")
    for i, array in enumerate(arrays):  # before anything is written, or the first ones would be added twice
        check_shape(f"the features of clip {i}", array, ("T", arrays[0].shape[1]))
        check_floating(f"the features of clip {i}", array)
        check_finite(f"the features of clip {i}", array)
    named = [_name(label, names) for label in columns["labels"]]
    with feature_store.create_or_append(path, StoreHeader(arrays[0].shape[1], dtype, names)) as writer:
        first = len(writer.done)
        of_all = columns.get("uids") or [str(first + i) for i in range(len(arrays))]
        for uid, where, label, split, array in zip(of_all, columns["paths"], named, of_clips, arrays, strict=True):
            writer.append(str(uid), str(where), label, str(split), array)


def _name(label: Any, class_names: tuple[str, ...]) -> str:
    if isinstance(label, str) and label in class_names:
        return label
    try:
        number = -1 if isinstance(label, str | bool) else operator.index(label)
    except TypeError:
        number = -1
    if not 0 <= number < len(class_names):
        raise InputError(
            f"labels should be names of classes, or their numbers 0..{len(class_names) - 1}, found {label!r:.80}"
        )
    return class_names[number]

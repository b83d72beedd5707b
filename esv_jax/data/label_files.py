"""Labelled clips from whichever kind of annotation file: one's own csv, Something-Something v2, EPIC-KITCHENS."""

import os
from collections.abc import Collection
from pathlib import Path

from esv_jax.checks import InputError
from esv_jax.data.annotations import LabelledClip, read_class_names, read_labels_csv, read_ssv2_entries
from esv_jax.data.epic import epic_clips


def read_labelled_clips(
    path: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    classes: str | os.PathLike | None = None,
    head: str | None = None,
    split: str = "train",
    hold_out: tuple[str, Collection[str]] | None = None,
) -> tuple[list[LabelledClip], tuple[str, ...]]:
    """The clips of an annotation file, and the names of all classes in the order of the scores.

    Args:
      path: a csv path,label[,split]; a json of Something-Something; or, if `head` is given, a csv of EPIC-KITCHENS.
      folder: what the clips' paths are relative to.
      classes: file of class names (`read_class_names`); only one's own csv can do without: its labels in sorted order.
      head: "verb" or "noun" of EPIC-KITCHENS.
      split: of the clips of files that do not say.
      hold_out: as `read_labels_csv`, which is the only one to have it.

    Raises:
      InputError: as the readers; or the class names are needed and not given.
    """
    names = read_class_names(classes) if classes is not None else None
    if head is None and Path(path).suffix != ".json":
        clips = read_labels_csv(path, folder, hold_out=hold_out)
        if names is None:
            return clips, tuple(sorted({clip.label for clip in clips}))
        unknown = next((clip for clip in clips if clip.label not in names), None)
        if unknown:
            raise InputError(f"the label {unknown.label!r} of {unknown.uid} in {path} is not one of those in {classes}")
        return clips, names
    if hold_out is not None:
        raise InputError(f"clips are held out by the columns of a csv path,label, which {path} is not")
    if names is None:
        raise InputError(f"{path} numbers or abbreviates its classes: their names are needed too")
    if head is not None:
        return epic_clips(path, names, folder, head=head, split=split), names
    return read_ssv2_entries(path, names, folder, split=split), names

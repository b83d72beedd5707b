"""Which clip shows what: one's own csv, and the files of Something-Something v2 and of EPIC-KITCHENS.

Something-Something (Goyal et al., 2017) has a json for each split, whose clips are whole videos. EPIC-KITCHENS
(`epic.py`) has csvs of actions in long videos, each with a verb and a noun. Models of it have two heads; here each is a
model of its own on the same features, with its own classes and priors.
"""

import os
from collections.abc import Collection
from pathlib import Path

from esv_jax import files
from esv_jax.checks import InputError
from esv_jax.data.epic import EPIC_HEADS as EPIC_HEADS
from esv_jax.data.epic import read_epic_clips
from esv_jax.data.labelled_clip import LabelledClip

DEFAULT_SPLIT = "train"
HELD_OUT_SPLIT = "test"


def read_labelled_clips(
    path: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    classes: str | os.PathLike | None = None,
    head: str | None = None,
    split: str = DEFAULT_SPLIT,
    hold_out: tuple[str, Collection[str]] | None = None,
) -> tuple[list[LabelledClip], tuple[str, ...]]:
    """The clips of an annotation file, and the names of all classes in the order of the scores.

    Args:
      path: a csv path,label[,split]; a json of Something-Something; or, if `head` is given, a csv of EPIC-KITCHENS.
      folder: what the videos' paths are relative to.
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
        strange = next((clip for clip in clips if clip.label not in names), None)
        if strange:
            raise InputError(f"the label {strange.label!r} of {strange.uid} in {path} is not one of those in {classes}")
        return clips, names
    if hold_out is not None:
        raise InputError(f"clips are held out by the columns of a csv path,label, which {path} is not")
    if names is None:
        raise InputError(f"{path} numbers or abbreviates its classes: their names are needed too")
    if head is not None:
        return read_epic_clips(path, names, folder, head=head, split=split), names
    return read_ssv2_entries(path, names, folder, split=split), names


def read_class_names(path: str | os.PathLike) -> tuple[str, ...]:
    """Class names in the order of the scores.

    Of Something-Something's labels json, {name: "number"}, or of a csv with the columns name,id or, as EPIC-KITCHENS'
    have, id,key.

    Raises:
      InputError: no such file, not such a json or csv, a repeated name, or numbers that are not 0..C-1.
    """
    if Path(path).suffix == ".json":
        content = files.read_json(path)
        if not isinstance(content, dict) or not content:
            raise InputError(f'{path} should be a json object {{class name: "number", ...}}')
        numbered = list(content.items())
    else:
        columns, rows = files.read_csv(path, "the class names")
        name = "name" if "name" in columns else "key"
        if not {name, "id"} <= set(columns):
            raise InputError(f"{path} should have the columns name,id or id,key, found {','.join(columns)}")
        numbered = [(row[name], row["id"]) for _, row in rows]
    try:
        by_number = {int(number): name for name, number in numbered}
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} has a class whose number is not one: {error}") from error
    if not numbered or sorted(by_number) != list(range(len(numbered))):
        raise InputError(f"{path} should number its {len(numbered)} classes 0..{len(numbered) - 1}")
    names = tuple(by_number[i] for i in range(len(numbered)))
    if len(set(names)) != len(names):
        raise InputError(f"{path} names a class twice")
    return names


def read_labels_csv(
    path: str | os.PathLike,
    folder: str | os.PathLike | None = None,
    *,
    hold_out: tuple[str, Collection[str]] | None = None,
) -> list[LabelledClip]:
    """Reads a csv with a header line and the columns path,label[,split]; other columns are only for `hold_out`.

    Args:
      path: the csv file, utf-8.
      folder: what the videos' paths are relative to; the csv's own folder if None.
      hold_out: a column and some of its values: clips with one of them go to the split "test", whatever their own.

    Returns:
      The clips in the order of the file; those without a split are of the split "train".

    Raises:
      InputError: no such file, not a csv, no clips, a missing column, an empty or a repeated path, an empty label, a
        held-out value that no clip has. Names the line.
    """
    base = Path(path).parent if folder is None else Path(folder)
    columns, rows = files.read_csv(path, "the labels")
    held_column, held_values = hold_out or ("path", ())
    files.check_columns(path, columns, ("path", "label", held_column))
    clips: dict[str, LabelledClip] = {}
    for line, row in rows:
        if None in row or None in row.values():
            raise InputError(f"line {line} of {path} should have {len(columns)} values, as its first line has")
        uid, label = row["path"].strip(), row["label"].strip()
        if not uid or not label:
            raise InputError(f"line {line} of {path} has an empty {'label' if uid else 'path'}")
        if uid in clips:
            raise InputError(f"line {line} of {path} repeats the clip {uid}")
        held = row[held_column].strip() in held_values
        split = HELD_OUT_SPLIT if held else row.get("split", "").strip() or DEFAULT_SPLIT
        clips[uid] = LabelledClip(uid, base / uid, label, split)
    if not clips:
        raise InputError(f"{path} holds no clips")
    missing = set(held_values) - {row[held_column].strip() for _, row in rows}
    if missing:
        raise InputError(f"no clip of {path} has the {held_column} {', '.join(sorted(missing))} that is to be held out")
    return list(clips.values())


def read_ssv2_entries(
    path: str | os.PathLike, classes: Collection[str], folder: str | os.PathLike, *, split: str
) -> list[LabelledClip]:
    """The clips of Something-Something's train or validation json: [{"id": ..., "template": ...}, ...].

    Args:
      path: the json file.
      classes: the class names; a template without its brackets is one of them.
      folder: where the videos are, as ID.webm.
      split: of all these clips.

    Raises:
      InputError: no such file, not such a json, a repeated id, or a template that is not one of `classes`.
    """
    content = files.read_json(path)
    if not isinstance(content, list) or not content:
        raise InputError(f'{path} should be a json list of {{"id": ..., "template": ...}}')
    names, clips = set(classes), {}
    for i, entry in enumerate(content):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            raise InputError(f'entry {i} of {path} should be an object with an "id", found {entry!r}')
        uid, template = entry["id"], entry.get("template")
        if not isinstance(template, str):
            raise InputError(
                f'entry {i} of {path} (id {uid}) has no "template": clips without labels are of no use here'
            )
        label = template.replace("[", "").replace("]", "")
        if label not in names:
            raise InputError(f"entry {i} of {path} (id {uid}) is of the unknown class {label!r}")
        if uid in clips:
            raise InputError(f"entry {i} of {path} repeats the id {uid}")
        clips[uid] = LabelledClip(uid, Path(folder) / f"{uid}.webm", label, split)
    return list(clips.values())

"""Which clip shows what: a csv of labels, and the json files of Something-Something v2 (Goyal et al., 2017)."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from esv_jax import files
from esv_jax.checks import InputError

DEFAULT_SPLIT = "train"
HELD_OUT_SPLIT = "test"


class LabelledClip(NamedTuple):
    """A clip and its class.

    Attributes:
      uid: what the clip is called, unique in its file: the path as written in a csv, the id in a json.
      path: where the video is.
      label: the name of its class.
      split: "train", "validation", "test" or what the file says.
      start, stop: the frames start .. stop - 1 of the video; all from `start` on if `stop` is None.
    """

    uid: str
    path: Path
    label: str
    split: str
    start: int = 0
    stop: int | None = None


def read_labels_csv(
    path: str | os.PathLike,
    folder: str | os.PathLike | None = None,
    *,
    hold_out: tuple[str, Collection[str]] | None = None,
) -> list[LabelledClip]:
    """Reads a csv with a header line and the columns path,label[,split]; other columns are only for `hold_out`.

    Args:
      path: the csv file, utf-8.
      folder: what the clips' paths are relative to; the csv's own folder if None.
      hold_out: a column and some of its values: clips with one of them go to the split "test", whatever their own.

    Returns:
      The clips in the order of the file; those without a split are of the split "train".

    Raises:
      InputError: no such file, not a csv, no clips, a missing column, an empty or a repeated path, an empty label, a
        held-out value that no clip has. Names the line.
    """
    base = Path(path).parent if folder is None else Path(folder)
    columns, rows = files.read_csv(path, "the labels")
    for column in ("path", "label", *(hold_out[:1] if hold_out else ())):
        if column not in columns:
            raise InputError(f"{path} should have a column '{column}', found the columns {columns}")
    held_column, held_values = hold_out or ("path", ())
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
    unknown = set(held_values) - {row[held_column].strip() for _, row in rows}
    if unknown:
        raise InputError(f"no clip of {path} has the {held_column} {', '.join(sorted(unknown))} that is to be held out")
    return list(clips.values())


def read_class_names(path: str | os.PathLike) -> tuple[str, ...]:
    """Class names in the order of the scores.

    Of Something-Something's labels json, {name: "number"}, or of a csv with the columns name,id or, as EPIC-KITCHENS'
    have, id,key.

    Raises:
      InputError: no such file, not such a json or csv, or numbers that are not 0..C-1.
    """
    if Path(path).suffix == ".json":
        return read_ssv2_classes(path)
    columns, rows = files.read_csv(path, "the class names")
    name = "name" if "name" in columns else "key"
    if not {name, "id"} <= set(columns):
        raise InputError(f"{path} should have the columns name,id or id,key, found {','.join(columns)}")
    names = _by_number([(row[name], row["id"]) for _, row in rows], path)
    if len(set(names)) != len(names):
        raise InputError(f"{path} names a class twice")
    return names


def read_ssv2_classes(path: str | os.PathLike) -> tuple[str, ...]:
    """The class names of Something-Something's labels json, {name: "number"}, in the order of their numbers.

    Raises:
      InputError: no such file, not such a json, or numbers that are not 0..C-1.
    """
    content = files.read_json(path)
    if not isinstance(content, dict) or not content:
        raise InputError(f'{path} should be a json object {{class name: "number", ...}}')
    return _by_number(list(content.items()), path)


def read_ssv2_entries(
    path: str | os.PathLike, classes: Collection[str], folder: str | os.PathLike, *, split: str, suffix: str = ".webm"
) -> list[LabelledClip]:
    """The clips of Something-Something's train or validation json: [{"id": ..., "template": ...}, ...].

    Args:
      path: the json file.
      classes: the class names; a template without its brackets is one of them.
      folder: where the videos are, as `id` + `suffix`.
      split: of all these clips.
      suffix: of the video files.

    Raises:
      InputError: no such file, not such a json, a repeated id, or a template that is not one of `classes`.
    """
    content = files.read_json(path)
    if not isinstance(content, list) or not content:
        raise InputError(f'{path} should be a json list of {{"id": ..., "template": ...}}')
    known, clips = set(classes), {}
    for i, entry in enumerate(content):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            raise InputError(f'entry {i} of {path} should be an object with an "id", found {entry!r}')
        uid, template = entry["id"], entry.get("template")
        if not isinstance(template, str):
            raise InputError(
                f'entry {i} of {path} (id {uid}) has no "template": clips without labels are of no use here'
            )
        label = template.replace("[", "").replace("]", "")
        if label not in known:
            raise InputError(f"entry {i} of {path} (id {uid}) is of the unknown class {label!r}")
        if uid in clips:
            raise InputError(f"entry {i} of {path} repeats the id {uid}")
        clips[uid] = LabelledClip(uid, Path(folder) / (uid + suffix), label, split)
    return list(clips.values())


def _by_number(numbered: Sequence[tuple[str, Any]], path: str | os.PathLike) -> tuple[str, ...]:
    """The names of the pairs (name, number), in the order of their numbers 0..C-1."""
    try:
        by_number = {int(number): name for name, number in numbered}
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} has a class whose number is not one: {error}") from error
    if not numbered or sorted(by_number) != list(range(len(numbered))):
        raise InputError(f"{path} should number its {len(numbered)} classes 0..{len(numbered) - 1}")
    return tuple(by_number[i] for i in range(len(numbered)))

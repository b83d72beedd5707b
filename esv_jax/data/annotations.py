"""Which clip shows what: one's own csv, and the files of Something-Something v2 and of EPIC-KITCHENS.

Something-Something (Goyal et al., 2017) has a json for each split, whose clips are whole videos. EPIC-KITCHENS
(`epic.py`) has csvs of actions in long videos, each with a verb and a noun. Models of it have two heads; here each is a
model of its own on the same features, with its own classes and priors.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from esv_jax import files
from esv_jax.checks import InputError, listed, repeated, shown
from esv_jax.data.epic import EPIC_HEADS as EPIC_HEADS
from esv_jax.data.epic import read_epic_clips
from esv_jax.data.labelled_clip import LabelledClip

DEFAULT_SPLIT = "train"
HELD_OUT_SPLIT = "test"
MOST_CLASSES = 100_000


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
      classes: file of class names (`read_class_names`). Labels of one's own csv are such names, or all of them are
        class ids and no names. Only such a csv can do without the file: labels that all are numbers in plain digits are
        class ids, the classes are "0" .. "C-1" up to the largest, and one that does not occur has its place; where none
        is a number, the labels in sorted order are the classes. Anything else needs the file.
      head: "verb" or "noun" of EPIC-KITCHENS.
      split: of the clips of files that do not say.
      hold_out: as `read_labels_csv`, which is the only one to have it.

    Raises:
      InputError: as the readers; the class names are needed and not given; or a label that is neither a name nor a
        class id, or that may be either.
    """
    names = read_class_names(classes) if classes is not None else None
    if head is None and not _is_json(path):
        clips = read_labels_csv(path, folder, hold_out=hold_out)
        if names is None or classes is None:
            return clips, _classes_of_labels({clip.label for clip in clips}, path)
        return _named(clips, names, path, classes), names
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
      InputError: no such file, not such a json or csv, an empty or a repeated name, numbers that are not 0..C-1, or too
        many of them.
    """
    if _is_json(path):
        content = files.read_json(path)
        if not isinstance(content, dict) or not content:
            raise InputError(f'{path} should be a json object {{class name: "number", ...}}')
        numbered = list(content.items())
    else:
        columns, rows = files.read_csv(path, "the class names")
        name = "name" if "name" in columns else "key"
        if not {name, "id"} <= set(columns):
            raise InputError(f"{path} should have the columns name,id or id,key, found {listed(columns, 8)}")
        numbered = [(row[name].strip(), row["id"].strip()) for _, row in rows]
    if not 0 < len(numbered) <= MOST_CLASSES:
        raise InputError(f"{path} should name 1 to {MOST_CLASSES} classes, found {len(numbered)}")
    by_number: dict[int, str] = {}
    for name, value in numbered:
        number = files.whole_number(value)
        if number is None:
            raise InputError(f"{path} should number the class {name!r:.80} in plain digits, found {value!r:.80}")
        if number >= len(numbered) or number in by_number:
            again = "a second time " if number in by_number else ""
            raise InputError(
                f"{path} should number its {len(numbered)} classes 0..{len(numbered) - 1}, found {number} {again}"
                f"for {name!r:.80}"
            )
        if not name or not files.is_one_line(name):
            raise InputError(f"{path} should name every class in one line of text, found {name!r:.80}")
        by_number[number] = name
    names = tuple(by_number[i] for i in range(len(numbered)))
    twice = repeated(names)
    if twice:
        raise InputError(f"{path} names a class twice: {listed(twice)}")
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
        uid, label = row["path"].strip(), row["label"].strip()
        if not uid or not label:
            raise InputError(f"line {line} of {path} has an empty {'label' if uid else 'path'}")
        if uid in clips:
            raise InputError(f"line {line} of {path} repeats the clip {shown(uid)}")
        held = row[held_column].strip() in held_values
        split = HELD_OUT_SPLIT if held else row.get("split", "").strip() or DEFAULT_SPLIT
        if not all(map(files.is_one_line, (uid, label, split))):
            raise InputError(f"the values before line {line} of {path} should be of one line each, found {uid!r:.80}")
        clips[uid] = LabelledClip(uid, base / uid, label, split)
    if not clips:
        raise InputError(f"{path} holds no clips")
    missing = set(held_values) - {row[held_column].strip() for _, row in rows}
    if missing:
        raise InputError(f"no clip of {path} has the {held_column} {listed(sorted(missing))} that is to be held out")
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
            raise InputError(f'entry {i} of {path} should be an object with an "id" in quotes, found {entry!r:.80}')
        uid, template = entry["id"], entry.get("template")
        if not uid or not files.is_one_line(uid):
            raise InputError(f'entry {i} of {path} should have an "id" that is a name of a file, found {uid!r:.80}')
        if not isinstance(template, str):
            raise InputError(
                f'entry {i} of {path} (id {shown(uid)}) has no "template": clips without labels are of no use here'
            )
        label = template.replace("[", "").replace("]", "")
        if label not in names:
            raise InputError(f"entry {i} of {path} (id {shown(uid)}) is of the unknown class {label!r:.80}")
        if uid in clips:
            raise InputError(f"entry {i} of {path} repeats the id {shown(uid)}")
        clips[uid] = LabelledClip(uid, Path(folder) / f"{uid}.webm", label, split)
    return list(clips.values())


def _classes_of_labels(found: set[str], path: str | os.PathLike) -> tuple[str, ...]:
    """The classes of a csv path,label that comes without their names, in the order of the scores."""
    ids = [files.whole_number(label) for label in found]
    if None not in ids:
        largest = max(number for number in ids if number is not None)
        if largest >= MOST_CLASSES:
            raise InputError(
                f"the labels in {path} are numbers up to {largest}, but a class id should be less than {MOST_CLASSES}: "
                "if they are names, give all classes in a csv name,id (--classes)"
            )
        return tuple(map(str, range(largest + 1)))
    numbers = sorted(filter(_is_a_number, found))
    if len(numbers) == len(found):
        strange = [label for label in numbers if files.whole_number(label) is None]
        raise InputError(
            f"the labels in {path} are numbers, but class ids are written 0, 1, 2, ...; found {listed(strange)}: write "
            "them so, or give all classes in a csv name,id (--classes)"
        )
    if numbers:
        words = sorted(found.difference(numbers))
        raise InputError(
            f"the labels in {path} should be class ids or names, found numbers ({listed(numbers)}) beside words "
            f"({listed(words)}): give all classes in a csv name,id (--classes)"
        )
    return tuple(sorted(found))


def _named(
    clips: Sequence[LabelledClip], names: Sequence[str], path: str | os.PathLike, classes: str | os.PathLike
) -> list[LabelledClip]:
    """The clips of a csv path,label with names of classes for labels, which are such names or all are class ids."""
    known = set(names)
    strange = next((clip for clip in clips if clip.label not in known), None)
    if strange is None:
        return list(clips)
    ids = [files.whole_number(clip.label) for clip in clips]
    if None in ids or any(clip.label in known for clip in clips):
        raise InputError(
            f"the label {strange.label!r:.80} of {shown(strange.uid)} in {path} is not one of those in {classes}"
        )
    outside = next((clip for clip, number in zip(clips, ids, strict=True) if (number or 0) >= len(names)), None)
    if outside is not None:
        raise InputError(
            f"the class id {outside.label} of {shown(outside.uid)} in {path} is not one of the {len(names)} classes in "
            f"{classes}, 0..{len(names) - 1}"
        )
    return [clip._replace(label=names[number or 0]) for clip, number in zip(clips, ids, strict=True)]


def _is_json(path: str | os.PathLike) -> bool:
    return Path(path).suffix.lower() == ".json"


def _is_a_number(label: str) -> bool:
    """Whether a label reads as a number, however it is written: "7", "007", "1.0", "0,5", "1e3", "-1", "nan"."""
    try:
        float(label.replace(",", "."))
    except ValueError:
        return False
    return True

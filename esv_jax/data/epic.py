"""The actions of EPIC-KITCHENS (Damen et al., 2018 and 2022), each a part of a long video with a verb and a noun.

The csvs number frames at 60 or 50 a second and give times besides. A video file may have another rate (most of 2018's
have 59.94, some 29.97, 47.95 or 90), by which these numbers fall seconds off: an action is cut out of a file by its
times. The frames that are distributed as pictures carry the csvs' numbers in their names: an action is cut out of a
folder by these.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from esv_jax import files
from esv_jax.checks import InputError
from esv_jax.data.labelled_clip import LabelledClip
from esv_jax.video.frames import NumberInName, Seconds

EPIC_HEADS = ("verb", "noun")
_SUFFIXES = ("", ".MP4", ".mp4", ".avi")
# Nothing shorter: a spreadsheet leaves 17:08.0 of 01:17:08.04.
_TIME = re.compile(r"([0-9]{2,3}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]{1,9})?)")


class EpicAction(NamedTuple):
    """A row of a csv such as EPIC_100_train.csv.

    Attributes:
      uid: the narration id.
      participant, video: the ids of who was filmed and of the video, such as P01 and P01_01.
      start, stop: the frames start .. stop - 1, counted from 0 by the csv's own clock: the csv counts from 1.
      verb, noun: numbers of the classes.
      start_s, stop_s: when the action begins and ends, seconds, rounded to hundredths; None where the csv does not say.
    """

    uid: str
    participant: str
    video: str
    start: int
    stop: int
    verb: int
    noun: int
    start_s: float | None
    stop_s: float | None


def read_epic_actions(path: str | os.PathLike) -> list[EpicAction]:
    """The actions of a csv of EPIC-KITCHENS in its order.

    Needs the columns narration_id (or uid), participant_id, video_id, start_frame and stop_frame (the first and the
    last frame, counted from 1), verb_class and noun_class, and has start_timestamp and stop_timestamp (HH:MM:SS.cc) in
    files of the authors; others are not looked at.

    Raises:
      InputError: no such file, not a csv, no actions, a missing column, a repeated or empty id, numbers that are none,
        or an end before its beginning; names the line.
    """
    columns, rows = files.read_csv(path, "the annotations")
    name = "narration_id" if "narration_id" in columns else "uid"
    texts, numbers = (name, "participant_id", "video_id"), ("start_frame", "stop_frame", "verb_class", "noun_class")
    files.check_columns(path, columns, texts + numbers)
    actions: dict[str, EpicAction] = {}
    for line, row in rows:
        uid, participant, video = (row[column].strip() for column in texts)
        for column in texts:
            if not row[column].strip() or not files.is_one_line(row[column]):
                raise InputError(f"line {line} of {path} should have a {column} of one line, found {row[column]!r:.80}")
        if uid in actions:
            raise InputError(f"line {line} of {path} repeats the action {uid:.80}")
        found = [files.whole_number(row[column].strip()) for column in numbers]
        first, last, verb, noun = found
        if first is None or last is None or verb is None or noun is None:
            column = numbers[found.index(None)]
            raise InputError(
                f"line {line} of {path} should have a whole number as its {column}, found {row[column]!r:.80}"
            )
        if not 1 <= first <= last:
            raise InputError(f"line {line} of {path} has impossible frames, counted from 1: {first} to {last}")
        start_s, stop_s = (_seconds(row.get(column, "")) for column in ("start_timestamp", "stop_timestamp"))
        if start_s is not None and stop_s is not None and stop_s < start_s:
            raise InputError(
                f"line {line} of {path} has impossible times: it begins at {start_s} s, ends at {stop_s} s"
            )
        actions[uid] = EpicAction(uid, participant, video, first - 1, last, verb, noun, start_s, stop_s)
    if not actions:
        raise InputError(f"{path} holds no actions")
    return list(actions.values())


def read_epic_clips(
    path: str | os.PathLike, classes: tuple[str, ...], folder: str | os.PathLike, *, head: str, split: str
) -> list[LabelledClip]:
    """The actions of a csv (`read_epic_actions`), labelled for one head; a clip's uid is its narration id.

    A video is looked for as folder/VIDEO, folder/PARTICIPANT/VIDEO and folder/PARTICIPANT/*/VIDEO: a folder of frames
    (much faster, as the videos are long), whose part is given by the numbers in their names, or a file, whose part is
    given by its times.

    Args:
      path: the csv.
      classes: names of the head's classes.
      folder: where the videos are.
      head: "verb" or "noun".
      split: of all these clips.

    Raises:
      InputError: as `read_epic_actions`; a class number that is not one of `classes`; a video is a file, and the csv
        has no times.
    """
    clips: list[LabelledClip] = []
    videos: dict[tuple[str, str], Path] = {}
    for action in read_epic_actions(path):
        number = action.verb if head == "verb" else action.noun
        if number >= len(classes):
            raise InputError(
                f"the {head} class {number} of {action.uid:.80} in {path} is not one of the {len(classes)} classes"
            )
        place = action.participant, action.video
        if place not in videos:
            videos[place] = _find(Path(folder), *place)
        start, stop = _part(action, videos[place], path)
        clips.append(LabelledClip(action.uid, videos[place], classes[number], split, start, stop))
    return clips


def _part(
    action: EpicAction, video: Path, path: str | os.PathLike
) -> tuple[NumberInName, NumberInName] | tuple[Seconds, Seconds]:
    """Where the action begins and ends in the video: in a file by its times, if it has any."""
    if action.start_s is not None and action.stop_s is not None and not os.path.isdir(video):
        return Seconds(action.start_s), Seconds(action.stop_s)
    if os.path.isfile(video):
        raise InputError(
            f"{path} has no start_timestamp and stop_timestamp (HH:MM:SS.cc) for {action.uid}, by which it could be "
            f"cut out of the file {video.name}, whose frames are not those that the csv counts: add them, or give a "
            "folder of frames"
        )
    return NumberInName(action.start + 1), NumberInName(action.stop + 1)


def _seconds(time: str) -> float | None:
    found = _TIME.fullmatch(time.strip())
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def _find(folder: Path, participant: str, video: str) -> Path:
    """Where the video is; where it should be if it is not there."""
    below = folder / participant
    around = [folder, below]
    if os.path.isdir(below):
        with files.disk_errors(f"the folder {below} cannot be read"):
            around += sorted(place for place in below.iterdir() if place.is_dir())
    places = [place / f"{video}{suffix}" for place in around for suffix in _SUFFIXES]
    return next((place for place in places if os.path.exists(place)), folder / f"{video}.MP4")

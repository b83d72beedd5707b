"""Annotations of EPIC-KITCHENS (Damen et al., 2018 and 2022): actions in long videos, each with a verb and a noun.

Models of it have two heads. Here each is a model of its own on the same features, with its own classes and priors.
"""

import os
from pathlib import Path
from typing import NamedTuple

from esv_jax import files
from esv_jax.checks import InputError
from esv_jax.data.annotations import LabelledClip

HEADS = ("verb", "noun")
_SUFFIXES = ("", ".MP4", ".mp4", ".avi")


class EpicAction(NamedTuple):
    """A line of the csv.

    Attributes:
      uid: the action's narration id.
      participant, video: whose and which video.
      start, stop: the frames start .. stop - 1 of the video, counted from 0.
      verb, noun: class numbers.
    """

    uid: str
    participant: str
    video: str
    start: int
    stop: int
    verb: int
    noun: int


def read_epic_actions(path: str | os.PathLike) -> list[EpicAction]:
    """Reads a csv such as EPIC_100_train.csv.

    Needs the columns narration_id (or uid), participant_id, video_id, start_frame and stop_frame (the first and the
    last frame, counted from 1), verb_class and noun_class; others are not looked at.

    Raises:
      InputError: no such file, not a csv, no actions, a missing column, a repeated id, or numbers that are none; names
        the line.
    """
    columns, rows = files.read_csv(path, "the annotations")
    name = "narration_id" if "narration_id" in columns else "uid"
    needed = (name, "participant_id", "video_id", "start_frame", "stop_frame", "verb_class", "noun_class")
    for column in needed:
        if column not in columns:
            raise InputError(f"{path} should have the column {column}, found {columns}")
    actions: dict[str, EpicAction] = {}
    for line, row in rows:
        uid, participant, video, *numbers = (row[column] or "" for column in needed)
        try:
            first, last, verb, noun = map(int, numbers)
        except ValueError:
            raise InputError(f"line {line} of {path} should hold whole numbers, found {numbers}") from None
        if not 1 <= first <= last or verb < 0 or noun < 0:
            raise InputError(f"line {line} of {path} has impossible frames or classes: {numbers}")
        if not uid or uid in actions:
            raise InputError(f"line {line} of {path} repeats the action {uid}" if uid else f"line {line} has no {name}")
        actions[uid] = EpicAction(uid, participant, video, first - 1, last, verb, noun)
    if not actions:
        raise InputError(f"{path} holds no actions")
    return list(actions.values())


def epic_clips(
    path: str | os.PathLike, classes: tuple[str, ...], folder: str | os.PathLike, *, head: str, split: str
) -> list[LabelledClip]:
    """The actions of a csv as clips labelled for one head.

    A video is looked for as folder/VIDEO, folder/PARTICIPANT/VIDEO and folder/PARTICIPANT/*/VIDEO: a folder of images
    (much faster, as the videos are long) or a file.

    Args:
      path: the csv.
      classes: names of the head's classes.
      folder: where the videos are.
      head: "verb" or "noun".
      split: of all these clips.

    Raises:
      InputError: as `read_epic_actions`; or a class number that is not one of `classes`.
    """
    videos: dict[str, Path] = {}
    clips = []
    for action in read_epic_actions(path):
        number = action.verb if head == "verb" else action.noun
        if number >= len(classes):
            raise InputError(
                f"the {head} class {number} of {action.uid} in {path} is not one of the {len(classes)} classes"
            )
        if action.video not in videos:
            videos[action.video] = _find(Path(folder), action)
        clips.append(LabelledClip(action.uid, videos[action.video], classes[number], split, action.start, action.stop))
    return clips


def _find(folder: Path, action: EpicAction) -> Path:
    """Where the video is; where it should be if it is not there."""
    below = folder / action.participant
    around = [folder, below, *(sorted(p for p in below.iterdir() if p.is_dir()) if below.is_dir() else ())]
    places = [place / f"{action.video}{suffix}" for place in around for suffix in _SUFFIXES]
    return next((place for place in places if place.exists()), folder / f"{action.video}.MP4")

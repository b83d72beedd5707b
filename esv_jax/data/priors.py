"""Class priors: how often every class occurs in the training set, the worth of no frames.

Play Fair's own `class-priors.csv` leaves out the classes that never occur and is not sorted by class; both are read
for what they mean, by class id, whatever the order of the lines.
"""

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax import files
from esv_jax.checks import InputError, check_positive, listed
from esv_jax.data.annotations import MOST_CLASSES

_DECIMAL = re.compile(r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?|[0-9]+\.")
SUM_TOLERANCE = 1e-3  # priors written to six digits or so need not sum to 1 exactly


def priors_from_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Share of every class among the labels, float32 [C]; 0 for a class that never occurs.

    Args:
      labels: int [N], N >= 1, in 0..C-1.
      num_classes: C.

    Raises:
      InputError: no labels, or one outside the classes.
    """
    check_positive("num_classes", num_classes)
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels should be integers [N], N at least 1, found {labels.dtype} {list(labels.shape)}")
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise InputError(f"labels should be in 0..{num_classes - 1}, found {outside[0]}")
    return (np.bincount(labels, minlength=num_classes) / len(labels)).astype(np.float32)


def read_priors(path: str | os.PathLike, num_classes: int) -> np.ndarray:
    """Reads priors, or counts, which are divided by their sum.

    A csv has the columns class,prior or class,count (a class is its number), in any order; a json is a list of all C
    priors or an object {class number: prior}. A class that is not there never occurred: 0.

    Args:
      path: the file, *.csv or *.json.
      num_classes: C.

    Returns:
      float32 [C], every entry >= 0, summing to 1 within `SUM_TOLERANCE` as the file has them.

    Raises:
      InputError: no such file, not such a csv or json, too many classes, a class outside 0..C-1 or given twice, a list
        of another length, entries that are negative or no numbers, or priors whose sum is farther than 1e-3 from 1.
    """
    check_positive("num_classes", num_classes)
    if num_classes > MOST_CLASSES:
        raise InputError(f"num_classes should be at most {MOST_CLASSES}, found {num_classes}")
    path = Path(path)
    is_json = path.suffix.lower() == ".json"
    pairs, are_counts = (_json_pairs(path, num_classes), False) if is_json else _csv_pairs(path)
    priors = np.zeros(num_classes)
    seen: set[int] = set()
    for name, text in pairs:
        number = _class_number(name, num_classes, path)
        if number in seen:
            raise InputError(f"{path} gives the class {number} twice")
        seen.add(number)
        priors[number] = _value(text, number, path)
    with np.errstate(over="ignore"):
        total = float(priors.sum())
    if are_counts and 0 < total < math.inf:
        return (priors / total).astype(np.float32)
    if not abs(total - 1) <= SUM_TOLERANCE:
        kind = "counts" if are_counts else "priors"
        wanted = "have a finite sum above 0" if are_counts else f"sum to 1 within {SUM_TOLERANCE}"
        raise InputError(f"the {kind} in {path} should {wanted}, found a sum of {total:.6g}")
    return priors.astype(np.float32)


def write_priors(path: str | os.PathLike, priors: np.ndarray) -> None:
    """Writes a csv class,prior of all classes, those that never occur included, sorted by class.

    Raises:
      InputError: the file cannot be written.
    """
    lines = ((number, f"{prior}") for number, prior in enumerate(np.asarray(priors)))
    with files.disk_errors(f"the priors {path} cannot be written"):
        files.write_csv(path, [("class", "prior"), *lines])


def describe(priors: np.ndarray) -> str:
    """How many classes there are, and how many of them never occur (prior 0)."""
    absent = np.flatnonzero(np.asarray(priors) == 0)
    if len(absent) == 0:
        return f"{len(priors)} classes, all of which occur"
    named = ", ".join(map(str, absent[:8])) + (" ..." if len(absent) > 8 else "")
    return f"{len(priors)} classes, {len(absent)} of which never occur (prior 0): {named}"


def _csv_pairs(path: Path) -> tuple[list[tuple[Any, Any]], bool]:
    """Pairs (class, value), and whether the values are counts."""
    columns, rows = files.read_csv(path, "the priors")
    value = next((name for name in ("prior", "count") if name in columns), None)
    if "class" not in columns or value is None:
        raise InputError(f"{path} should have the columns class,prior or class,count, found {listed(columns, 8)}")
    if not rows:
        raise InputError(f"{path} holds no priors")
    return [(row["class"].strip(), row[value].strip()) for _, row in rows], value == "count"


def _json_pairs(path: Path, num_classes: int) -> list[tuple[Any, Any]]:
    content = files.read_json(path)
    if isinstance(content, dict):
        return list(content.items())
    if not isinstance(content, list):
        raise InputError(f"{path} should be a json list of priors or an object {{class number: prior}}")
    if len(content) != num_classes:
        raise InputError(f"{path} should list the priors of {num_classes} classes, found {len(content)}")
    return list(enumerate(content))


def _class_number(name: Any, num_classes: int, path: Path) -> int:
    number = files.whole_number(name)
    if number is None:
        raise InputError(f"a class in {path} should be its number in plain digits, found {name!r:.80}")
    if number >= num_classes:
        raise InputError(f"{path} has the class {number}, but the classes are 0..{num_classes - 1}")
    return number


def _value(text: Any, number: int, path: Path) -> float:
    """A number of at least 0: of a json, or in a csv's text as Python and spreadsheets write them ("0.5", "5e-05")."""
    is_number = isinstance(text, int | float) and not isinstance(text, bool)
    is_text = isinstance(text, str) and _DECIMAL.fullmatch(text)
    try:
        value = float(text) if is_number or is_text else math.nan
    except OverflowError:  # of a whole number
        value = math.inf
    if not 0 <= value < math.inf:
        raise InputError(
            f"the prior of the class {number} in {path} should be a number of at least 0, found {text!r:.80}"
        )
    return value

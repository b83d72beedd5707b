"""The check that a model folder keeps: whether its attributions can be believed, by `analyses.check_model`."""

import os
from pathlib import Path
from typing import Any

from esv_jax import files
from esv_jax.checks import InputError

CHECK_FILE = "check.json"
FORMAT_VERSION = 1
VERDICTS = ("good", "doubtful", "bad")


def keep_check(folder: str | os.PathLike, summary: dict[str, Any], digest: str) -> None:
    """Writes the summary of a check into a model folder.

    Args:
      folder: the model folder.
      summary: json, with "verdict" and "sentence".
      digest: of the model that was checked, of `model_folder.digest`.

    Raises:
      InputError: it cannot be written.
    """
    path = Path(folder) / CHECK_FILE
    with files.disk_errors(f"the check cannot be written to {path}"):
        files.write_json(path, {"format_version": FORMAT_VERSION, "model_digest": digest, **summary})


def read_check(folder: str | os.PathLike, digest: str) -> dict[str, Any] | None:
    """The summary of the check that a model folder keeps; None where there is none, or it is of other weights.

    Raises:
      InputError: the file is damaged, or of another format.
    """
    path = Path(folder) / CHECK_FILE
    if not path.exists():
        return None
    content = files.read_json(path, files.LARGEST_CARD)
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path} should be a check of format {FORMAT_VERSION}: check the model anew, or delete it")
    if content.get("verdict") not in VERDICTS or not isinstance(content.get("sentence"), str):
        raise InputError(f"{path} should have a verdict of {', '.join(VERDICTS)} and a sentence: check the model anew")
    return content if content.get("model_digest") == digest else None


def warning(folder: str | os.PathLike, digest: str) -> str | None:
    """What to tell whoever explains with the model of a folder: that it was never checked, that its check cannot be
    read, or that it was not good. None where it was."""
    try:
        found = read_check(folder, digest)
    except InputError as error:
        return str(error)
    if found is None:
        return f"{Path(folder).name} was never checked: check_model says whether its attributions can be believed"
    return None if found["verdict"] == "good" else f"{Path(folder).name}, by its check, is {found['sentence']}"

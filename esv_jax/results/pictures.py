"""How our pictures are drawn: alike for everyone, in letters of any script.

Nothing is taken from matplotlibrc or MPLBACKEND. Letters that matplotlib's own font lacks are taken from the fonts of
the system; where none has them, their place is shown as a box.
"""

import contextlib
import logging
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from esv_jax import files
from esv_jax.checks import InputError, require

FONT = "DejaVu Sans"  # comes with matplotlib
STYLE = {"font.family": "sans-serif", "font.sans-serif": [FONT], "text.usetex": False}
# Fonts of signs in formulas, of boxes and of nothing, which have letters that nobody can read.
_NO_LETTERS = ("STIX", "cm", "Last Resort", ".", "Adobe Blank")


@contextlib.contextmanager
def drawing(style: Mapping[str, Any]) -> Iterator[None]:
    """A block in which matplotlib draws by its own defaults, changed by `style`, and not by the user's settings.

    Raises:
      MissingExtraError: matplotlib is not installed.
      InputError: it cannot be loaded, for a setting that it does not know.
    """
    try:
        require("matplotlib", extra="plots")
        styles = require("matplotlib.style", extra="plots")
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"matplotlib cannot be loaded with MPLBACKEND and matplotlibrc as they are: {files.reason(error)}"
        ) from error
    with styles.context(["default", {**STYLE, **style}]):
        yield


def save(figure: Any, path: Path, *, dpi: int) -> None:
    """Writes a figure as a PNG of `dpi` dots an inch by way of `files.atomic`; within `drawing`."""
    find_letters(figure)
    with files.atomic(path) as partial, _boxes_are_fine():
        figure.savefig(partial, dpi=dpi, format="png", metadata={"Software": None})


def find_letters(figure: Any) -> None:
    """Gives every text of a figure, whose letters `FONT` does not have, the fonts of the system that have them."""
    text_type = require("matplotlib.text", extra="plots").Text
    with _boxes_are_fine():
        figure.draw_without_rendering()  # makes the texts of the axes
    texts = [text for text in figure.findobj(text_type) if not text.get_text().isascii()]
    letters = {letter for text in texts for letter in text.get_text()}
    others = _fonts_with(letters)
    for text in texts if others else ():
        text.set_fontfamily([FONT, *others])


def is_wide(letter: str) -> bool:
    """Whether a letter is at least as wide as it is high, as those of Chinese are."""
    return unicodedata.east_asian_width(letter) in "WF"


@contextlib.contextmanager
def _boxes_are_fine() -> Iterator[None]:
    """Keeps matplotlib from telling of letters without a font, and of fonts that are not bold."""
    logger = logging.getLogger("matplotlib.font_manager")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        logger.addFilter(_tells_of_more)
        try:
            yield
        finally:
            logger.removeFilter(_tells_of_more)


def _tells_of_more(record: logging.LogRecord) -> bool:
    return "font weight" not in str(record.msg)


def _fonts_with(letters: set[str]) -> list[str]:
    """Names of fonts of the system that have the letters that `FONT` lacks; as few as need be, by their names."""
    manager = require("matplotlib.font_manager", extra="plots")
    missing = {ord(letter) for letter in letters if not unicodedata.category(letter).startswith("C")}
    missing -= _letters_of(manager.findfont(FONT))
    found = []
    for entry in sorted(manager.fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)) if missing else ():
        if entry.name in found or entry.name.startswith(_NO_LETTERS):
            continue
        has = missing & _letters_of(entry.fname)
        if has:
            found.append(entry.name)
            missing -= has
    return found


def _letters_of(file: str) -> set[int]:
    """The letters of a font; none of one that is made of pictures, or cannot be read."""
    try:
        font = require("matplotlib.ft2font", extra="plots").FT2Font(file)
    except (OSError, RuntimeError):
        return set()
    return set(font.get_charmap()) if font.scalable else set()

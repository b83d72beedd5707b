"""Files and folders: written whole or not at all, their digests, JSON and csv, and one process at a time.

A file appears under its own name when it is complete. A run that is killed in the middle of it leaves what was there
before, and a hidden `.NAME.*.partial` beside it that nothing reads.
"""

import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esv_jax.checks import InputError, listed, repeated, require

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PARTIAL = ".partial"
_LOCK = ".lock"
# How files begin that have got another file's name, and what they are. Markup is compared in small letters.
_BEGINNINGS = {
    b"<!doctype html": "an HTML page, as a failed download leaves",
    b"<html": "an HTML page, as a failed download leaves",
    b"<head": "an HTML page, as a failed download leaves",
    b"<?xml": "an XML page, as a failed download leaves",
    b"version https://git-lfs": "a Git LFS pointer",
    b"\x1f\x8b": "a gzip file",
    b"pk\x03\x04": "a zip file",
    b"pk\x05\x06": "a zip file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"\x89hdf\r\n\x1a\n": "an HDF5 file",
}
_OF_DESKTOPS = {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory", ".localized", "icon\r"}
# Of Something-Something's json for training, the largest that we know of, there are 30 MB.
LARGEST_JSON = 512 << 20
LARGEST_CARD = 32 << 20
# In rows of a csv there is ten times as much.
LARGEST_TABLE = 64 << 20
MOST_ROWS = 1_000_000
# What separates the values of tables that are not ours.
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a name in the same folder to write a file or a folder under; what is there takes the place of `path` when
    the block ends, and is removed if it raises.

    Several processes may write one path at once: it holds what one of them wrote, whole. A folder replaces none that
    is not empty.
    """
    path = Path(path)
    partial = _partial_name(path)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise


def remove(path: Path) -> None:
    """Removes a file or folder, first from under its own name: killed, it leaves all of it, or `remove_leftovers` the
    rest."""
    gone = _partial_name(path)
    os.replace(path, gone)
    _remove(gone)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed runs left in a folder, not in those below it. Only its one writer may do that."""
    for left in folder.glob(f".*{_PARTIAL}*"):  # orbax writes beside the name that it is given
        _remove(left)


def write_bytes(path: str | os.PathLike, content: Any) -> None:
    """Writes bytes, or the buffer of an array, by way of `atomic`."""
    with atomic(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text in UTF-8, its line ends as they are, by way of `atomic`."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Writes json by way of `atomic`. Raises ValueError for NaN and infinities, which json does not know."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_csv(path: str | os.PathLike, rows: Iterable[Iterable[Any]]) -> None:
    """Writes the lines of a csv, the first of them the columns' names, by way of `atomic`."""
    with atomic(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def write_npz(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name by way of `atomic`."""
    save: Any = np.savez  # whose types know no arrays by name
    with atomic(path) as partial, partial.open("wb") as file:
        save(file, **arrays)


def read_json(path: str | os.PathLike, largest: int = LARGEST_JSON) -> Any:
    """What a json file holds, in UTF-8, with or without a byte-order mark.

    Args:
      path: the file.
      largest: bytes that it may have: what is read takes several times as much memory.

    Raises:
      InputError: it is not there, cannot be read, is too large, no json, or names a field of an object twice.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            size = os.fstat(file.fileno()).st_size
            if size > largest:
                raise InputError(f"{path} should have at most {largest:,} bytes, found {size:,}")
            return json.load(file, object_pairs_hook=_named_once)
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        found = looks_like(path)
        raise InputError(f"{path} cannot be read as json: {f'it is {found}' if found else reason(error)}") from error


def _named_once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        raise ValueError(f"it names {repeated(name for name, _ in fields)[0][:80]!r} twice")
    return found


def read_card(
    folder: Path, name: str, what: str, *, format_version: int, fields: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The json file that says what a folder of ours holds, without its format_version and what is `optional`.

    Args:
      folder: where it is.
      name: of the file.
      what: the folder is, in words.
      format_version: the newest that is understood.
      fields: that it has, no more and no less.
      optional: fields that it may have, too.

    Raises:
      InputError: no such folder or file, not json, of a newer version, or with other fields.
    """
    path = folder / name
    if not folder.is_dir():
        raise InputError(f"there is no {what} {folder}")
    if not path.exists():
        raise InputError(f"{folder} is not a {what}: it has no {name}")
    found = read_json(path, LARGEST_CARD)
    version = found.pop("format_version", None) if isinstance(found, dict) else None
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"{path} does not describe a {what}: it has no format_version")
    if version > format_version:
        raise InputError(
            f"{path} is of format {version!s:.20}, newer than format {format_version} of this esv_jax: update esv_jax"
        )
    for extra in optional:
        found.pop(extra, None)
    if set(found) != set(fields):
        missing, strange = set(fields) - set(found), set(found) - set(fields)
        wrong = f"lacks {listed(sorted(missing))}" if missing else f"has the unknown {listed(sorted(strange))}"
        raise InputError(f"{path} should have the fields {', '.join(fields)}: it {wrong}")
    return found


def read_csv(path: str | os.PathLike, what: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a csv with a header line, and its rows: the number of the line, and the values by column.

    Args:
      path: the file, as `read_rows` wants it.
      what: it is, in words.

    Raises:
      InputError: as `read_rows`; values that are separated by something else than commas, a column twice, or a row with
        more or fewer values than there are columns.
    """
    (_, columns), *rows = read_rows(path, what)
    if len(columns) == 1:
        found = next((name for mark, name in _SEPARATORS.items() if mark in columns[0]), None)
        if found:
            raise InputError(f"{what} {path} should have commas between its columns, found {found}")
    twice = repeated(filter(None, columns))
    if twice:
        raise InputError(f"{what} {path} should have every column once, found {twice[0][:80]!r} twice")
    for line, row in rows:
        if len(row) != len(columns):
            raise InputError(
                f"line {line} of {path} should have {len(columns)} values, as its first line has, found {len(row)}"
            )
    return columns, [(line, dict(zip(columns, row, strict=True))) for line, row in rows]


def read_rows(path: str | os.PathLike, what: str) -> list[tuple[int, list[str]]]:
    """The rows of a csv, at least one: the number of the line, and its values. Blank lines are none.

    Args:
      path: the file: UTF-8, with or without a byte-order mark, its lines ended as on any system.
      what: it is, in words.

    Raises:
      InputError: it is not there, cannot be read, is too large, empty, no csv or no UTF-8.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_TABLE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{what} {path} cannot be read: {reason(error)}") from error
    if len(content) > LARGEST_TABLE:
        raise InputError(f"{what} {path} should have at most {LARGEST_TABLE:,} bytes, found more")
    found = _begins_like(content)
    if found is None and b"\0" in content:
        found = "NULs, as text in UTF-16 has and files that are no text"
    if found:
        raise InputError(f"{what} {path} should be a csv in UTF-8, found {found}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = len(content[: error.start + 1].splitlines()), content[error.start]
        raise InputError(
            f"{what} {path} should be a csv in UTF-8, found the byte 0x{byte:02x} of another encoding in line {line}"
        ) from error
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        numbered = ((reader.line_num, row) for row in reader if row)
        rows = list(itertools.islice(numbered, MOST_ROWS + 1))
    except csv.Error as error:
        raise InputError(f"{what} {path} cannot be read: {reason(error)}") from error
    if not rows:
        raise InputError(f"{what} {path} should be a csv in UTF-8, found blank lines alone")
    if len(rows) > MOST_ROWS:
        raise InputError(f"{what} {path} should have at most {MOST_ROWS:,} rows, found more")
    return rows


def whole_number(value: Any) -> int | None:
    """The number that a cell of a table, or a value of a json, is: 0, 1, 2, ... in plain digits; None if it is none.

    Fractions, truth values, signs, leading zeros, "1e3", "1_0", digits of other scripts and more than 15 digits are
    none: whoever wrote them may have meant something else than Python's `int` makes of them.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 10**15 else None
    return int(value) if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value) else None


def is_one_line(text: str) -> bool:
    """Whether a text, such as a clip's name, can be kept in a line of a table: no line ends, NULs or half characters
    (surrogates, of which some systems make the bytes of a file's name that are no text)."""
    return not any(mark in text for mark in "\r\n\0") and not any("\ud800" <= letter <= "\udfff" for letter in text)


def check_columns(path: str | os.PathLike, columns: Sequence[str], needed: Iterable[str]) -> None:
    """Raises InputError unless all of `needed` are among the `columns` of the csv file `path`."""
    for column in needed:
        if column not in columns:
            raise InputError(
                f"{path} should have a column '{column}', found the columns {listed(map(repr, columns), 8)}"
            )


def looks_like(path: str | os.PathLike) -> str | None:
    """What a file is that has been given another one's name, in words and by how it begins; None if nothing is known.

    "an HTML page, as a failed download leaves", "a Git LFS pointer", "a gzip file", "a zip file" (as PyTorch's files,
    npz and xlsx are), "text in UTF-16", "an HDF5 file", "an empty file".
    """
    try:
        with open(path, "rb") as file:
            start = file.read(256)
    except (OSError, ValueError):
        return None
    return _begins_like(start)


def _begins_like(content: bytes) -> str | None:
    if not content:
        return "an empty file"
    start = content[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((what for beginning, what in _BEGINNINGS.items() if start.startswith(beginning)), None)


def digest(path: str | os.PathLike) -> str:
    """SHA-256 in hex: of a file, or of a folder's files and their names, those of folders in it left out."""
    path = Path(path)
    if path.is_dir():
        lines = [f"{name} {found}\n" for name, found in digests(path, "*").items()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    """SHA-256 of the files of a folder that match a pattern, by their names in it, in the order of these.

    Files of desktops (`is_of_desktop`), locks, and what killed runs left are no part of it.
    """
    found = [path for path in folder.glob(pattern) if path.is_file() and not is_of_desktop(path.name)]
    names = [path.relative_to(folder).as_posix() for path in found if not path.name.endswith((_PARTIAL, _LOCK))]
    return {name: digest(folder / name) for name in sorted(names)}


def is_of_desktop(name: str) -> bool:
    """Whether a file of this name is put into folders by macOS, Windows or a Linux desktop, and no part of any data."""
    return name.lower() in _OF_DESKTOPS or name.startswith("._")


def identity(path: Path) -> tuple[int, int] | None:
    """What tells a file or folder from another one that takes its name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def short_digest(parts: Iterable[Any]) -> str:
    """16 hex digits of the SHA-256 of texts (in UTF-8) and the bytes of arrays, one behind the other."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.encode() if isinstance(part, str) else np.asarray(part).tobytes())
    return sha.hexdigest()[:16]


@contextlib.contextmanager
def exclusive_lock(path: Path, what: str) -> Iterator[None]:
    """Keeps other processes from locking a file or folder until the block ends, or this process does, however it does.

    Where the file system has no locks, as network file systems may not, the process is named in a file `.NAME.lock`
    beside it: what a killed process left there is taken over on the same machine, and told of on another one.

    Args:
      path: to be locked; it is there.
      what: it is, in words, with its name.

    Raises:
      InputError: another process has locked it.
      MissingExtraError: the system has no fcntl (Windows), and the package filelock is not installed.
    """
    with contextlib.ExitStack() as held:
        if fcntl is None:
            filelock = require("filelock")
            # Not in the folder, whose files are counted and compared.
            name = f"esv_jax-{short_digest([str(path.resolve())])}.lock"
            try:
                held.enter_context(filelock.FileLock(Path(tempfile.gettempdir()) / name, timeout=0))
            except filelock.Timeout as error:
                raise InputError(f"another process is writing {what}") from error
        else:
            # Network file systems lock only what is open for writing, which a folder never is.
            handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
            held.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(f"another process is writing {what}") from error
            except OSError:
                held.enter_context(_named_in_a_file(path, what))
        yield


@contextlib.contextmanager
def _named_in_a_file(path: Path, what: str) -> Iterator[None]:
    """`exclusive_lock` by a file that only one process can make."""
    path = path.resolve()
    lock = path.with_name(f".{path.name}{_LOCK}")
    ours = f"{socket.gethostname()} {os.getpid()}"
    with disk_errors(f"{what} cannot be locked"):
        theirs = _text_of(lock)
        if theirs is not None:
            _take_over(lock, theirs, what)
        try:
            with lock.open("x", encoding="utf-8") as file:
                file.write(ours)
        except FileExistsError as error:  # between those two lines
            raise InputError(f"another process is writing {what}") from error
    try:
        yield
    finally:
        if _text_of(lock) == ours:
            _remove(lock)


def _take_over(lock: Path, theirs: str, what: str) -> None:
    """Removes the lock of a process of this machine that is no more."""
    host, _, number = theirs.partition(" ")
    if host != socket.gethostname() or not number.isdecimal() or _is_running(int(number)):
        raise InputError(
            f"another process ({number or 'unknown'} on {host or 'some machine'}) is writing {what}: if it is no more, "
            f"remove {lock} and run this again"
        )
    # Of several that come here at once, one alone can rename it; another may have made its own since.
    aside = lock.with_name(f"{lock.name}.{secrets.token_hex(4)}{_PARTIAL}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(lock, aside)
        if _text_of(aside) == theirs:
            _remove(aside)
        else:
            os.rename(aside, lock)


def _text_of(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[:200]
    except FileNotFoundError:
        return None


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


@contextlib.contextmanager
def disk_errors(message: str, advice: str = "") -> Iterator[None]:
    """Turns an OSError of the block, such as that of a full disk, into the InputError "message: reason; advice"."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{message}: {reason(error)}{advice and '; ' + advice}") from error


def reason(error: Exception) -> str:
    """An error in a few words: what the system says, or the first line of its message."""
    words = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return words.splitlines()[0][:200]


def _partial_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()

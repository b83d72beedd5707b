"""What every experiment script shares: one line instead of a traceback for a user's mistake, and a non-zero exit."""

import contextlib
import importlib.util
import io
import os
import platform
import re
import shlex
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from esv_jax import files
from esv_jax.checks import InputError, version
from esv_jax.data import remote_features

_VARIABLE = re.compile(r"\$(\w+|\{\w+\})(?=/|$)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def path_of(text: str) -> str:
    """The path that a flag means: `~`, a variable such as `$HOME` and `file://` at its front are what a shell or a
    file manager make of them. A name that is there as it is written is taken so.

    Raises:
      ValueError: an address of something else than a file, an unknown user or variable, no path.
    """
    if not text.strip():
        raise ValueError("should be a path, found nothing")
    if "\0" in text:
        raise ValueError(f"should be a path, found one with a NUL in it: {text!r}")
    if os.path.lexists(text):
        return text
    if text.lower().startswith("file://"):
        address = urllib.parse.urlsplit(text)
        if address.netloc not in ("", "localhost"):
            raise ValueError(f"should be a path on this machine, found one on {address.netloc}: {text}")
        return urllib.parse.unquote(text[len("file://") + len(address.netloc) :])
    if _SCHEME.match(text):
        raise ValueError(f"should be a path on this machine, found the address {text}: download it first")
    if text.startswith("~"):
        path = os.path.expanduser(text)
        if path.startswith("~") and text.split("/")[0] != text:
            raise ValueError(f"names the home folder of an unknown user: {text}")
        return path
    found = _VARIABLE.match(text)
    if found:
        name = found[1].strip("{}")
        if not os.environ.get(name):
            raise ValueError(f"begins with ${name}, which is not set: {text}")
        return os.environ[name] + text[found.end() :]
    return text


class _PathParser(flags.ArgumentParser):
    def parse(self, argument: str) -> str:
        return path_of(argument)

    def flag_type(self) -> str:
        return "path"


def DEFINE_path(name: str, default: str | None, help: str, required: bool = False) -> Any:
    """A flag that is a path on this machine (`path_of`)."""
    return flags.DEFINE(_PathParser(), name, default, help, serializer=flags.ArgumentSerializer(), required=required)


class _PlaceParser(_PathParser):
    def parse(self, argument: str) -> str:
        return argument if remote_features.is_remote(argument) else path_of(argument)


def DEFINE_place(name: str, default: str | None, help: str, required: bool = False) -> Any:
    """A flag that is a path on this machine (`path_of`), or an address on an object store."""
    return flags.DEFINE(_PlaceParser(), name, default, help, serializer=flags.ArgumentSerializer(), required=required)


def DEFINE_multi_path(name: str, default: list[str] | None, help: str, required: bool = False) -> Any:
    """A flag that is a path on this machine (`path_of`) and may be repeated."""
    return flags.DEFINE_multi(_PathParser(), flags.ArgumentSerializer(), name, default, help, required=required)


class _PathListParser(flags.ListParser):
    def parse(self, argument: str | list[str]) -> list[str]:
        return [path_of(path) for path in super().parse(argument)]


def DEFINE_path_list(name: str, default: list[str] | None, help: str, required: bool = False) -> Any:
    """A flag that is paths on this machine (`path_of`), separated by commas."""
    serializer: Any = flags.ListSerializer(",")
    return flags.DEFINE(_PathListParser(), name, default, help, serializer=serializer, required=required)


COMPILATION_CACHE = DEFINE_path(
    "compilation_cache",
    None,
    "Folder that keeps compiled programs: a script run again for the same shapes starts without compiling.",
)
# From here on what defines flags here defines those of the script that calls it.
flags.disclaim_key_flags()


def run(main: Callable[[], None]) -> None:
    """Parses the flags, runs `main`, and ends with exit code 1 and one sentence on stderr for an InputError.

    So it does for what the system refuses (a full disk, a folder that is gone, too little memory).
    """
    _replace_what_cannot_be_shown()
    _show_shared_flags()

    def guarded(argv: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # orbax and jax tell of every step otherwise
        try:
            with _told_by_the_system():
                if COMPILATION_CACHE.value is not None:
                    _keep_compiled_programs(COMPILATION_CACHE.value)
                if len(argv) > 1:
                    raise InputError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
                main()
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt as error:
            print("; ".join(["interrupted", *getattr(error, "__notes__", [])]), file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            # The reader of our output, such as `head`, has had enough; Python would complain of the rest at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)

    app.run(guarded)


def _show_shared_flags() -> None:
    """Lists the flags that scripts share among those of the script, for --help."""
    for name, shared in flags.FLAGS.flags_by_module_dict().items():
        if str(name).startswith(f"{__package__}."):
            for flag in shared:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _replace_what_cannot_be_shown() -> None:
    """Shows names that the terminal's encoding does not have as `?` or `\\N`, where Python would stop with an error."""
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


@contextlib.contextmanager
def _told_by_the_system() -> Iterator[None]:
    """Turns what the system refuses into an InputError; where we know more, `files.disk_errors` says it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        raise InputError(f"{place}{files.reason(error)}") from error
    except MemoryError as error:
        raise InputError(f"the memory of this machine does not suffice: {files.reason(error)}") from error
    except RuntimeError as error:  # of XLA, among others
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(f"the memory of the device does not suffice: {files.reason(error)}") from error


def command(script: str, *arguments: str) -> str:
    """The line that runs a script again with these flags: `esv-jax` knows it as a command, a clone as a module.

    It is kept beside what the script made, and goes where that goes: of an absolute path it has the name alone.
    """
    start = ["esv-jax", script] if __package__ == "esv_jax.experiments" else ["python", "-m", f"experiments.{script}"]
    return in_unicode(shlex.join([*start, *map(_without_folders, arguments)]))


def in_unicode(text: str) -> str:
    """Text of the system's, with a sign in place of bytes that are none: those of a file's name need not be text."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def last_part(path: str) -> str:
    """The last part of a path: results go to places where there is no such folder."""
    return in_unicode(os.path.basename(os.path.abspath(path)))


def _without_folders(argument: str) -> str:
    flag, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    path = value[len("file://") :] if value.lower().startswith("file://") else value
    return flag + equals + (Path(path).name if path.startswith(("/", "~", "$")) or Path(path).is_absolute() else value)


def read_marks(path: Path) -> dict[str, Any]:
    """What a run has kept in the json file `path` of how far it got; nothing where there is none."""
    return files.read_json(path) if path.exists() else {}


def versions(*more: str) -> dict[str, str]:
    """Versions of what decides a result, and of `more` packages that decide this one, as kept beside it."""
    packages = ("esv-jax", "jax", "flax", "optax", "numpy", *more)
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def _keep_compiled_programs(path: str) -> None:
    import jax

    output_folder(path)
    for name, value in _of_compiled_programs(path).items():
        jax.config.update(name, value)


def _of_compiled_programs(path: str) -> dict[str, Any]:
    """The settings of JAX that keep them there."""
    # A limit makes JAX lock its files, where it can: of processes that start at once one would read what another is
    # still writing, and crash.
    limit = {"jax_compilation_cache_max_size": 2**36} if importlib.util.find_spec("filelock") is not None else {}
    folder = str(Path(path).resolve())
    return {"jax_compilation_cache_dir": folder, "jax_persistent_cache_min_compile_time_secs": 0.0, **limit}


def environment_of_programs() -> dict[str, str]:
    """The environment in which another process keeps its compiled programs where --compilation_cache says."""
    if COMPILATION_CACHE.value is None:
        return {}
    return {name.upper(): str(value) for name, value in _of_compiled_programs(COMPILATION_CACHE.value).items()}


def output_folder(path: str) -> Path:
    """The folder `path`, made if need be and shown to be writable.

    Raises:
      InputError: it cannot be made, is a file, or cannot be written.
    """
    folder = Path(path)
    probe = folder / ".esv_jax_write_test"
    with files.disk_errors(f"the output folder {path} cannot be written"):
        if folder.is_file():
            raise FileExistsError("it is a file")
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    return folder

"""What every experiment script shares: one line instead of a traceback for a user's mistake, and a non-zero exit."""

import os
import platform
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from esv_jax import files
from esv_jax.checks import InputError, version

COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "Folder that keeps compiled programs: a script run again for the same shapes starts without compiling.",
)


def run(main: Callable[[], None]) -> None:
    """Parses the flags, runs `main`, and ends with exit code 1 and one sentence on stderr for an InputError."""

    def guarded(argv: list[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # orbax and jax tell of every step otherwise
        try:
            if COMPILATION_CACHE.value is not None:
                _keep_compiled_programs(COMPILATION_CACHE.value)
            if len(argv) > 1:
                raise InputError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
            main()
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            # The reader of our output, such as `head`, has had enough; Python would complain of the rest at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)

    app.run(guarded)


def command(script: str, *arguments: str) -> str:
    """The line that runs a script again with these flags: `esv-jax` knows it as a command, a clone as a module."""
    start = ["esv-jax", script] if __package__ == "esv_jax.experiments" else ["python", "-m", f"experiments.{script}"]
    return shlex.join([*start, *arguments])


def read_marks(path: Path) -> dict[str, Any]:
    """What a run has kept in the json file `path` of how far it got; nothing where there is none."""
    return files.read_json(path) if path.exists() else {}


def versions() -> dict[str, str]:
    """Versions of what decides a result, as kept beside it."""
    packages = ("esv-jax", "jax", "flax", "optax", "numpy")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def _keep_compiled_programs(path: str) -> None:
    import jax

    jax.config.update("jax_compilation_cache_dir", str(output_folder(path).resolve()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def output_folder(path: str) -> Path:
    """The folder `path`, made if need be and shown to be writable.

    Raises:
      InputError: it cannot be made, is a file, or cannot be written.
    """
    folder = Path(path)
    probe = folder / ".esv_jax_write_test"
    with files.disk_errors(f"the output folder {path} cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    return folder

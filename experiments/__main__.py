"""The command `esv-jax NAME --flags`: runs the script NAME of this folder as `python -m experiments.NAME --flags` does.

The wheel holds this folder as `esv_jax.experiments`, so that scripts import one another relatively.
"""

import ast
import difflib
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
SHARED = {"cli", "estimator_flags", "host_flags", "models_of_features", "models_of_videos", "worker_flags"}
COMMANDS = sorted({path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__"} - SHARED)


def main() -> None:
    """Runs the command that the first argument names, or lists all where there is none."""
    name, *flags = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print(_listing())
        return
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "esv-jax alone lists them"
        sys.exit(f"error: there is no command {name!r}: {hint}")
    sys.argv[1:] = flags
    runpy.run_module(f"{__package__}.{name}", run_name="__main__", alter_sys=True)


def _listing() -> str:
    """Every command with the first line of its docstring, which is read: to import all scripts would take seconds."""
    width = max(map(len, COMMANDS))
    lines = ["esv-jax COMMAND --flags...    (esv-jax COMMAND --help: the flags)", ""]
    for name in COMMANDS:
        docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))) or ""
        first_line, *_ = docstring.split("\n")
        lines.append(f"{name:{width}}  {first_line}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

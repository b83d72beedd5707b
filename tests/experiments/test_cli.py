import subprocess
import sys
from pathlib import Path

import pytest

from esv_jax.checks import InputError
from experiments import cli

ROOT = Path(__file__).parents[2]


def _script(body):
    imports = "from esv_jax import checks\nfrom experiments import cli"
    return [sys.executable, "-c", f"{imports}\ndef main():\n    {body}\nif __name__ == '__main__': cli.run(main)"]


def test_a_mistake_is_one_line_and_a_bug_keeps_its_traceback():
    ran = subprocess.run(
        _script("raise checks.InputError('x should be y')"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (1, "error: x should be y\n")
    ran = subprocess.run(_script("raise ValueError('oops')"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
    assert "oops" in ran.stderr


def test_compiled_programs_are_kept_where_asked_for(tmp_path):
    script = _script("import jax; print(jax.jit(lambda x: x * 2 + 1)(3))")
    ran = subprocess.run(
        [*script, f"--compilation_cache={tmp_path / 'kept'}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "7\n")
    assert list((tmp_path / "kept").iterdir()) != []


def test_a_reader_that_has_had_enough_is_no_error():
    script = _script("[print('x' * 1000) for _ in range(1000)]")
    with subprocess.Popen(script, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_an_output_folder_is_made_and_left_empty(tmp_path):
    folder = cli.output_folder(str(tmp_path / "a" / "b"))
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_an_output_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=f"the output folder {path} cannot be written"):
            cli.output_folder(str(path))

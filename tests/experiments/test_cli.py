import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from esv_jax.checks import InputError
from experiments import cli
from experiments.__main__ import COMMANDS
from tests.experiments.scripts import imported

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


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("clip.mp4", "clip.mp4"),
        ("~/clip.mp4", "/home/of me/clip.mp4"),
        ("$HOME/clip.mp4", "/home/of me/clip.mp4"),
        ("${HOME}", "/home/of me"),
        ("file:///a%20b/c.mp4", "/a b/c.mp4"),
        ("FILE://localhost/c.mp4", "/c.mp4"),
        ("concat:a.mp4", "concat:a.mp4"),
        ("a$HOME.mp4", "a$HOME.mp4"),
        ("$5 bill.mp4", "$5 bill.mp4"),
    ],
)
def test_a_path_is_what_a_shell_or_a_file_manager_means(written, meant, monkeypatch):
    monkeypatch.setenv("HOME", "/home/of me")
    assert cli.path_of(written) == meant


def test_a_name_that_is_there_is_taken_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("~", "$HOME", "$NOT_SET"):
        (tmp_path / name).write_text("")
        assert cli.path_of(name) == name


def test_every_flag_that_is_a_path_is_read_as_one():
    """By what the flags say of themselves: a file, a folder, a csv."""
    words = re.compile(r"\b([Ff]older|[Ff]ile|csv|json|store)\b")
    for name in COMMANDS:
        with imported(name):
            own = flags.FLAGS.find_module_defining_flag
            strings = [
                f for f in map(flags.FLAGS.__getitem__, flags.FLAGS) if str(own(f.name)).startswith("experiments.")
            ]
            wrong = [f.name for f in strings if f.flag_type() == "string" and words.search(f.help)]
            assert set(wrong) <= {"hold_out", "split", "class_name"}, (name, wrong)


def test_commands_that_are_kept_name_no_folder_of_the_one_who_ran_them():
    kept = cli.command(
        "train", "--features=/home/me/f", "--out", "/tmp/my model", "--epochs=3", "--priors=file:///a/b.csv"
    )
    assert kept.endswith("experiments.train --features=f --out 'my model' --epochs=3 --priors=b.csv")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("open('/not/there')", "error: /not/there: No such file or directory\n"),
        ("raise OSError(28, 'No space left on device')", "error: No space left on device\n"),
        (
            "raise MemoryError('8 PiB')",
            "error: the memory of this machine does not suffice: 8 PiB\n",
        ),
        (
            "raise RuntimeError('RESOURCE_EXHAUSTED: 8 PiB')",
            "error: the memory of the device does not suffice: RESOURCE_EXHAUSTED: 8 PiB\n",
        ),
        ("raise checks.InputError('two\\nlines \\x1b[31m')", "error: two\\nlines \\x1b[31m\n"),
    ],
)
def test_what_the_system_refuses_is_one_line(body, told):
    ran = subprocess.run(_script(body), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, told)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_terminal_cannot_show_is_replaced(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    script = _script("print('\\u5f00 ok'); raise checks.InputError('no \\u5f00')")
    ran = subprocess.run(script, cwd=ROOT, capture_output=True, env=environment, check=False)
    assert (ran.returncode, ran.stdout.split(), ran.stderr.split()[-1]) == (1, [b"?", b"ok"], b"\\u5f00")

import csv
import gzip
import hashlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from esv_jax import files
from esv_jax.checks import InputError, MissingExtraError

ROOT = Path(__file__).parents[1]


def python(source, *arguments, **options):
    """A process that runs `source`, with esv_jax.files as `files` and the arguments as `given`."""
    imports = "import os, pathlib, signal, sys\nfrom esv_jax import files\ngiven = sys.argv[1:]\n"
    command = [sys.executable, "-c", imports + source, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_in_the_middle_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def write():
        with files.atomic(path) as partial:
            partial.write_text("ne")
            assert path.read_text() == "old"
            assert partial.parent == tmp_path
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]
    files.write_text(path, "new")
    assert path.read_text() == "new"


def test_a_run_killed_in_the_middle_leaves_the_old_file_and_what_its_writer_can_remove(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    before = files.digest(tmp_path)
    killed = "    partial.write_text('ne')\n    os.kill(os.getpid(), signal.SIGKILL)"
    ran = python(f"with files.atomic(given[0]) as partial:\n{killed}", path)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    assert files.digest(tmp_path) == before
    (tmp_path / ".b.0.partial").mkdir()
    (tmp_path / "theirs.partial").touch()
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == ["a.txt", "theirs.partial"]


def test_two_writers_at_once_both_finish_and_the_file_is_of_one_of_them(tmp_path):
    path = tmp_path / "a.txt"
    with files.atomic(path) as first, files.atomic(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # which ended last
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole(tmp_path):
    def write(content):
        with files.atomic(tmp_path / "f") as partial:
            partial.mkdir()
            (partial / "a").write_text(content)

    with pytest.raises(TypeError):
        write(1)
    assert names(tmp_path) == []
    write("1")
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["a"]


def test_what_is_written_is_read_again(tmp_path):
    content = {"name": "Öffnen", "values": [0.1, None, 3]}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json") == json.loads((tmp_path / "a.json").read_text()) == content
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", [float("nan")])
    assert files.read_json(tmp_path / "a.json") == content

    rows = [["name", "number"], ["a,b", "1"], ["Öffnen\nzwei", "2"]]
    files.write_csv(tmp_path / "a.csv", rows)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == rows
    columns, read = files.read_csv(tmp_path / "a.csv", "the table")
    assert columns == rows[0]
    assert read == [(2, {"name": "a,b", "number": "1"}), (4, {"name": "Öffnen\nzwei", "number": "2"})]

    arrays = {"x": np.arange(3), "file": np.float32([0.5])}
    files.write_npz(tmp_path / "a", {"x": arrays["x"]})
    with np.load(tmp_path / "a", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["x"], arrays["x"])
    assert names(tmp_path) == ["a", "a.csv", "a.json"]


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"no\.json cannot be read as json: No such file or directory$"):
        files.read_json(tmp_path / "no.json")
    with pytest.raises(InputError, match=r"^the table .*no\.csv cannot be read: No such file or directory$"):
        files.read_csv(tmp_path / "no.csv", "the table")
    (tmp_path / "bad").write_bytes(b"\xff{")
    with pytest.raises(InputError, match=r"bad cannot be read as json: 'utf-8' codec can't decode"):
        files.read_json(tmp_path / "bad")
    with pytest.raises(InputError, match=r"bad should be a csv in UTF-8, found the byte 0xff .* in line 1"):
        files.read_csv(tmp_path / "bad", "the table")


def test_cards_say_what_is_wrong_with_them(tmp_path):
    def read():
        return files.read_card(tmp_path / "f", "c.json", "box", format_version=2, fields=("a",), optional=("by",))

    with pytest.raises(InputError, match=r"there is no box .*f$"):
        read()
    (tmp_path / "f").mkdir()
    with pytest.raises(InputError, match=r"f is not a box: it has no c\.json$"):
        read()
    for content, message in (
        ([], r"c\.json does not describe a box: it has no format_version"),
        ({"format_version": 3, "b": 1}, "is of format 3, newer than format 2 of this esv_jax"),
        ({"format_version": 2, "b": 1}, "should have the fields a: it lacks a"),
    ):
        files.write_json(tmp_path / "f" / "c.json", content)
        with pytest.raises(InputError, match=message):
            read()
    for version, others in ((1, {}), (2, {"by": "x"})):
        files.write_json(tmp_path / "f" / "c.json", {"format_version": version, "a": 5, **others})
        assert read() == {"a": 5}


def test_errors_of_the_disk_are_one_sentence():
    with pytest.raises(InputError, match=r"^it cannot be: No space left on device; go$"):  # noqa: SIM117
        with files.disk_errors("it cannot be", "go"):
            raise OSError(28, "No space left on device")
    with pytest.raises(InputError, match=r"^it cannot be: first$"), files.disk_errors("it cannot be"):
        raise OSError("first\nsecond")
    with pytest.raises(InputError, match=r"^it cannot be: OSError$"), files.disk_errors("it cannot be"):
        raise OSError
    with pytest.raises(ValueError, match="as it is"), files.disk_errors("it cannot be"):
        raise ValueError("as it is")


def test_digests_are_sha256(tmp_path):
    content = {"b": b"1", "a": bytes(100_000), "Z": b"", "deep/a": b"22"}
    for name, of_file in {**content, ".b.lock": b"host 1"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(of_file)
    expected = {name: hashlib.sha256(of_file).hexdigest() for name, of_file in content.items()}
    assert files.digest(tmp_path / "a") == expected["a"]
    assert files.digests(tmp_path) == expected
    assert list(files.digests(tmp_path)) == ["Z", "a", "b", "deep/a"]
    lines = "".join(f"{name} {expected[name]}\n" for name in ("Z", "a", "b"))
    assert files.digest(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()

    arrays = np.arange(6, dtype="<i4").reshape(2, 3).T, np.float32(0.5)
    whole = hashlib.sha256("ö".encode() + np.int32([0, 3, 1, 4, 2, 5]).tobytes() + b"\x00\x00\x00\x3f")
    assert files.short_digest(["ö", *arrays]) == whole.hexdigest()[:16]


LOCKING = """
try:
    with files.exclusive_lock(pathlib.Path(given[0]), "the box " + given[0]):
        print("locked")
except files.InputError as error:
    print(error)
"""


def check_lock(path, before=""):
    with files.exclusive_lock(path, f"the box {path}"):
        assert python(before + LOCKING, path).stdout == f"another process is writing the box {path}\n"
        with pytest.raises(InputError, match="another process is writing the box"):  # noqa: SIM117
            with files.exclusive_lock(path, "the box"):
                pass
    assert python(before + LOCKING, path).stdout == "locked\n"
    killed = "with files.exclusive_lock(pathlib.Path(given[0]), 'it'):\n    os.kill(os.getpid(), signal.SIGKILL)"
    assert python(before + killed, path).returncode == -signal.SIGKILL
    with files.exclusive_lock(path, "the box"):
        pass


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_one_process_at_a_time(tmp_path, kind):
    pytest.importorskip("fcntl")
    path = tmp_path if kind == "folder" else tmp_path / "a"
    if kind == "file":
        path.touch()
    check_lock(path)
    assert names(tmp_path) == ([] if kind == "folder" else ["a"])


def test_one_process_at_a_time_without_fcntl(tmp_path, monkeypatch):
    pytest.importorskip("filelock")
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path / "locks"))
    (tmp_path / "locks").mkdir()
    (tmp_path / "box").mkdir()
    check_lock(tmp_path / "box", f"files.fcntl = None\nfiles.tempfile.tempdir = {str(tmp_path / 'locks')!r}\n")
    assert names(tmp_path / "box") == []


def test_without_fcntl_and_filelock_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(MissingExtraError, match=r"^the package 'filelock' is needed .*: pip install filelock$"):  # noqa: SIM117
        with files.exclusive_lock(tmp_path, "the box"):
            pass


NO_FLOCK = """
def no_locks(*_):
    raise OSError(95, "Operation not supported")
files.fcntl.flock = no_locks
"""


@pytest.fixture
def no_flock(monkeypatch):
    """A file system without locks, as network file systems may be."""

    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", no_locks)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_one_process_at_a_time_where_the_file_system_has_no_locks(tmp_path, no_flock, kind):
    path = tmp_path / "box"
    path.mkdir() if kind == "folder" else path.touch()
    with files.exclusive_lock(path, "the box"):
        assert names(tmp_path) == [".box.lock", "box"]
        told = python(NO_FLOCK + LOCKING, path).stdout
        assert told == (
            f"another process ({os.getpid()} on {socket.gethostname()}) is writing the box {path}: if it is no more, "
            f"remove {tmp_path / '.box.lock'} and run this again\n"
        )
        assert names(tmp_path) == [".box.lock", "box"]
    assert names(tmp_path) == ["box"]
    assert python(NO_FLOCK + LOCKING, path).stdout == "locked\n"


def test_the_lock_of_a_killed_process_is_taken_over_on_its_machine_and_told_of_on_others(tmp_path, no_flock):
    (tmp_path / "box").mkdir()
    killed = "with files.exclusive_lock(pathlib.Path(given[0]), 'it'):\n    os.kill(os.getpid(), signal.SIGKILL)"
    assert python(NO_FLOCK + killed, tmp_path / "box").returncode == -signal.SIGKILL
    assert names(tmp_path) == [".box.lock", "box"]
    with files.exclusive_lock(tmp_path / "box", "the box"):
        assert (tmp_path / ".box.lock").read_text() == f"{socket.gethostname()} {os.getpid()}"
    assert names(tmp_path) == ["box"]
    for left in ("elsewhere 17", "", f"{socket.gethostname()} what"):
        (tmp_path / ".box.lock").write_text(left)
        with pytest.raises(InputError, match=r"is writing the box: if it is no more, remove .*/\.box\.lock and run"):  # noqa: SIM117
            with files.exclusive_lock(tmp_path / "box", "the box"):
                pass
        assert (tmp_path / ".box.lock").read_text() == left


def test_of_many_that_take_over_a_lock_at_once_one_has_it(tmp_path, no_flock):
    (tmp_path / "box").mkdir()
    (tmp_path / ".box.lock").write_text(f"{socket.gethostname()} {2**22 + 1}")  # no process has this number
    holding = """
import time
pathlib.Path(given[1], given[2]).touch()
while not os.path.exists(given[1] + "/go"):
    pass
try:
    with files.exclusive_lock(pathlib.Path(given[1], "box"), "the box"):
        start = time.monotonic()
        time.sleep(0.2)
        print(start, time.monotonic())
except files.InputError:
    print("refused")
"""
    imports = "import os, pathlib, sys\nfrom esv_jax import files\ngiven = sys.argv\n"
    command = [sys.executable, "-c", imports + NO_FLOCK + holding, str(tmp_path)]
    all_of_them = [
        subprocess.Popen([*command, f"ready{i}"], cwd=ROOT, stdout=subprocess.PIPE, text=True) for i in range(3)
    ]
    while len(list(tmp_path.glob("ready*"))) < 3:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    said = [process.communicate()[0].split() for process in all_of_them]
    held = sorted(tuple(map(float, words)) for words in said if words != ["refused"])
    assert held
    for (_, ended), (started, _) in itertools.pairwise(held):
        assert ended <= started


def test_lines_of_a_csv_have_their_numbers_in_the_file(tmp_path):
    (tmp_path / "a.csv").write_bytes('\ufeffx,y\r\n1,"a\nb"\r\n\r\n2,c\r\n'.encode())
    columns, rows = files.read_csv(tmp_path / "a.csv", "the table")
    assert columns == ["x", "y"]
    assert rows == [(3, {"x": "1", "y": "a\nb"}), (5, {"x": "2", "y": "c"})]
    files.check_columns("a.csv", columns, ("y",))
    with pytest.raises(InputError, match=r"a.csv should have a column 'z', found the columns 'x', 'y'$"):
        files.check_columns("a.csv", columns, ("y", "z"))


def test_files_under_another_ones_name_are_called_what_they_are(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "weights.pt"
    assert files.looks_like(path) is None
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    for content, expected in {
        b"": "an empty file",
        b"\xef\xbb\xbf\n<!DOCTYPE HTML><title>Not found</title>": "an HTML page, as a failed download leaves",
        b"  <html>": "an HTML page, as a failed download leaves",
        pointer.encode(): "a Git LFS pointer",
        gzip.compress(b"path,label\n"): "a gzip file",
        "path,label\n".encode("utf-16"): "text in UTF-16",
        b"path,label\na.mp4,run\n": None,
        b"[0.5, 0.5]": None,
    }.items():
        path.write_bytes(content)
        assert files.looks_like(path) == expected
    files.write_npz(path, {"a": np.ones(2)})
    assert files.looks_like(path) == "a zip file"
    with h5py.File(path, "w"):
        pass
    assert files.looks_like(path) == "an HDF5 file"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found an empty file"),
        (b"\n\r\n", "found blank lines alone"),
        (b"<!doctype html>", "found an HTML page"),
        ("x,y\n".encode("utf-16"), "found text in UTF-16"),
        ("x,y\n1,2\n".encode("utf-16-le"), "found NULs, as text in UTF-16 has"),
        ("x,y\n1,2\nü,3".encode("latin-1"), "found the byte 0xfc of another encoding in line 3"),
        (b"x;y\n1;2\n", "commas between its columns, found semicolons"),
        (b"x\ty\n1\t2\n", "found tabs"),
        (b"a.avi 0\nb.avi 1\n", "found blanks"),
        (b"x,y,x\n1,2,3\n", "every column once, found 'x' twice"),
        (b"x,y\n1,2\n1,2,3\n", "line 3 of .* should have 2 values, .* found 3"),
        (b"x,y\n1\n", "line 2 of .* should have 2 values, .* found 1"),
        (b'x,y\n1,"2\n', "cannot be read: unexpected end of data"),
    ],
)
def test_tables_of_other_kinds_are_told_what_they_are(tmp_path, content, found):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=found):
        files.read_csv(tmp_path / "a.csv", "the table")


def test_tables_end_their_lines_as_any_system_does_and_may_have_columns_without_names(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "a.csv").write_bytes(f",x,,{end}0,é,,{end}{end}1,b,,".encode())
        columns, rows = files.read_csv(tmp_path / "a.csv", "the table")
        assert columns == ["", "x", "", ""]
        assert [row["x"] for _, row in rows] == ["é", "b"]


def test_tables_too_large_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_bytes(b"x,y\n1,2\n3,4\n")
    monkeypatch.setattr(files, "MOST_ROWS", 2)
    with pytest.raises(InputError, match="should have at most 2 rows"):
        files.read_csv(tmp_path / "a.csv", "the table")
    monkeypatch.setattr(files, "LARGEST_TABLE", 11)
    with pytest.raises(InputError, match="should have at most 11 bytes"):
        files.read_csv(tmp_path / "a.csv", "the table")


def test_whole_numbers_are_plain_digits():
    for value in (0, 7, "0", "7", "120"):
        assert files.whole_number(value) == int(value)
    refused = (True, -1, 0.2, 1.0, None, "", "-1", "+1", "007", "1.0", "1e3", "1_0", " 2", "2\n", "٣", "²", "9" * 16)
    assert [value for value in (*refused, 10**15) if files.whole_number(value) is not None] == []


def test_lines_have_no_ends_and_no_half_characters():
    assert files.is_one_line('Öffnen, "a" 開')
    for text in ("a\nb", "a\r", "a\0", "a\udce4"):
        assert not files.is_one_line(text)

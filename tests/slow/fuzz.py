"""Reads files that were damaged or written by others, thousands of them: the right answer, or one sentence.

    python -m tests.slow.fuzz --seconds=600                  # of every kind of file (tests/slow/readers.py)
    python -m tests.slow.fuzz --seconds=60 --only=model,epic --seed=7
    python -m tests.slow.fuzz --again=out/fuzz/model/0       # what was found once, with its traceback

A finding is an exception that is no InputError, a message that is no sentence, an answer that is not the file's, more
than 1 GB of memory or 10 seconds. Each is found once, kept in --out as the folder that was read, and told of; then the
exit code is 1. Every kind is read in a process of its own, as what it reads may end it.
"""

import argparse
import collections
import json
import logging
import multiprocessing
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

import esv_jax
from tests.slow.changes import changed_files
from tests.slow.readers import READERS, Reader

PACKAGE = str(Path(esv_jax.__file__).parent)
EXAMPLES = 100  # of a seed
LONGEST_SENTENCE, LONGEST_S, MOST_BYTES = 1000, 10, 10**9


class TooLong(BaseException):
    """Raised in what takes too long."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.slow.fuzz")
    parser.add_argument("--seconds", type=float, default=600, help="for each kind of file")
    parser.add_argument("--only", default=",".join(READERS), help="kinds of files")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="where findings are kept")
    parser.add_argument("--again", type=Path, help="reads the folder of a finding")
    flags = parser.parse_args()
    if flags.again:
        read_again(flags.again)
        return
    # A fork would share the threads of JAX.
    context = multiprocessing.get_context("spawn")
    num_findings = 0
    for kind in flags.only.split(","):
        out = flags.out / kind
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        process = context.Process(target=fuzz, args=(kind, flags.seconds, flags.seed, out))
        process.start()
        process.join(flags.seconds + 300)
        if process.exitcode != 0:
            process.kill()
            print(f"{kind}: FINDING: the process ended with {process.exitcode}: {out / 'last'}, {out / 'stderr.txt'}")
            num_findings += 1
        num_findings += len(list(out.glob("*.json")))
    print(f"{num_findings} findings")
    sys.exit(num_findings > 0)


def fuzz(kind: str, seconds: float, first_seed: int, out: Path) -> None:
    """Reads changed files of one kind for some seconds, and tells of what it finds."""
    warnings.simplefilter("ignore")
    logging.disable()
    sys.stderr = (out / "stderr.txt").open("w")  # progress, and the traceback of a fault in here
    signal.signal(signal.SIGALRM, _too_long)
    reader = READERS[kind]
    counts: collections.Counter[str] = collections.Counter()
    findings: dict[str, int] = {}
    folder = out / "last"  # what is there when the process is killed
    reader.make(folder)
    originals = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    right = reader.read(folder)
    assert reader.check(folder, right, right) is None
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 4 * MOST_BYTES,) * 2)

    def example(changed: dict[str, bytes | None]) -> None:
        if time.monotonic() > end:
            return
        shutil.rmtree(folder)  # who reads may write, too
        write(folder, originals | changed)
        verdict, told = verdict_of(reader, folder, right)
        counts[verdict] += 1
        if verdict not in ("read", "refused", *findings):
            write(out / str(len(findings)), originals | changed)
            number = findings[verdict] = len(findings)
            (out / f"{number}.json").write_text(json.dumps({"verdict": verdict, "files": sorted(changed)}))
            print(f"{kind}: FINDING: {verdict}: {told}\n  {sorted(changed)}; --again={out / str(number)}", flush=True)

    end, number = time.monotonic() + seconds, first_seed
    while time.monotonic() < end:
        quiet = settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(quiet(given(changed_files(originals))(example)))()
        number += 1
    shutil.rmtree(folder)
    print(f"{kind}: seeds {first_seed}..{number - 1}, {sum(counts.values())} examples: {dict(counts)}", flush=True)


def write(folder: Path, contents: dict[str, bytes | None]) -> None:
    """Writes the files of a folder by name, but those that are None."""
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)


def verdict_of(reader: Reader, folder: Path, right: object) -> tuple[str, str]:
    """What came of reading a folder, "read", "refused" or a finding; and what was said."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
    before, start = _peak(), time.monotonic()
    signal.alarm(LONGEST_S)
    try:
        found = reader.read(folder)
        signal.alarm(0)
        wrong = _wrong(reader, folder, found, right)
        verdict, told = (f"wrong: {wrong}", "") if wrong else ("read", "")
    except esv_jax.InputError as error:
        told = str(error)
        verdict = "refused" if is_sentence(told) else f"no sentence: {_place(error)}"
    except (Exception, TooLong) as error:
        verdict, told = f"{type(error).__name__}: {_place(error)}", str(error)
    finally:
        signal.alarm(0)
    if _peak() - before > MOST_BYTES:
        verdict = f"memory: {verdict}"
    elif time.monotonic() - start > LONGEST_S:
        verdict = f"time: {verdict}"
    return verdict, repr(told[:300])


def is_sentence(text: str) -> bool:
    """Whether a message is one line, not too long, that any terminal can show."""
    unseen = {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(character) for character in text.replace("\t", " ")}
    return 0 < len(text) <= LONGEST_SENTENCE and not unseen


def read_again(folder: Path) -> None:
    """Reads what was kept of a finding."""
    reader = READERS[folder.parent.name]
    with tempfile.TemporaryDirectory() as made:
        reader.make(Path(made) / "right")
        right = reader.read(Path(made) / "right")
        again = Path(shutil.copytree(folder, Path(made) / "again"))  # who reads may write, too
        found = reader.read(again)
        print(f"{found}\n{_wrong(reader, again, found, right) or 'right'}")


def _wrong(reader: Reader, folder: Path, found: object, right: object) -> str | None:
    try:
        return reader.check(folder, found, right)
    except Exception as error:  # what the check itself cannot read should not have been read
        return f"read, but {type(error).__name__}: {str(error)[:80]}"


def _place(error: BaseException) -> str:
    """The innermost line of ours that an exception went through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(PACKAGE)]
    return f"{Path(frames[-1].filename).relative_to(PACKAGE)}:{frames[-1].lineno}" if frames else "nowhere"


def _peak() -> int:
    """The most memory since `clear_refs`, bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _too_long(*_: object) -> None:
    raise TooLong("more than 10 seconds")


if __name__ == "__main__":
    main()

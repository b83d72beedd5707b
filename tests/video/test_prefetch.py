import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from esv_jax.checks import InputError
from esv_jax.video import decode, decoder_process, prefetch, video_file
from esv_jax.video.prefetch import Video, batches_of
from esv_jax.video.preprocess import Preprocess, resize_and_crop
from tests.video.hanging import keep_python_busy, wait_for_ever
from tests.video.videos import numbered_image, write_video

SIZE = 160
PREPROCESS = Preprocess(SIZE, SIZE, (0.0,) * 3, (1.0,) * 3)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("prefetch")
    write_video(root / "a.avi", "mpeg4", 7)
    write_video(root / "b.webm", "libvpx", 4)
    for number in range(5):
        (root / "folder").mkdir(exist_ok=True)
        Image.fromarray(numbered_image(number)).save(root / "folder" / f"{number}.png")
    return [Video(root / name) for name in ("a.avi", "none.avi", "folder", "b.webm")]


def taken(of_videos):
    """The batches of every video, or what was said of it."""
    for batches in of_videos:
        try:
            yield list(batches)
        except InputError as error:
            yield str(error)


def test_batches_hold_every_frame_in_order(videos):
    with batches_of([*videos, Video(videos[0].path, 2, 5)], PREPROCESS, batch_size=3, num_processes=0) as of_videos:
        a, none, folder, b, part = taken(of_videos)
    assert [len(batch) for batch in a] == [3, 3, 1]
    assert [len(batch) for batch in folder] == [3, 2]
    assert [len(batch) for batch in b] == [3, 1]
    assert "there is no file" in none
    expected = resize_and_crop(np.stack(list(decode.iter_frames(videos[0].path))), PREPROCESS)
    np.testing.assert_array_equal(np.concatenate(a), expected)
    np.testing.assert_array_equal(part[0], expected[2:5])


def test_a_process_that_dies_costs_one_video_and_is_told(videos, monkeypatch):
    """Of two processes one is killed while it has a batch half sent; the videos behind are decoded by another one."""
    four, processes = [videos[0], videos[2], videos[3], videos[2]], []
    start = prefetch._started
    monkeypatch.setattr(prefetch, "_started", lambda arguments: processes.append(start(arguments)) or processes[-1])
    with batches_of(four, PREPROCESS, batch_size=3, num_processes=2) as of_videos:
        results = taken(of_videos)
        first = next(results)
        processes[1].kill()
        killed, *others = results
    assert killed == f"the process that decoded {videos[2].path} ended with the code -9"
    with batches_of(four, PREPROCESS, batch_size=3, num_processes=0) as of_videos:
        expected = list(taken(of_videos))
    for found, wanted in zip([first, *others], [expected[0], *expected[2:]], strict=True):
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(wanted))
    assert all(process.returncode is not None for process in processes)


@pytest.mark.parametrize("name", [0, 2, 3])
def test_a_part_of_a_video_is_that_part_of_the_whole(videos, name):
    path = videos[name].path
    whole = list(decode.iter_frames(path))
    for start, stop in ((0, 2), (1, 4), (3, len(whole)), (2, None)):
        np.testing.assert_array_equal(list(decode.iter_frames(path, start, stop)), whole[start:stop])
    for start, stop in ((0, len(whole) + 1), (2, 2), (len(whole), None)):
        with pytest.raises(InputError, match=r"are asked for, but .* has 0\.\.\d"):
            list(decode.iter_frames(path, start, stop))


def test_a_part_is_found_also_where_the_times_are_of_no_use(videos, monkeypatch):
    whole = list(decode.iter_frames(videos[0].path))
    original = video_file._seek_frames

    def disagreeing(source, index, numbers):
        for count, frame in enumerate(original(source, index, numbers)):
            if count == 1:
                raise video_file._DisagreementError
            yield frame

    monkeypatch.setattr(video_file, "_seek_frames", disagreeing)
    np.testing.assert_array_equal(list(decode.iter_frames(videos[0].path, 2, 5)), whole[2:5])


@pytest.mark.parametrize("serve", [wait_for_ever, keep_python_busy] if sys.platform == "linux" else [wait_for_ever])
def test_a_process_ends_when_its_parent_does(serve):
    """What the end of the parent is for it: nobody can write to its standard input any more."""
    job = pickle.dumps((sys.path, pickle.dumps((serve, ()))))
    command = [sys.executable, "-P", decoder_process.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(len(job).to_bytes(decoder_process.LENGTH_BYTES, "little") + job)
        process.stdin.flush()
        assert process.stdout.read(1) == b"!"
        time.sleep(0.2)  # until it is at it
        process.stdin.close()
        try:
            assert process.wait(timeout=60) != 0
        finally:
            process.kill()


def test_a_process_whose_parent_ends_while_it_gives_the_job_ends_too():
    command = [sys.executable, "-P", decoder_process.__file__]
    for given in (b"", b"\x10", (100).to_bytes(decoder_process.LENGTH_BYTES, "little") + b"half"):
        assert subprocess.run(command, input=given, capture_output=True, timeout=60).returncode == 1


def test_nothing_outlives_a_killed_process(videos):
    """The decoders have its standard error open: it ends when the last of them does."""
    script = (
        "import sys; from pathlib import Path; from esv_jax.video.prefetch import *\n"
        "with batches_of([Video(Path(p)) for p in sys.argv[1:]], Preprocess(160, 160, (0,) * 3, (1,) * 3), "
        "batch_size=1, num_processes=2) as of_videos:\n"
        "    next(next(of_videos)); print('decoding', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, *(str(videos[i].path) for i in (0, 2, 3))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == b"decoding\n"
        process.kill()
        assert process.communicate(timeout=60) == (b"", b"")


def test_what_the_system_refuses_costs_one_video(videos, monkeypatch):
    def refused(path, start, stop):
        raise PermissionError(13, "Permission denied")

    original = decode.iter_frames
    monkeypatch.setattr(
        decode, "iter_frames", lambda path, *part: (refused if path.suffix == ".avi" else original)(path, *part)
    )
    with batches_of([videos[0], videos[2]], PREPROCESS, batch_size=3, num_processes=0) as of_videos:
        told, read = taken(of_videos)
    assert told == f"{videos[0].path} cannot be read: Permission denied"
    assert [len(batch) for batch in read] == [3, 2]


def test_there_is_a_processor():
    assert prefetch.available_cpus() >= 1

import numpy as np
import pytest
from PIL import Image

from esv_jax.checks import InputError
from esv_jax.video import decode, prefetch, video_file
from esv_jax.video.prefetch import Video, batches_of
from esv_jax.video.preprocess import Preprocess, resize_and_crop
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


def test_there_is_a_processor():
    assert prefetch.available_cpus() >= 1

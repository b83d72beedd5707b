import json
import shutil

import pytest

from tests.experiments.scripts import run_script
from tests.results.pages import LENGTH, index_of, inflated, inline_json, numbers, write_clips, write_store
from tests.video.videos import write_images

UIDS = ["a.mp4", "b", "c/d.mp4"]


@pytest.fixture
def made(tmp_path, capsys, monkeypatch):
    """Runs the script on a store of three videos, whose clips are there."""
    write_store(tmp_path / "s.zarr", UIDS)
    write_clips(tmp_path / "clips", ["a.mp4", "c/d.mp4"])
    write_images(tmp_path / "clips" / "b", [f"{i}.png" for i in range(LENGTH)])

    def run(*given, out="page"):
        return run_script(
            "make_page",
            f"--store={tmp_path / 's.zarr'}",
            f"--out={tmp_path / out}",
            *given,
            capsys=capsys,
            monkeypatch=monkeypatch,
        )

    return run


def test_a_page_of_a_store_and_again(tmp_path, made):
    ran = made(f"--clips={tmp_path / 'clips'}")
    assert ran.exit_code == 0, ran.stderr
    index = tmp_path / "page" / "index.html"
    # A file of values, one of all videos, the index, the script, the style.
    assert ran.stdout == f"wrote {index}: 3 videos, 5 files that are new\n"
    assert made(f"--clips={tmp_path / 'clips'}").stdout == f"wrote {index}: 3 videos, 0 files that are new\n"


def test_columns_of_labels_and_videos_that_are_missing(tmp_path, made):
    (tmp_path / "labels.csv").write_text("path,label,person\na.mp4,x,ann\nc/d.mp4,y,bob\n")
    shutil.rmtree(tmp_path / "clips" / "c")
    ran = made(f"--clips={tmp_path / 'clips'}", f"--labels={tmp_path / 'labels.csv'}")
    assert ran.exit_code == 0
    told = ran.stderr.splitlines()
    assert "1 of 3 videos are shown by their values alone:" in told
    assert f"  c/d.mp4: there is no such video ({tmp_path / 'clips' / 'c' / 'd.mp4'})" in told
    assert f"1 of 3 videos are not in {tmp_path / 'labels.csv'}" in told
    columns = index_of(tmp_path / "page")["columns"]
    assert [column["name"] for column in columns] == ["label", "person"]
    values = columns[1]["values"]
    words = json.loads(inflated(values["words"]))
    assert [words[i] for i in numbers(values["at"])] == ["ann", "", "bob"]


def test_one_file_and_one_number_of_frames(tmp_path, made):
    write_store(tmp_path / "s.zarr", UIDS, 4)
    ran = made("--one_file", "--num_frames=8", out="page.html")
    assert ran.exit_code == 0, ran.stderr
    assert [of["num_frames"] for of in inline_json(tmp_path / "page.html")["index"]["sets"]] == [8]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--clips={folder}/nowhere"], "error: there is no folder of clips {folder}/nowhere\n"),
        (["--features={folder}/f"], "error: --features says which files of --clips are shown: give --clips too\n"),
        (["--clips={folder}/clips", "--features={folder}/f"], "error: there is no feature store {folder}/f"),
        (["--num_frames=4"], "error: {folder}/s.zarr holds values of 8 frames, not of 4\n"),
        (["--one_file"], "error: a page of one file should be called .html, found {folder}/page\n"),
        (
            ["--labels={folder}/labels.csv"],
            "error: {folder}/labels.csv should have a column uid or path or narration_id, found the columns name\n",
        ),
        (
            ["--labels={folder}/others.csv"],
            "error: the columns of labels should be of the videos in {folder}/s.zarr, found none of these, a.mp4, b, c",
        ),
    ],
)
def test_mistakes(tmp_path, made, given, message):
    (tmp_path / "labels.csv").write_text("name\na.mp4\n")
    (tmp_path / "others.csv").write_text("uid,label\nz.mp4,x\n")
    ran = made(*(flag.format(folder=tmp_path) for flag in given))
    assert ran.exit_code == 1
    assert ran.stderr.splitlines(keepends=True)[-1].startswith(message.format(folder=tmp_path))
    assert not (tmp_path / "page").exists()

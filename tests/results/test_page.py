"""What is written of a page, read without a browser; how it looks and behaves is in test_page_in_browser.py."""

import decimal
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from esv_jax import results
from esv_jax.checks import InputError
from esv_jax.results import page, panels
from esv_jax.results.explanation import cells
from esv_jax.results.page import encoding
from esv_jax.video import decode
from tests.results import pages
from tests.results.fakes import fake_explanation, of_players
from tests.results.pages import chunk, index_of, inflated, numbers, write_clips, write_store
from tests.video.videos import number_of, write_images, write_video

UIDS = ["a.mp4", "b/c #1.mp4", "100%.mp4", "é?.mp4", "<script>&\"'.mp4"]


def _rounded(value, decimals):
    """As people round: halves away from zero."""
    exact = decimal.Decimal(float(value))
    return exact.quantize(decimal.Decimal(1).scaleb(-decimals), rounding=decimal.ROUND_HALF_UP)


@given(st.lists(st.floats(-1.625, 1.625, width=32), min_size=1, max_size=50))
def test_values_are_2_5e_5_off_at_most_and_the_same_text_to_four_decimals(values):
    stored = np.array(values, np.float32)
    found = numbers(encoding.coded(stored))
    assert np.abs(found - stored).max() <= 2.5e-5 + 1e-12
    np.testing.assert_array_equal(np.sign(found), np.sign(stored))
    for decimals in (2, 3, 4):
        for one, other in zip(found, stored, strict=True):
            if one > 0:  # of negative ones halves go the other way, which none of these is
                assert _rounded(one, decimals) == _rounded(other, decimals)


def test_values_beyond_the_fixed_point_are_kept_as_they_are():
    stored = np.array([3.5, -1e6, np.nan, np.inf, 1e-30], np.float32)
    found = numbers(encoding.coded(stored))
    np.testing.assert_array_equal(found, [3.5, -1e6, np.nan, np.nan, np.float32(1e-30)])
    within = numbers(encoding.coded(np.array([0.0, np.nan, np.inf, 1.638])))
    np.testing.assert_array_equal(np.isnan(within), [False, True, True, False])
    assert within[0] == 0


@given(st.dictionaries(st.text(max_size=5), st.text()))
def test_no_text_ends_the_script_that_it_stands_in(content):
    text = encoding.inline(content)
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == content


@pytest.mark.parametrize(("sampled", "scale"), [(False, 1.0), (True, 1.0), (False, 30.0)])
def test_every_number_is_that_of_the_store(tmp_path, monkeypatch, sampled, scale):
    monkeypatch.setattr(page.build, "_BYTES_A_CHUNK", 2 * 2 * 8 * 3)  # two videos in a file
    truth = write_store(tmp_path / "s.zarr", UIDS, sampled=sampled, scale=scale)
    made = page.write(tmp_path / "s.zarr", tmp_path / "page")
    assert made.num_videos == 5
    assert made.problems == {}
    dataset = results.open(tmp_path / "s.zarr")
    index = index_of(tmp_path / "page")
    assert index["classes"] == list(pages.CLASSES)
    assert json.loads(inflated(index["uids"])) == UIDS
    (of,) = index["sets"]
    np.testing.assert_array_equal(of["prior"], dataset["prior"].values)
    assert [start for start, _ in of["chunks"]] == [0, 2, 4]
    expected = {name: dataset[name].values for name in ("esv", "score", *(["low", "high"] if sampled else []))}
    expected["supporting"] = np.maximum(truth.esv.astype(np.float64), 0).sum(axis=1)
    if sampled:
        expected["distracting"] = np.minimum(truth.esv.astype(np.float64), 0).sum(axis=1)
    for start, name in of["chunks"]:
        found = chunk(tmp_path / "page", name)
        assert set(found["arrays"]) == set(expected)
        assert [about["frames"] for about in found["videos"]] == dataset["frame_index"].values[
            start : start + 2
        ].tolist()
        for key, stored in expected.items():
            own = stored[start : start + 2]
            np.testing.assert_allclose(numbers(found["arrays"][key]), own.ravel(), rtol=1e-7, atol=2.5e-5 + 1e-9)


def test_the_table_says_what_pandas_says(tmp_path):
    uids = [f"clip {i}" + "x" * (i % 3) for i in range(40)]
    write_store(tmp_path / "s.zarr", uids, sampled=True)
    page.write(tmp_path / "s.zarr", tmp_path / "page", columns={"person": {"clip 0": "ann", "clip 3": "bob"}})
    table = results.frame_table(tmp_path / "s.zarr")
    scores = table.drop_duplicates(["uid", "class"]).pivot(index="uid", columns="class", values="score").loc[uids]
    predicted = scores.astype(float).idxmax(axis=1)
    mine = table[table["class"].astype(str) == table["uid"].astype(str).map(predicted)]
    by_video = mine.astype({"uid": str}).groupby("uid", sort=False)
    expected = pd.DataFrame(
        {
            "predicted": predicted.map(list(pages.CLASSES).index),
            "score": scores.max(axis=1),
            "most": by_video["esv"].max(),
            "most_at": mine.loc[by_video["esv"].idxmax()].set_index("uid")["frame"],
            "least": by_video["esv"].min(),
            "least_at": mine.loc[by_video["esv"].idxmin()].set_index("uid")["frame"],
            "std_error": by_video["std_error"].max(),
        }
    ).loc[uids]
    index = index_of(tmp_path / "page")
    (of,) = index["sets"]
    for name in expected:
        np.testing.assert_allclose(numbers(of[name]), expected[name].to_numpy(np.float64), atol=2.5e-5 + 1e-9)
    strips = numbers(of["strip"]).reshape(40, 8)
    esv = mine["esv"].to_numpy().reshape(40, 8)
    np.testing.assert_array_equal(np.sign(strips), np.sign(esv))
    np.testing.assert_allclose(strips / 127, esv / np.abs(esv).max(axis=1, keepdims=True), atol=1 / 127)
    (column,) = index["columns"]
    words = json.loads(inflated(column["values"]["words"]))
    of_person = [words[i] for i in numbers(column["values"]["at"])]
    assert of_person == ["ann", "", "", "bob", *[""] * 36]


def test_the_overview_has_values_for_the_predicted_class_and_of_mistakes_for_the_true_one(tmp_path):
    uids = [f"{i}" + "x" * (i % 3) for i in range(20)]
    truth = write_store(tmp_path / "s.zarr", uids)
    page.write(tmp_path / "s.zarr", tmp_path / "page")
    (of,) = index_of(tmp_path / "page")["sets"]
    found = chunk(tmp_path / "page", of["of_all"])
    predicted = truth.score.argmax(axis=1)
    wrong = predicted != truth.label
    assert 0 < wrong.sum() < 20
    every = np.arange(20)
    expected = {"predicted": truth.esv[every, :, predicted], "true": truth.esv[every, :, truth.label][wrong]}
    for name, values in expected.items():
        np.testing.assert_allclose(numbers(found[name]), values.ravel(), atol=2.5e-5 + 1e-9)


def test_several_numbers_of_frames_share_the_videos_that_both_have(tmp_path):
    write_store(tmp_path / "s.zarr", UIDS, 4)
    write_store(tmp_path / "s.zarr", UIDS[::-1][:3], 8)
    page.write(tmp_path / "s.zarr", tmp_path / "page")
    index = index_of(tmp_path / "page")
    uids = json.loads(inflated(index["uids"]))
    assert uids == UIDS
    assert [of["num_frames"] for of in index["sets"]] == [4, 8]
    assert [uids[i] for i in numbers(index["sets"][1]["who"])] == UIDS[::-1][:3]
    page.write(tmp_path / "s.zarr", tmp_path / "page", num_frames=[8])
    assert [of["num_frames"] for of in index_of(tmp_path / "page")["sets"]] == [8]
    left = sorted(path.name.split("-")[0] for path in (tmp_path / "page" / "values").iterdir())
    assert left == ["8", "8"]  # what only the page of before needed is gone


# Media


def _cells(picture, about):
    """The frames of a sprite, as large as numbers are drawn."""
    sprite = Image.open(picture).convert("RGB")
    width, height = about["width"], about["height"]
    corners = [(t % about["columns"] * width, t // about["columns"] * height) for t in range(len(about["frames"]))]
    return [sprite.crop((x, y, x + width, y + height)).resize((64, 48)) for x, y in corners]


def _videos(out):
    (of,) = index_of(out)["sets"]
    return [about for _, name in of["chunks"] for about in chunk(out, name)["videos"]]


@pytest.mark.parametrize("num_frames", [8, 40])
def test_sprites_hold_the_frames_that_the_values_are_about(tmp_path, num_frames):
    write_store(tmp_path / "s.zarr", UIDS[:4], num_frames)
    write_clips(tmp_path / "clips", UIDS[:4])
    made = page.write(tmp_path / "s.zarr", tmp_path / "page", clips=tmp_path / "clips")
    assert made.problems == {}
    for about in _videos(tmp_path / "page"):
        found = [number_of(np.asarray(cell)) for cell in _cells(tmp_path / "page" / about["sprite"], about)]
        assert found == about["frames"]
        np.testing.assert_allclose(about["times"], np.array(found) / 25, atol=1e-6)
        np.testing.assert_allclose(about["middles"], (np.array(found) + 0.5) / 25, atol=1e-6)


def test_videos_are_linked_copied_made_small_or_left_out(tmp_path):
    uids = UIDS[1:4]
    write_store(tmp_path / "s.zarr", uids)
    write_clips(tmp_path / "clips", uids)
    out = tmp_path / "page"
    write = lambda videos: page.write(tmp_path / "s.zarr", out, clips=tmp_path / "clips", videos=videos)  # noqa: E731
    write("link")
    assert [about["src"] for about in _videos(out)] == [
        "../clips/b/c%20%231.mp4",
        "../clips/100%25.mp4",
        "../clips/%C3%A9%3F.mp4",
    ]
    write("copy")
    for uid, about in zip(uids, _videos(out), strict=True):
        assert (out / about["src"]).read_bytes() == (tmp_path / "clips" / uid).read_bytes()
    write("preview")
    for about in _videos(out):
        assert about["start"] == 0
        frames = decode.read_frames(out / about["src"], about["frames"])
        assert [number_of(image) for image in frames.images] == about["frames"]
        np.testing.assert_allclose(frames.times, about["times"], atol=5e-4)
    write("none")
    assert not any("src" in about for about in _videos(out))
    assert {path.suffix for path in (out / "media").iterdir()} == {".webp", ".json"}
    with pytest.raises(InputError, match="videos should be one of link, copy, preview, none, found 'all'"):
        write("all")


def test_a_file_that_starts_late_and_folders_of_images(tmp_path):
    uids = ["late.mp4", "images", "stem"]
    write_store(tmp_path / "s.zarr", uids)
    times = 1500 + 40 * np.arange(pages.LENGTH) + np.arange(pages.LENGTH) ** 2
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips" / "late.mp4", "libx264", pages.LENGTH, pts=times)
    write_images(tmp_path / "clips" / "images", [f"{i}.png" for i in range(pages.LENGTH)])
    write_video(tmp_path / "clips" / "stem.webm", "libvpx-vp9", pages.LENGTH)
    made = page.write(tmp_path / "s.zarr", tmp_path / "page", clips=tmp_path / "clips")
    assert made.problems == {}
    late, images, stem = _videos(tmp_path / "page")
    assert late["start"] == 1.5
    np.testing.assert_allclose(late["times"], (times[late["frames"]] - 1500) / 1000, atol=1e-6)
    assert "src" not in images
    assert stem["src"] == "../clips/stem.webm"


def test_videos_that_are_not_there_or_others_are_told_of(tmp_path):
    uids = ["a.mp4", "short.mp4", "twice", "text.mp4", "../a.mp4"]
    write_store(tmp_path / "s.zarr", uids)
    clips = write_clips(tmp_path / "clips", ["twice.mp4", "twice.mkv"])
    write_video(clips / "short.mp4", "libx264", 12)
    (clips / "text.mp4").write_text("no video")
    (tmp_path / "a.mp4").write_bytes((clips / "short.mp4").read_bytes())
    made = page.write(tmp_path / "s.zarr", tmp_path / "page", clips=clips)
    assert made.problems == {
        "a.mp4": f"there is no such video ({clips / 'a.mp4'})",
        "short.mp4": f"frame 37 is asked for, but {clips / 'short.mp4'} has the frames 0..11",
        "twice": f"several files are called so: twice.mkv, twice.mp4 ({clips / 'twice'})",
        "text.mp4": f"{clips / 'text.mp4'} is not a video but a text file, which begins 'no video'",
        "../a.mp4": f"'../a.mp4' is not the name of a file below {clips}",
    }
    assert set(made.problems) == set(uids)
    assert {about.get("problem") for about in _videos(tmp_path / "page")} == set(made.problems.values())
    write_video(clips / "short.mp4", "libx264", 50)
    other = page.write(tmp_path / "s.zarr", tmp_path / "page", clips=clips).problems["short.mp4"]
    assert other.startswith(f"{clips / 'short.mp4'} should have 40 frames, as the store says, found 50")
    unsaid = page.write(tmp_path / "s.zarr", tmp_path / "page", clips=clips, path_of={}).problems
    assert set(unsaid.values()) == {"the features do not say which file it is"}
    named = {uid: "twice.mp4" for uid in uids}
    assert page.write(tmp_path / "s.zarr", tmp_path / "page", clips=clips, path_of=named).problems == {}


def test_a_disk_that_is_full_is_an_error_and_leaves_the_page_that_was_there(tmp_path, monkeypatch):
    write_store(tmp_path / "s.zarr", UIDS[:1])
    write_clips(tmp_path / "clips", UIDS[:1])
    page.write(tmp_path / "s.zarr", tmp_path / "page")
    before = (tmp_path / "page" / "index.html").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page.media, "write_sprite", full)
    with pytest.raises(InputError, match=r"the page .*page cannot be written: No space left on device"):
        page.write(tmp_path / "s.zarr", tmp_path / "page", clips=tmp_path / "clips")
    assert (tmp_path / "page" / "index.html").read_bytes() == before


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="there is no results store"):
        page.write(tmp_path / "s.zarr", tmp_path / "page")
    write_store(tmp_path / "s.zarr", UIDS)
    with pytest.raises(InputError, match="holds values of 8 frames, not of 4"):
        page.write(tmp_path / "s.zarr", tmp_path / "page", num_frames=[4])
    with pytest.raises(InputError, match="there is no folder of clips"):
        page.write(tmp_path / "s.zarr", tmp_path / "page", clips=tmp_path / "clips")
    with pytest.raises(InputError, match=r"a page of one file should be called \.html, found"):
        page.write(tmp_path / "s.zarr", tmp_path / "page", one_file=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the page .* cannot be written"):
        page.write(tmp_path / "s.zarr", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "s.zarr"]


# Again


def _times(out):
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_again_it_makes_only_what_is_new(tmp_path, monkeypatch):
    monkeypatch.setattr(page.build, "_BYTES_A_CHUNK", 2 * 2 * 8 * 3)
    uids, out, clips = [f"{i}.mp4" for i in range(5)], tmp_path / "page", tmp_path / "clips"
    write_store(tmp_path / "s.zarr", uids[:4])
    write_clips(clips, uids)
    page.write(tmp_path / "s.zarr", out, clips=clips)
    first = _times(out)
    assert page.write(tmp_path / "s.zarr", out, clips=clips).num_written == 0
    assert _times(out) == first
    # One clip is another one.
    os.utime(clips / "3.mp4", (1, 1))
    made = page.write(tmp_path / "s.zarr", out, clips=clips)
    changed = {name for name, time_of in _times(out).items() if first.get(name) != time_of}
    gone = set(first) - set(_times(out))
    assert {name.split("/")[0] for name in changed} == {"media", "values", "index.html"}
    assert made.num_written == 2  # a file of values, and the index
    assert sorted(name.split("-")[1] for name in changed | gone if name.startswith("values")) == ["000002", "000002"]
    assert len([name for name in changed if name.startswith("media")]) == 2  # its sprite and what is told of it
    # A store with more videos, in its place.
    second = _times(out)
    write_store(tmp_path / "more.zarr", uids)
    page.write(tmp_path / "more.zarr", out, clips=clips)
    kept = {name for name, time_of in _times(out).items() if second.get(name) == time_of}
    assert len([name for name in kept if name.startswith("values")]) == 2  # videos 0 and 1, 2 and 3
    assert len([name for name in kept if name.startswith("media")]) == 8
    assert len(_videos(out)) == 5


def test_what_is_not_ours_is_left_alone(tmp_path):
    write_store(tmp_path / "s.zarr", UIDS)
    page.write(tmp_path / "s.zarr", tmp_path / "page")
    mine = [tmp_path / "page" / name for name in ("notes.txt", "media/mine.mp4", "values/a.js", "page-of-mine.js")]
    for file in mine:
        file.write_text("mine")
    page.write(tmp_path / "s.zarr", tmp_path / "page")
    assert all(file.read_text() == "mine" for file in mine)


_KILLED = """
import sys
from esv_jax.results import page
page.write(sys.argv[1], sys.argv[2], clips=sys.argv[3], videos="copy")
"""


def test_killed_anywhere_the_next_run_ends_as_one_that_was_not(tmp_path, monkeypatch):
    uids, clips = [f"{i}.mp4" for i in range(12)], tmp_path / "clips"
    write_store(tmp_path / "s.zarr", uids)
    write_clips(clips, uids[:1])
    for uid in uids[1:]:
        (clips / uid).write_bytes((clips / uids[0]).read_bytes())
    page.write(tmp_path / "s.zarr", tmp_path / "whole", clips=clips, videos="copy")
    whole = {name: (tmp_path / "whole" / name).read_bytes() for name in _times(tmp_path / "whole")}
    out = tmp_path / "page"
    out.mkdir()
    (out / "index.html").write_text("before")
    for wait in (0.0, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", _KILLED, tmp_path / "s.zarr", out, clips], stdout=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while not (out / "media").is_dir() or not any((out / "media").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert (out / "index.html").read_text() == "before" or (out / "index.html").read_bytes() == whole["index.html"]
    page.write(tmp_path / "s.zarr", out, clips=clips, videos="copy")
    assert {name: (out / name).read_bytes() for name in _times(out)} == whole


# One file


def test_one_file_holds_everything(tmp_path):
    truth = write_store(tmp_path / "s.zarr", UIDS[:4])
    write_clips(tmp_path / "clips", UIDS[:4])
    file = tmp_path / "page.html"
    made = page.write(tmp_path / "s.zarr", file, clips=tmp_path / "clips", videos="preview", one_file=True)
    assert made.file == file
    found = pages.inline_json(file)
    ((_, name),) = found["index"]["sets"][0]["chunks"]
    esv = numbers(found[name]["arrays"]["esv"])
    np.testing.assert_allclose(esv, truth.esv.ravel(), atol=2.5e-5 + 1e-9)
    for about in found[name]["videos"]:
        assert found[about["sprite"]].startswith("data:image/webp;base64,")
        assert found[about["src"]].startswith("data:video/mp4;base64,")
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("s.zarr", "clips")] == ["page.html"]


def test_it_is_for_few_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(page.build, "MOST_IN_ONE_FILE", 4)
    write_store(tmp_path / "s.zarr", UIDS)
    with pytest.raises(InputError, match="one file is for at most 4 videos, found 5: make a folder"):
        page.write(tmp_path / "s.zarr", tmp_path / "page.html", one_file=True)


@pytest.mark.parametrize("sampled", [False, True])
def test_an_explained_video_is_a_page_too(tmp_path, sampled):
    explained = fake_explanation(6, sampled=sampled)
    pairs = np.random.default_rng(0).normal(0, 0.1, (6, 6, 4))
    about = {"uid": "clip", "num_frames_in_video": 60}
    page.write_one(tmp_path / "page.html", explained, {"command": "a < b"}, pairs=pairs, **about)
    found = pages.inline_json(tmp_path / "page.html")
    (of,) = found["index"]["sets"]
    assert of["about"] == {"command": "a < b"}
    ((_, name),) = of["chunks"]
    expected = {"esv": explained.values, "score": explained.full, "pairs": pairs}
    expected |= {"low": explained.low, "high": explained.high} if sampled else {}
    for key, values in expected.items():
        np.testing.assert_allclose(numbers(found[name]["arrays"][key]), values.ravel(), atol=2.5e-5 + 1e-9)
    (video,) = found[name]["videos"]
    assert video["times"] == explained.times.tolist()
    colours = found["index"]["colours"]
    assert colours == {"supporting": panels.SUPPORTING, "distracting": panels.DISTRACTING}


def test_the_video_stands_in_the_page_that_explains_it_where_it_is_short(tmp_path, monkeypatch):
    clip = write_clips(tmp_path, ["clip.mp4"]) / "clip.mp4"

    def video():
        page.write_one(
            tmp_path / "page.html", fake_explanation(4), {}, uid="a", num_frames_in_video=pages.LENGTH, video=clip
        )
        found = pages.inline_json(tmp_path / "page.html")
        return found, found[found["index"]["sets"][0]["chunks"][0][1]]["videos"][0]

    found, shown = video()
    assert found[shown["src"]].startswith("data:video/mp4;base64,")
    assert shown["middles"] == [0.22, 0.62, 1.02, 1.42]  # of frames 5, 15, 25 and 35 at 25 a second
    monkeypatch.setattr(page.build, "MOST_PLAYED", 39)
    assert "src" not in video()[1]
    monkeypatch.undo()
    clip.write_bytes(b"no film")
    assert "is not a video" in video()[1]["problem"]


def test_of_groups_the_middle_frames_are_shown_and_words_are_none(tmp_path):
    explained = of_players()
    with pytest.raises(InputError, match="a page shows values of frames"):
        page.write_one(tmp_path / "page.html", explained, {}, uid="clip", num_frames_in_video=100)
    shots = explained._replace(
        players=explained.players[:4],
        **{name: getattr(explained, name)[:4] for name in ("values", "std_error", "low", "high")},
    )
    page.write_one(tmp_path / "page.html", shots, {}, uid="clip", num_frames_in_video=100)
    found = pages.inline_json(tmp_path / "page.html")
    (video,) = found[found["index"]["sets"][0]["chunks"][0][1]]["videos"]
    assert video["names"] == ["shot 0", "shot 1", "shot 2", "shot 3"]
    assert video["frames"] == [explained.frames[own[len(own) // 2]] for own in cells(shots)]

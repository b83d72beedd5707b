"""Folders of frames, and EPIC-KITCHENS' actions."""

import struct
import zlib

import numpy as np
from PIL import Image

from esv_jax.data.epic import read_epic_actions, read_epic_clips
from esv_jax.video import decode
from esv_jax.video.frames import NumberInName, Seconds

_PICTURE = Image.new("RGB", (16, 8))


def _read(folder, *names, other=(), start=0, stop=None):
    """Reads a folder of pictures with these names; `other` are files of some text."""
    for name in names:
        _PICTURE.save(folder / name)
    for name in other:
        (folder / name).write_text("no picture")
    list(decode.iter_frames(folder, start, stop))


def an_empty_folder(folder):
    _read(folder)


def a_folder_of_folders(folder):
    for name in ("rgb", "flow_x", "flow_y"):
        (folder / name).mkdir()
    _read(folder)


def a_poster_beside_a_folder_of_frames(folder):
    (folder / "frames").mkdir()
    _read(folder, "poster.jpg")


def rgb_and_flow(folder):
    _read(folder, *(f"{stem}_{i}.png" for stem in ("img", "flow_x", "flow_y") for i in range(3)))


def frames_and_masks_of_the_same_numbers(folder):
    _read(folder, "1.jpg", "2.jpg", "1.png", "2.png")


def a_copy_that_a_file_manager_made(folder):
    _read(folder, "img_1.jpg", "img_2.jpg", "img_2 (1).jpg")


def a_number_written_twice(folder):
    _read(folder, "img_1.jpg", "img_01.jpg")


def two_cameras(folder):
    _read(folder, "cam1_1.png", "cam1_2.png", "cam2_1.png", "cam2_2.png")


def names_without_numbers(folder):
    _read(folder, *(f"{word}.png" for word in ("red", "green", "blue", "black", "white")))


def names_of_hashes(folder):
    _read(folder, "3f2a9c.png", "a41b.png", "77d0e1.png")


def times_of_am_and_pm(folder):
    _read(folder, "12.59.10 PM.png", "01.00.05 PM.png")


def decimals_that_may_be_two_numbers(folder):
    _read(folder, "1.9.png", "1.10.png", "1.11.png")


def frames_of_a_kind_that_is_not_read(folder):
    _read(folder, other=[f"{i}.exr" for i in range(1500)])


def frames_of_a_kind_that_is_not_read_beside_a_poster(folder):
    _read(folder, "poster.jpg", other=["1.heic", "2.heic"])


def a_video_among_its_frames(folder):
    _read(folder, "1.png", "2.png", other=["clip.mp4"])


def a_link_to_nothing(folder):
    (folder / "3.png").symlink_to(folder / "removed.png")
    _read(folder, "1.png", "2.png")


def a_text_called_png(folder):
    _read(folder, "1.png", other=["2.png"])


def an_empty_picture(folder):
    (folder / "2.png").touch()
    _read(folder, "1.png")


def a_picture_that_is_cut(folder):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for suffix in ("jpg", "png", "bmp", "tif", "webp", "ppm"):
        image.save(folder / f"1.{suffix}")
        content = (folder / f"1.{suffix}").read_bytes()
        (folder / f"1.{suffix}").write_bytes(content[: len(content) // 2])
        try:
            _read(folder)
        except ValueError:
            (folder / f"1.{suffix}").unlink()
        else:
            return  # found out by the test
    (folder / "1.gif").write_bytes(b"GIF89a\x10\0\x08\0")
    _read(folder)


def _png(width, height, depth=8):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def a_small_file_of_a_huge_picture(folder):
    (folder / "1.png").write_bytes(_png(2**31 - 1, 2**31 - 1))
    _read(folder)


def a_picture_larger_than_a_frame(folder):
    (folder / "1.png").write_bytes(_png(9000, 9000, depth=1))
    _read(folder)


def pictures_of_two_sizes(folder):
    Image.new("RGB", (8, 16)).save(folder / "3.png")
    _read(folder, "1.png", "2.png")


def a_picture_of_floats(folder):
    Image.new("F", (16, 8)).save(folder / "1.tif")
    _read(folder)


def a_picture_of_integers(folder):
    Image.new("I", (16, 8)).save(folder / "1.tif")
    _read(folder)


def _several(path):
    _PICTURE.save(path, save_all=True, append_images=[Image.new("RGB", (16, 8), "red")])


def an_animation_among_the_frames(folder):
    _several(folder / "2.gif")
    _read(folder, "1.png")


def a_picture_of_many_pages(folder):
    _several(folder / "2.tif")
    _read(folder, "1.png")


def a_program_called_jpg(folder):
    (folder / "1.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 8\n")
    _read(folder)


def a_path_with_a_nul(folder):
    list(decode.iter_frames(f"{folder}\0/frames"))


def a_part_behind_the_end(folder):
    _read(folder, "1.png", "2.png", start=2)


def a_part_before_the_beginning(folder):
    _read(folder, "1.png", "2.png", start=-1)


def a_part_behind_the_last_number(folder):
    _read(folder, "1.png", "2.png", start=NumberInName(2), stop=NumberInName(4))


def a_part_that_is_a_gap(folder):
    _read(folder, "1.png", "9.png", start=NumberInName(4), stop=NumberInName(6))


def a_part_by_numbers_of_names_without_any(folder):
    _read(folder, "0.5.png", "1.5.png", start=NumberInName(1), stop=NumberInName(2))


def a_part_of_a_folder_by_its_time(folder):
    _read(folder, "1.png", "2.png", start=Seconds(0), stop=Seconds(0.04))


def a_part_of_a_file_by_numbers_of_names(folder):
    list(decode.iter_frames(folder / "clip.mp4", NumberInName(1)))


# EPIC-KITCHENS

_TIMED = {"start_timestamp": "00:00:00.14", "stop_timestamp": "00:00:03.37"}
_ACTION = {
    "narration_id": "P01_01_0",
    "participant_id": "P01",
    "video_id": "P01_01",
    "start_frame": "8",
    "stop_frame": "202",
    "verb_class": "0",
    "noun_class": "0",
}


def _actions(folder, rows=1, **changes):
    action = {**_ACTION, **_TIMED, **changes}
    kept = {column: value for column, value in action.items() if value is not None}
    path = folder / "EPIC_100_train.csv"
    path.write_text("\n".join([",".join(kept), *[",".join(kept.values())] * rows]) + "\n")
    return path


def actions_without_frames(folder):
    read_epic_actions(_actions(folder, start_frame=None))


def actions_that_pandas_saved_as_floats(folder):
    read_epic_actions(_actions(folder, start_frame="8.0"))


def actions_that_end_before_they_begin(folder):
    read_epic_actions(_actions(folder, stop_frame="7"))


def actions_whose_times_end_before_they_begin(folder):
    read_epic_actions(_actions(folder, stop_timestamp="00:00:00.10"))


def actions_counted_from_0(folder):
    read_epic_actions(_actions(folder, start_frame="0"))


def an_action_written_twice(folder):
    read_epic_actions(_actions(folder, rows=2))


def no_actions(folder):
    read_epic_actions(_actions(folder, rows=0))


def actions_of_no_video(folder):
    read_epic_actions(_actions(folder, video_id=""))


def actions_whose_numbers_are_endless(folder):
    read_epic_actions(_actions(folder, stop_frame="9" * 5000))


def a_verb_that_is_none(folder):
    read_epic_clips(_actions(folder, verb_class="1"), ("take",), folder, head="verb", split="train")


def actions_in_a_file_without_times(folder):
    (folder / "P01_01.MP4").touch()
    path = _actions(folder, start_timestamp=None, stop_timestamp=None)
    read_epic_clips(path, ("take",), folder, head="verb", split="train")


def actions_in_a_file_with_the_times_of_a_spreadsheet(folder):
    (folder / "P01_01.MP4").touch()
    read_epic_clips(_actions(folder, start_timestamp="17:08.0"), ("take",), folder, head="verb", split="train")

"""What pages are asked to be made of."""

from esv_jax.results import page
from tests.results.fakes import of_players
from tests.results.stores import write

_LENGTHS = {"a": 4, "b": 2, "c": 9}


def _page(folder, out="page", **asked):
    write(folder / "s.zarr", _LENGTHS)
    page.write(folder / "s.zarr", folder / out, **asked)


def no_store(folder):
    page.write(folder / "nowhere", folder / "page")


def a_folder_of_clips_that_is_none(folder):
    _page(folder, clips=folder / "clips")


def a_number_of_frames_that_the_store_has_not(folder):
    _page(folder, num_frames=[2, 8])


def a_way_to_play_videos_that_there_is_not(folder):
    _page(folder, videos="stream")


def one_file_that_is_a_folder(folder):
    _page(folder, one_file=True)


def a_file_where_the_folder_is_to_be(folder):
    (folder / "page").write_text("mine")
    _page(folder)


def columns_of_other_videos(folder):
    _page(folder, columns={"person": {"z": "ann"}})


def words_in_place_of_frames(folder):
    page.write_one(folder / "page.html", of_players(), {}, uid="a", num_frames_in_video=100)

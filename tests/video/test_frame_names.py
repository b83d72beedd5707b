import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esv_jax.checks import InputError
from esv_jax.video.frame_names import frames_among


def order(names):
    """As found from a shuffled list."""
    return frames_among(sorted(names, key=lambda name: name[::-1]), "F")


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["f1.png", "f2.bmp", "F3.PNG", "f10.png", "f20.jpg", "f100.jpeg"], [1, 2, 3, 10, 20, 100]),
        (["frame (1).jpg", "frame (2).jpg", "frame (10).jpg"], [1, 2, 10]),
        ([f"frame_{i:010d}.jpg" for i in (8, 9, 12, 100)], [8, 9, 12, 100]),
        (["cam2_0001.png", "cam2_0002.png", "cam2_0010.png"], [1, 2, 10]),
        (["001_of_300.png", "002_of_300.png"], [1, 2]),
        (["frame_9999999999999999999999.png", "frame_10000000000000000000000.png"], [10**22 - 1, 10**22]),
        # Times have no frame numbers.
        (["0.5.png", "1.png", "2.25.png", "2.5.png", "10.25.png"], None),
        (["t 0,25.png", "t 0,5.png"], None),
        (["2024-01-05 12.30.45.png", "2024-01-05 12.31.02.png", "2024-02-01 00.00.00.png"], None),
        (["IMG_20231231_235959.jpg", "IMG_20240101_000001.jpg"], None),
        (["2024-01-05T23:59:59.png", "2024-01-06T00:00:01.png"], None),
        (["PXL_20240105_123045120.jpg", "PXL_20240105_123045900.jpg"], None),
        (["snap-2024-01-05-12h59m59s123.png", "snap-2024-01-05-13h00m01s005.png"], None),
        (["00-00-59.5.png", "00-01-02.25.png", "00-01-02.5.png"], None),
        (["5.0.png", "5.04.png", "5.08.png", "5.12.png"], None),
        (["0.25.png", "0.5.png", "0.75.png", "1.0.png"], None),
        # A date and a number, which looks like a time up to 59.
        (["20240105_000058.jpg", "20240105_000059.jpg", "20240105_000060.jpg"], [58, 59, 60]),
        (["cam-01-02-09.jpg", "cam-01-02-59.jpg", "cam-01-02-60.jpg"], [9, 59, 60]),
        # The frame's number and its time.
        (["1_0.033.png", "2_0.067.png", "10_0.333.png"], None),
        (["5_900.png", "9_1000.png"], None),
        (["anything.png"], None),
        (["frame_8.png"], [8]),
        (["0.5.png"], None),
        (["cam2_0001.png"], None),
    ],
)
def test_what_varies_is_the_number(names, numbers):
    assert order(names) == (names, numbers)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(0, 10**9), min_size=2, max_size=30, unique=True),
    st.integers(0, 12),
    st.sampled_from(["", "img_", "Img ", "cam2_", "v1-"]),
    st.sampled_from(["", "_rgb", ")", "_x3"]),
)
def test_any_numbering_is_found_again(numbers, digits, before, after):
    name_of = {number: f"{before}{number:0{digits}d}{after}.png" for number in numbers}
    assert order(name_of.values()) == ([name_of[number] for number in sorted(numbers)], sorted(numbers))


@pytest.mark.parametrize(
    ("aside", "frames"),
    [("poster.jpg", ["1.webp", "2.webp"]), ("thumb.png", ["img_1.jpg", "img_2.jpg", "img_3.jpg"])],
)
def test_a_picture_without_a_number_beside_a_sequence_is_none_of_it(aside, frames):
    assert order([aside, *frames]).names == frames


KINDS = r"should hold the pictures of one video, found several kinds of names \({}\)"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"{stem}_{i}.jpg" for stem in ("img", "flow_x", "flow_y") for i in (1, 2)], "flow_x_#, flow_y_#, img_#"),
        ([f"{stem}1.jpg" for stem in "abcde"], "a#, b#, c# and 2 more"),
        (["1.jpg", "1_mask.png", "2.jpg", "2_mask.png"], "#, #_mask"),
        (["img_1.jpg", "img_2.jpg", "img_2 (1).jpg"], r"img_#, img_# \(#\)"),
        (["img_1.jpg", "img_2.jpg", "img_2 - Copy.jpg"], "img_#, img_# - copy"),
        (["frame.png", "frame (1).png", "frame (2).png"], r"frame \(#\), frame.png"),
        (["frame_1.png", "mask.png"], "frame_#, mask.png"),
        (["1.png", "2.png", "a.png", "b.png"], "#, a.png, b.png"),
        (["2024-01-05 12.30.45.png", "2024-01-05 12.png"], r"#, #-#-# #"),
    ],
)
def test_several_kinds_of_names_are_told(names, message):
    with pytest.raises(InputError, match="F " + KINDS.format(message)):
        order(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.png", "b.png"], r"the pictures of F have no numbers in their names \(a.png, b.png\)"),
        (["img_1.jpg", "img_01.jpg"], "found two with the same number: img_01.jpg, img_1.jpg"),
        (["1.png", "1.jpg", "2.png"], "found two with the same number: 1.jpg, 1.png"),
        (["0.5.png", "0.50.png"], r"found two with the same number: 0\.5\.png, 0\.50\.png"),
        (["cam1_1.png", "cam1_2.png", "cam2_1.png", "cam2_2.png"], r"several numbers vary \(cam1_1.png, cam1_2.png,"),
        (["1_9.png", "2_8.png"], "several numbers vary"),
        (["1.9.png", "1.11.png", "1.10.png"], r"names such as 1\.10: whether"),
        (["v1.1.png", "v1.9.png", "v1.10.png", "v1.11.png"], r"names such as 1\.10: whether"),
        ([f"v1.{i}.png" for i in range(1, 105, 2)], r"names such as 1\.99: whether"),
        (["2024-01-05 12.30.45.png", "12.png"], "should have numbers or times in their names, found both"),
        (["Shot 2024-01-05 at 12.59.10 PM.png", "Shot 2024-01-05 at 01.00.05 PM.png"], "found AM or PM"),
        (["Shot 2024-01-05 at 12.59.10 PM.png", "Shot 2024-01-05 at 1.00.05 PM.png"], "found AM or PM"),
    ],
)
def test_an_order_that_cannot_be_known_is_told(names, message):
    with pytest.raises(InputError, match=message):
        order(names)

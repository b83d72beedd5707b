from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esv_jax.checks import InputError
from esv_jax.data.play_fair_features import open_features
from esv_jax.video.frame_sampling import segment_centres

GOLDEN = Path(__file__).parent.parent / "golden" / "play_fair"

# Recorded from the authors' code (Play Fair): (frames in the video, frames asked for, indices).
RECORDED = [
    (33, 1, [16]),
    (3, 1, [1]),
    (20, 1, [10]),
    (19, 4, [2, 7, 11, 16]),
    (10, 4, [1, 3, 6, 8]),
    (37, 4, [4, 13, 23, 32]),
    (12, 4, [1, 4, 7, 10]),
    (10, 6, [0, 2, 4, 5, 7, 9]),
    (20, 6, [1, 5, 8, 11, 15, 18]),
    (33, 6, [2, 8, 13, 19, 24, 30]),
    (9, 8, [0, 1, 2, 3, 5, 6, 7, 8]),
    (16, 8, [1, 3, 5, 7, 9, 11, 13, 15]),
    (37, 8, [2, 6, 11, 16, 20, 25, 30, 34]),
    (34, 8, [2, 6, 10, 14, 19, 23, 27, 31]),
    (28, 10, [1, 4, 7, 9, 12, 15, 18, 20, 23, 26]),  # in exact arithmetic the eighth is 21
]


@pytest.mark.parametrize(("length", "num_frames", "expected"), RECORDED)
def test_agrees_with_the_authors(length, num_frames, expected):
    assert segment_centres(length, num_frames).tolist() == expected


def test_agrees_with_the_frames_recorded_with_the_authors_values():
    clips = {clip.uid: clip for clip in open_features(GOLDEN / "features.hdf").clips}
    with np.load(GOLDEN / "expected_esvs.npz") as recorded:
        names = [name for name in recorded.files if name.endswith("_idx")]
        assert len(names) == 45
        for name in names:
            num_frames, uid, _ = name.removeprefix("n").split("_")
            np.testing.assert_array_equal(segment_centres(clips[uid].num_frames, int(num_frames)), recorded[name])


def literally(length, num_frames):
    """The authors' expression in Python's floats, which are float64."""
    return [floor(i * (length / num_frames) + (length / num_frames) / 2) for i in range(num_frames)]


def test_is_the_definition_for_every_short_video():
    for length in range(1, 401):
        for num_frames in range(1, min(length, 64) + 1):
            assert segment_centres(length, num_frames).tolist() == literally(length, num_frames)


@given(st.integers(1, 10**6), st.integers(1, 300))
def test_is_the_definition_for_long_videos(length, num_frames):
    if num_frames > length:
        with pytest.raises(InputError, match=f"num_frames is {num_frames}, but the video has only {length} frames"):
            segment_centres(length, num_frames)
        return
    found = segment_centres(length, num_frames)
    assert found.dtype == np.int64
    assert found.tolist() == literally(length, num_frames)
    assert (np.diff(found) > 0).all()
    assert found[-1] < length


@pytest.mark.parametrize(("length", "num_frames"), [(0, 1), (8, 0), (8, -1), (8, 2.0), (8, True)])
def test_what_is_no_positive_integer_is_refused(length, num_frames):
    with pytest.raises(InputError, match="should be an integer of at least 1"):
        segment_centres(length, num_frames)

"""What a model is shown, against loops over coalitions and frames."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from esv_jax import InputError, removals

T = 7
RNG = np.random.default_rng(0)
FRAMES = RNG.normal(size=(T, 5, 6, 2)).astype(np.float32)
MASK = np.concatenate([np.eye(T, dtype=bool), ~np.eye(T, dtype=bool), RNG.random((20, T)) < 0.4, np.ones((1, T), bool)])
MASK = MASK[MASK.any(axis=1)]
OTHERS = RNG.normal(size=(3, *FRAMES.shape)).astype(np.float32)


def kept(row):
    return np.flatnonzero(row).tolist()


def nearest(row):
    return [FRAMES[min(kept(row), key=lambda i: (abs(i - t), i))] for t in range(T)]


def freeze(row):
    return [FRAMES[max([i for i in kept(row) if i <= t], default=kept(row)[0])] for t in range(T)]


def resample(row):
    return [FRAMES[kept(row)[int(t * len(kept(row)) / T)]] for t in range(T)]


def filled(fill):
    return lambda row: [FRAMES[t] if row[t] else fill(t) for t in range(T)]


def noise(t):
    drawn = np.random.default_rng(0).normal(FRAMES.mean(), FRAMES.std(), FRAMES.shape)
    return drawn[t]


@pytest.mark.parametrize(
    ("removal", "oracle"),
    [
        ("nearest", nearest),
        ("freeze", freeze),
        ("resample", resample),
        ("mean", filled(lambda t: FRAMES.mean(axis=0))),
        (removals.mean(OTHERS[0, 0]), filled(lambda t: OTHERS[0, 0])),
        ("zero", filled(lambda t: 0 * FRAMES[0])),
        ("blur", filled(lambda t: gaussian_filter(FRAMES[t], [10, 10, 0], mode="nearest"))),
        ("noise", filled(noise)),
    ],
    ids=["nearest", "freeze", "resample", "mean", "mean of others", "zero", "blur", "noise"],
)
def test_clips_are_those_of_a_loop(removal, oracle):
    clips = removals.made(removal).show(FRAMES)(MASK)
    assert clips.dtype == FRAMES.dtype
    np.testing.assert_allclose(clips, np.array([oracle(row) for row in MASK]), atol=1e-5)


def test_delete_keeps_order():
    mask = MASK[MASK.sum(axis=1) == 3]
    assert len(mask) > 2
    clips = removals.delete().show(FRAMES)(mask)
    np.testing.assert_array_equal(clips, [[FRAMES[i] for i in kept(row)] for row in mask])


def test_other_videos_take_turns():
    removal = removals.other_videos(OTHERS)
    clips = removal.show(FRAMES)(MASK)
    assert removal.draws == 3
    expected = [[FRAMES[t] if row[t] else other[t] for t in range(T)] for row in MASK for other in OTHERS]
    np.testing.assert_array_equal(clips, expected)


def test_whole_numbers_stay_such():
    frames = np.array([[0], [255], [254]], np.uint8)
    clips = removals.mean().show(frames)(np.array([[True, False, False]]))
    assert clips.dtype == np.uint8
    np.testing.assert_array_equal(clips[0, :, 0], [0, 170, 170])
    assert removals.noise().show(frames)(np.zeros((1, 3), bool)).dtype == np.uint8


@pytest.mark.parametrize("name", ["nearest", "freeze", "resample"])
def test_nobody_is_refused_where_no_frame_is_left(name):
    with pytest.raises(InputError, match="a coalition of nobody has no frame"):
        removals.made(name).show(FRAMES)(np.zeros((1, T), bool))


@pytest.mark.parametrize("name", ["mean", "zero", "blur", "noise"])
def test_nobody_is_a_clip_where_frames_are_filled_in(name):
    removal = removals.made(name)
    assert removal.of_nobody
    assert np.isfinite(removal.show(FRAMES)(np.zeros((1, T), bool))).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: removals.made("nearst"), r"removal should be one of delete, nearest, .*, found 'nearst'"),
        (lambda: removals.made(3), "removal should be one of .*, found 3"),
        (lambda: removals.blur(sigma=0), "sigma should be positive, found 0"),
        (
            lambda: removals.blur().show(FRAMES[:, 0, 0]),
            r"blur needs frames with the axes \(1, 2\), found \[7, 2\]",
        ),
        (
            lambda: removals.other_videos(np.zeros(3)),
            r"videos should have shape \[K, T, ...\], at least one, found \[3\]",
        ),
        (
            lambda: removals.other_videos(OTHERS[:, 1:]).show(FRAMES)(MASK),
            r"videos should have shape \[3, 7, 5, 6, 2\]",
        ),
    ],
)
def test_mistakes_are_told(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()

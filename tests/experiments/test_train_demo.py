import numpy as np
import pytest

from esv_jax.procedural import scripts
from esv_jax.procedural.motions import OPACITY, SIZE, X, Y
from esv_jax.training.heads import Clips
from tests.experiments.scripts import imported

CLASSES = tuple(sorted(scripts.CLASS_NAMES))


@pytest.fixture(scope="module")
def train_demo():
    with imported("train_demo") as module:
        yield module


def number(name):
    return CLASSES.index(name)


def test_opposites_are_what_the_scripts_show(train_demo):
    """Read off the poses: a mirrored or reversed clip of a class is one of the class that is named."""

    def signature(poses):
        change = poses[-1] - poses[0]
        return np.sign(np.round(change, 6))[[X, Y, SIZE, OPACITY]]

    beside, back = train_demo._opposites(CLASSES)
    of_class = {}
    for i, name in enumerate(scripts.CLASS_NAMES[:8]):
        one = scripts.script_of(0, i)
        of_class[number(name)] = one.poses[:, one.first_thing]
    strongest = {"left": 0, "right": 0, "up": 1, "down": 1}
    for c, poses in of_class.items():
        column = strongest.get(CLASSES[c].split()[-1])
        mirrored = poses * np.array([-1, 1, 1, -1, 1]) + np.array([1, 0, 0, 0, 0])
        for found, expected in ((beside[c], mirrored), (back[c], poses[::-1])):
            theirs, ours = signature(of_class[int(found)]), signature(expected)
            assert theirs[column] == ours[column] if column is not None else np.array_equal(theirs[2:], ours[2:])
    np.testing.assert_array_equal(back[back[back >= 0]], np.flatnonzero(back >= 0))
    assert [CLASSES[c] for c in np.flatnonzero(back < 0)] == ["Something falling like a rock"]
    np.testing.assert_array_equal(beside[beside], np.arange(len(CLASSES)))


def test_augmented_clips(train_demo):
    left, right, fall = (
        number(n) for n in ("Moving something left", "Moving something right", "Something falling like a rock")
    )
    rows = np.arange(7, dtype=np.float32)[:, None]
    clips = Clips(rows, np.array([0, 4], np.int32), np.array([4, 3], np.int32), np.array([left, fall], np.int32))
    found = train_demo._augmented(clips, rows + 10, CLASSES)
    pieces = [found.rows[o : o + n, 0].tolist() for o, n in zip(found.offset, found.length, strict=True)]
    assert list(zip(pieces, found.label.tolist(), strict=True)) == [
        ([0, 1, 2, 3], left),
        ([4, 5, 6], fall),
        ([3, 2, 1, 0], right),
        ([4, 5, 6], fall),
        ([10, 11, 12, 13], right),
        ([14, 15, 16], fall),
        ([13, 12, 11, 10], left),
        ([14, 15, 16], fall),
    ]


def test_maps_show_where_things_are_drawn(train_demo, tmp_path):
    (tmp_path / "set.json").write_text('{"seed": 0}')
    lefts = (scripts.script_of(0, lap * len(CLASSES)) for lap in range(20))
    one = next(one for one in lefts if len(one.things) == 1)
    clip = train_demo.annotations.LabelledClip(
        "0", tmp_path / f"{one.number:06d}.webm", "Moving something left", "test"
    )
    maps = train_demo._maps(tmp_path, [clip])
    assert maps.shape == (len(one.poses), 66)
    cells = maps[:, :64].reshape(-1, 8, 8).astype(float)
    for poses, cell in zip(one.poses, cells, strict=True):
        expected = poses[one.first_thing, :2]
        weights = cell / cell.sum()
        centres = (np.arange(8) + 0.5) / 8
        np.testing.assert_allclose(weights.sum(axis=0) @ centres, expected[0], atol=0.06)
        np.testing.assert_allclose(weights.sum(axis=1) @ centres, expected[1], atol=0.06)
    mirrored = train_demo._mirrored_map(maps[None].astype(np.float32))[0]
    np.testing.assert_array_equal(mirrored[:, :64].reshape(-1, 8, 8)[:, :, ::-1], cells.astype(np.float32))
    np.testing.assert_array_equal(mirrored[:, 64:], maps[:, 64:] * np.array([1, -1], np.float16))

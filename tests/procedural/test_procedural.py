import csv
import json
from collections import Counter

import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.data import annotations
from esv_jax.procedural import drawing, files, scripts
from esv_jax.procedural.motions import ANGLE, OPACITY, SIZE, X, Y
from esv_jax.video import decode

NUM_CLASSES = len(scripts.ACTIONS)
INDICES = range(10 * NUM_CLASSES)
SCRIPTS = [scripts.script_of(0, index) for index in INDICES]


def acting(script):
    """Poses [n, things, 5] of the things that take part in the action."""
    return script.poses[:, script.first_thing : script.first_thing + script.num_placeholders]


def gap(script):
    """Distance of the centres of the action's two things, [n]."""
    poses = acting(script)
    return np.hypot(poses[:, 0, X] - poses[:, 1, X], poses[:, 0, Y] - poses[:, 1, Y])


def share_of_change(values):
    """How far [n] a monotone change has come, from its ends alone."""
    return (values - values[0]) / (values[-1] - values[0])


def of_class(name):
    return [script for script in SCRIPTS if scripts.CLASS_NAMES[script.class_index] == name]


@pytest.mark.parametrize("pair", scripts.ORDER_PAIRS)
def test_the_classes_of_a_pair_show_the_same_frames_in_reverse(pair):
    for seed in range(12):
        forth, back = (scripts.random_script(c, np.random.default_rng(seed)) for c in pair)
        assert forth.things == back.things
        assert forth.look == back.look
        for name in ("poses", "camera", "light"):
            np.testing.assert_array_equal(getattr(forth, name), getattr(back, name)[::-1])
        n = len(forth.poses)
        np.testing.assert_array_equal(forth.evidence, n - 1 - back.evidence[::-1])
        assert forth.action == (n - back.action[1], n - back.action[0])


def test_reversed_scripts_are_drawn_alike():
    forth, back = (list(drawing.frames(scripts.random_script(c, np.random.default_rng(5)))) for c in (0, 1))
    blocks = [np.stack(f).reshape(len(f), 28, 4, 28, 4, 3).mean(axis=(2, 4)) for f in (forth, back[::-1])]
    assert np.abs(blocks[0] - blocks[1]).max() < 3  # the grain, which no two frames share
    assert np.abs(blocks[0] - blocks[1][::-1]).max() > 30


@pytest.mark.parametrize(("pair", "column"), [((0, 1), X), ((2, 3), Y), ((4, 5), SIZE), ((6, 7), OPACITY)])
def test_single_frames_are_distributed_alike_within_a_pair(pair, column):
    """Clips of different random numbers: quantiles over all frames, which a leak would move."""
    quantiles = []
    for class_index in pair:
        drawn = [scripts.script_of(3, lap * NUM_CLASSES + class_index) for lap in range(400)]
        quantiles.append(
            np.quantile(np.concatenate([acting(script)[:, 0, column] for script in drawn]), np.arange(1, 10) / 10)
        )
    np.testing.assert_allclose(*quantiles, atol=0.06 if column != OPACITY else 0.15)


def test_what_decides_each_class_happens():
    def ends(values):
        return values[-1] - values[0]

    decided = {
        "Moving something left": lambda p: ends(p[:, 0, X]) < -0.38,
        "Moving something right": lambda p: ends(p[:, 0, X]) > 0.38,
        "Moving something up": lambda p: ends(p[:, 0, Y]) < -0.38,
        "Moving something down": lambda p: ends(p[:, 0, Y]) > 0.38,
        "Moving something towards the camera": lambda p: p[-1, 0, SIZE] > 2 * p[0, 0, SIZE],
        "Moving something away from the camera": lambda p: p[0, 0, SIZE] > 2 * p[-1, 0, SIZE],
        "Something appearing": lambda p: (p[0, 0, OPACITY], p[-1, 0, OPACITY]) == (0, 1),
        "Something disappearing": lambda p: (p[0, 0, OPACITY], p[-1, 0, OPACITY]) == (1, 0),
        "Something falling like a rock": lambda p: ends(p[:, 0, Y]) > 0.45 and np.diff(p[:, 0, Y]).max() > 0.08,
        "Turning something upside down": lambda p: np.isclose(abs(ends(p[:, 0, ANGLE])), np.pi),
        "Moving something and putting it back": lambda p: (
            np.allclose(p[0], p[-1]) and np.hypot(*(p[:, 0, :2] - p[0, 0, :2]).T).max() > 0.35
        ),
        "Something not moving": lambda p: np.ptp(p, axis=0).max() == 0,
    }
    for name, happens in decided.items():
        assert all(happens(acting(script)) for script in of_class(name)), name
    touch = {"closer to each other": -1, "away from each other": 0}
    for end, when in touch.items():
        for script in of_class(f"Moving something and something {end}"):
            sizes = acting(script)[0, :, SIZE].sum()
            assert gap(script)[when] == pytest.approx(sizes)
            assert gap(script)[-1 - when] > 2 * sizes
    for script in of_class("Moving something and something so they collide"):
        assert np.argmin(gap(script)) not in (0, len(script.poses) - 1)
        assert gap(script)[0] == gap(script)[-1] > 1.9 * gap(script).min()
    for name, when in (("Covering something with something", -1), ("Uncovering something by taking away something", 0)):
        for script in of_class(name):
            thing, cover = acting(script)[when]
            np.testing.assert_allclose(thing[:2], cover[:2], atol=1e-12)
            assert cover[SIZE] >= 1.4 * thing[SIZE]
            away = acting(script)[-1 - when, 1]
            assert max(np.abs(away[:2] - 0.5)) > 0.5 + 0.8 * away[SIZE]  # out of the picture
    assert len(decided) + 5 == NUM_CLASSES


def test_nothing_of_the_action_happens_outside_its_frames():
    for script in SCRIPTS:
        first, after = script.action
        if scripts.CLASS_NAMES[script.class_index] == "Something not moving":
            assert (first, after) == (0, len(script.poses))
            continue
        poses = acting(script)
        assert 1 <= first < after <= len(poses) - 1
        assert np.ptp(poses[:first], axis=0).max() < 1e-12
        assert np.ptp(poses[after:], axis=0).max() < 1e-12
        steps = np.abs(np.diff(poses[first - 1 : after + 1], axis=0)).max(axis=(1, 2))
        assert (steps < 1e-12).sum() <= 1  # where things turn back between two frames


@pytest.mark.parametrize(
    ("name", "column"),
    [("Moving something left", X), ("Moving something down", Y), ("Something disappearing", OPACITY)],
)
def test_evidence_is_the_frames_in_which_the_change_is_under_way(name, column):
    for script in of_class(name):
        done = share_of_change(acting(script)[:, 0, column]).round(9)
        np.testing.assert_array_equal(script.evidence, np.flatnonzero((done > 0.05) & (done < 0.95)))


def test_evidence_of_the_other_classes():
    for script in SCRIPTS:
        assert len(script.evidence) >= 2
        assert np.all(np.diff(script.evidence) > 0)
        assert script.action[0] <= script.evidence[0] <= script.evidence[-1] < script.action[1]
    for script in of_class("Something not moving"):
        np.testing.assert_array_equal(script.evidence, np.arange(len(script.poses)))
    for script in of_class("Moving something and something so they collide"):
        assert np.argmin(gap(script)) in script.evidence
    for script in of_class("Covering something with something"):  # the two overlap, or nearly, in every frame of it
        reach = acting(script)[0, :, SIZE].sum()
        assert np.all(gap(script)[script.evidence] < reach)
        assert np.all(gap(script)[: script.evidence[0] - 1] > 0.9 * reach)


def test_a_clip_depends_on_seed_and_index_alone():
    again = scripts.script_of(0, 25)
    for name, value in SCRIPTS[25]._asdict().items():
        np.testing.assert_array_equal(value, getattr(again, name))
    other = scripts.script_of(1, 25)
    assert other.look != again.look
    assert other.class_index == again.class_index == 25 % NUM_CLASSES


def test_splits_classes_and_variety():
    assert Counter((script.class_index, script.split) for script in SCRIPTS) == {
        (c, split): count for c in range(NUM_CLASSES) for split, count in (("test", 1), ("validation", 1), ("train", 8))
    }
    assert all(script.split == "test" for script in SCRIPTS[:NUM_CLASSES])
    assert {len(script.poses) for script in SCRIPTS} <= set(range(28, 61))
    things = [thing for script in SCRIPTS for thing in script.things]
    assert {t.shape for t in things} == set(scripts.SHAPES)
    assert {t.colour for t in things} == set(scripts.COLOURS)
    for irrelevant in ("light", "camera"):
        still = [np.ptp(getattr(script, irrelevant), axis=0).max() == 0 for script in SCRIPTS]
        assert 0.2 < np.mean(still) < 0.7
    extra = [len(script.things) - script.num_placeholders for script in SCRIPTS]
    assert set(extra) == {0, 1, 2}


def test_labels_name_the_things_of_the_action():
    for script in SCRIPTS:
        text, names = scripts.label(script)
        template = scripts.ACTIONS[script.class_index].template
        assert len(names) == template.lower().count("[something]") == script.num_placeholders
        assert all(name in text for name in names)
        assert "[" not in text
        assert len({name.split()[-2] for name in names}) == len(names)  # told apart by colour


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(seed, index):
    with pytest.raises(InputError, match=f"found seed {seed} and index {index}"):
        scripts.script_of(seed, index)


def test_things_are_drawn_where_the_script_says():
    script = of_class("Something disappearing")[1]
    pose = np.asarray([[0.3, 0.7, 0.15, 0.0, 1.0]])
    still = script._replace(
        things=(scripts.Thing("ball", "red", "plain"),),
        poses=np.stack([pose, pose * [1, 1, 1, 1, 0], np.add(pose, [0.3, -0.4, 0, 0, 0])]),
        camera=np.zeros((3, 2)),
        light=np.ones(3),
    )
    there, gone, elsewhere = (frame.astype(int) for frame in drawing.frames(still))
    assert there.shape == (drawing.SIDE, drawing.SIDE, 3)
    changed = np.abs(there - gone).max(axis=2) > 40
    rows, columns = np.nonzero(changed)
    assert np.mean(columns) / 112 == pytest.approx(0.3, abs=0.02)
    assert np.mean(rows) / 112 == pytest.approx(0.7, abs=0.02)
    assert np.ptp(columns) / 112 == pytest.approx(0.3, abs=0.06)
    red, green, blue = there[78, 34]
    assert red > 150 > 100 > max(green, blue)
    assert np.abs(elsewhere[34, 67] - there[78, 34]).max() < 15


def test_files_hold_the_frames_that_were_drawn(tmp_path):
    files.start(tmp_path, 0)
    files.write_clip(tmp_path, 0, 5)
    path = files.video_path(tmp_path, 5)
    drawn = np.stack(list(drawing.frames(SCRIPTS[5])))
    read = np.stack(list(decode.iter_frames(path)))
    assert read.shape == drawn.shape
    assert np.abs(read.astype(int) - drawn).mean() < 4
    assert decode.read_frames(path, [0, scripts.FPS]).times == pytest.approx([0, 1], abs=1e-3)
    written = path.read_bytes()
    files.write_clip(tmp_path, 0, 5)
    assert path.read_bytes() == written
    assert len(written) < 40_000


def test_annotations_are_read_back(tmp_path):
    files.start(tmp_path, 0)
    indices = (0, NUM_CLASSES + 3, 2 * NUM_CLASSES + 8, 3 * NUM_CLASSES + 16)
    for index in indices:
        files.video_path(tmp_path, index).write_bytes(b"")
    assert files.write_annotations(tmp_path, 0) == 4
    clips = annotations.read_labels_csv(tmp_path / "labels.csv")
    assert [clip.split for clip in clips] == ["test", "validation", "train", "train"]
    assert [clip.label for clip in clips] == [scripts.CLASS_NAMES[i % NUM_CLASSES] for i in indices]
    assert all(clip.path.exists() for clip in clips)
    classes = annotations.read_class_names(tmp_path / "labels.json")
    assert classes == scripts.CLASS_NAMES
    training = annotations.read_ssv2_entries(tmp_path / "train.json", classes, tmp_path / "videos", split="train")
    assert [(clip.path, clip.label) for clip in training] == [(clip.path, clip.label) for clip in clips[2:]]
    evidence = json.loads((tmp_path / "evidence.json").read_text())
    for index in indices:
        script, found = SCRIPTS[index], evidence[f"{index:06d}"]
        assert found["evidence"] == script.evidence.tolist()
        assert found["action"] == [script.action[0], script.action[1] - 1]
        assert found["num_frames"] == len(script.poses)
    with open(tmp_path / "labels.csv", newline="") as file:
        assert next(csv.reader(file)) == ["path", "label", "split"]


def test_a_folder_holds_one_set_only(tmp_path):
    files.start(tmp_path, 0)
    files.start(tmp_path, 0)
    with pytest.raises(InputError, match="holds clips of the set"):
        files.start(tmp_path, 1)
    (tmp_path / "set.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as json"):
        files.start(tmp_path, 0)

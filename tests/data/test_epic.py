import pytest

from esv_jax.checks import InputError
from esv_jax.data.annotations import read_class_names
from esv_jax.data.epic import epic_clips, read_epic_actions
from esv_jax.data.label_files import read_labelled_clips

# As EPIC_100_train.csv has them, with fewer columns.
COLUMNS = "narration_id,participant_id,video_id,start_frame,stop_frame,narration,verb,verb_class,noun,noun_class"
LINES = [
    "P01_01_0,P01,P01_01,8,202,open door,open,3,door,2",
    'P01_01_1,P01,P01_01,262,370,"turn on, light",turn-on,0,light,1',
    "P02_03_7,P02,P02_03,1,1,take plate,take,0,plate,2",
]
VERBS, NOUNS = ("take", "put", "wash", "open"), ("knife", "light", "door")


def write(tmp_path, lines=LINES, columns=COLUMNS):
    path = tmp_path / "EPIC_100_train.csv"
    path.write_text("\n".join([columns, *lines]) + "\n")
    return path


def test_actions_are_parts_of_videos_counted_from_0(tmp_path):
    actions = read_epic_actions(write(tmp_path))
    assert actions[0] == ("P01_01_0", "P01", "P01_01", 7, 202, 3, 2)
    assert actions[2] == ("P02_03_7", "P02", "P02_03", 0, 1, 0, 2)
    older = COLUMNS.replace("narration_id", "uid")
    assert [action.uid for action in read_epic_actions(write(tmp_path, columns=older))][1] == "P01_01_1"


def test_each_head_has_its_labels(tmp_path):
    path = write(tmp_path)
    verbs = epic_clips(path, VERBS, tmp_path, head="verb", split="train")
    nouns, names = read_labelled_clips(path, tmp_path, classes=classes_file(tmp_path, NOUNS), head="noun", split="x")
    assert [clip.label for clip in verbs] == ["open", "take", "take"]
    assert [clip.label for clip in nouns] == ["door", "light", "door"]
    assert names == NOUNS
    assert [clip.split for clip in nouns] == ["x"] * 3
    assert [(clip.start, clip.stop) for clip in nouns] == [(7, 202), (261, 370), (0, 1)]


def classes_file(tmp_path, names):
    """As EPIC_100_noun_classes.csv."""
    path = tmp_path / "classes.csv"
    path.write_text("id,key,instances\n" + "".join(f'{i},{name},"[""x""]"\n' for i, name in enumerate(names)))
    return path


def test_class_names_of_epic(tmp_path):
    assert read_class_names(classes_file(tmp_path, VERBS)) == VERBS
    with pytest.raises(InputError, match="names a class twice"):
        read_class_names(classes_file(tmp_path, ("a", "b", "a")))


def test_videos_are_found_where_they_usually_are(tmp_path):
    path = write(tmp_path)
    clips = epic_clips(path, VERBS, tmp_path, head="verb", split="train")
    assert [clip.path for clip in clips] == [tmp_path / f"{video}.MP4" for video in ("P01_01", "P01_01", "P02_03")]
    (tmp_path / "P01" / "videos").mkdir(parents=True)
    (tmp_path / "P01" / "videos" / "P01_01.MP4").touch()
    (tmp_path / "P02" / "rgb_frames" / "P02_03").mkdir(parents=True)
    clips = epic_clips(path, VERBS, tmp_path, head="verb", split="train")
    assert clips[0].path == tmp_path / "P01" / "videos" / "P01_01.MP4"
    assert clips[2].path == tmp_path / "P02" / "rgb_frames" / "P02_03"
    (tmp_path / "P01_01.mp4").touch()
    assert epic_clips(path, VERBS, tmp_path, head="verb", split="train")[0].path == tmp_path / "P01_01.mp4"


@pytest.mark.parametrize(
    ("lines", "columns", "message"),
    [
        ([], COLUMNS, "holds no actions"),
        (LINES, COLUMNS.replace("noun_class", "noun_id"), "should have the column noun_class"),
        (LINES, COLUMNS.replace("narration_id", "id"), "should have the column uid"),
        ([*LINES, LINES[0]], COLUMNS, "line 5 of .* repeats the action P01_01_0"),
        ([LINES[0].replace("202", "7")], COLUMNS, r"line 2 of .* has impossible frames or classes: \['8', '7'"),
        ([LINES[0].replace(",8,", ",0,")], COLUMNS, "has impossible frames"),
        ([LINES[0].replace(",3,", ",-3,")], COLUMNS, "has impossible frames or classes"),
        ([LINES[0].replace(",8,", ",x,")], COLUMNS, "line 2 of .* should hold whole numbers, found"),
        ([LINES[0][:20]], COLUMNS, "line 2 of .* should hold whole numbers"),
        ([LINES[0].replace("P01_01_0", "")], COLUMNS, "line 2 has no narration_id"),
    ],
)
def test_faults_are_named(tmp_path, lines, columns, message):
    with pytest.raises(InputError, match=message):
        read_epic_actions(write(tmp_path, lines, columns))


def test_a_class_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"the verb class 3 of P01_01_0 in .* is not one of the 3 classes"):
        epic_clips(write(tmp_path), VERBS[:3], tmp_path, head="verb", split="train")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_epic_actions(tmp_path / "none.csv")


def test_label_files_of_other_kinds(tmp_path):
    own = tmp_path / "labels.csv"
    own.write_text("path,label\na.avi,take\nb.avi,open\n")
    assert read_labelled_clips(own, tmp_path)[1] == ("open", "take")
    clips, names = read_labelled_clips(own, tmp_path, classes=classes_file(tmp_path, VERBS))
    assert (len(clips), names) == (2, VERBS)
    with pytest.raises(InputError, match=r"the label 'take' of a.avi in .* is not one of those in .*classes.csv"):
        read_labelled_clips(own, tmp_path, classes=classes_file(tmp_path, NOUNS))
    with pytest.raises(InputError, match="their names are needed too"):
        read_labelled_clips(write(tmp_path), tmp_path, head="verb")
    with pytest.raises(InputError, match="held out by the columns of a csv path,label"):
        read_labelled_clips(write(tmp_path), tmp_path, head="verb", hold_out=("a", ["b"]))

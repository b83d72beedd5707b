import pytest
from PIL import Image

from esv_jax.checks import InputError
from esv_jax.data.annotations import read_labelled_clips
from esv_jax.data.epic import EpicAction, read_epic_actions, read_epic_clips
from esv_jax.video import decode
from esv_jax.video.frames import NumberInName, Seconds
from tests.video.videos import numbered_image, numbers_of, write_video

# As EPIC_100_train.csv has them, with fewer columns; 60 frames a second.
COLUMNS = (
    "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,start_frame,stop_frame,narration,verb,"
    "verb_class,noun,noun_class"
)
LINES = [
    "P01_01_0,P01,P01_01,00:00:00.14,00:00:03.37,8,202,open door,open,3,door,2",
    'P01_01_1,P01,P01_01,00:00:04.37,00:00:06.17,262,370,"turn on, light",turn-on,0,light,1',
    "P02_03_7,P02,P02_03,01:17:08.04,01:17:09.27,277682,277756,take plate,take,0,plate,2",
]
VERBS, NOUNS = ("take", "put", "wash", "open"), ("knife", "light", "door")


def csv_of(folder, lines=LINES, columns=COLUMNS):
    path = folder / "EPIC_100_train.csv"
    path.write_text("\n".join([columns, *lines]) + "\n")
    return path


def without_times(folder):
    untimed = [",".join(part for i, part in enumerate(line.split(",")) if i not in (3, 4)) for line in LINES]
    return csv_of(folder, untimed, COLUMNS.replace("start_timestamp,stop_timestamp,", ""))


def clips_of(folder, path=None, classes=VERBS, **options):
    return read_epic_clips(path or csv_of(folder), classes, folder, **{"head": "verb", "split": "train", **options})


def test_actions_are_counted_from_0_and_timed_in_seconds(tmp_path):
    first, second, third = read_epic_actions(csv_of(tmp_path))
    assert first == EpicAction("P01_01_0", "P01", "P01_01", 7, 202, 3, 2, 0.14, 3.37)
    assert (second.uid, second.start, second.stop, second.verb, second.noun) == ("P01_01_1", 261, 370, 0, 1)
    assert (third.start_s, third.stop_s) == pytest.approx((4628.04, 4629.27))
    older = csv_of(tmp_path, columns=COLUMNS.replace("narration_id", "uid"))
    assert read_epic_actions(older) == [first, second, third]
    untimed = read_epic_actions(without_times(tmp_path))
    assert untimed == [action._replace(start_s=None, stop_s=None) for action in (first, second, third)]


# What a spreadsheet leaves of 00:17:08.04; numbers of seconds and of frames
@pytest.mark.parametrize("time", ["", "17:08.0", "0", "1028.04", "00:60:00.00", '"00:17:08,04"', "-00:17:08.04"])
def test_what_is_no_time_is_not_taken_for_one(tmp_path, time):
    (action,) = read_epic_actions(csv_of(tmp_path, [LINES[0].replace("00:00:00.14", time)]))
    assert action.start_s is None


def test_a_file_is_cut_by_the_times_and_a_folder_by_the_numbers(tmp_path):
    (tmp_path / "P01_01.MP4").touch()
    (tmp_path / "P02" / "rgb_frames" / "P02_03").mkdir(parents=True)
    clips = clips_of(tmp_path)
    assert clips[0] == ("P01_01_0", tmp_path / "P01_01.MP4", "open", "train", Seconds(0.14), Seconds(3.37))
    assert isinstance(clips[0].start, Seconds)
    assert isinstance(clips[0].stop, Seconds)
    assert clips[2][1:5] == (tmp_path / "P02" / "rgb_frames" / "P02_03", "take", "train", NumberInName(277682))
    assert clips[2].stop == NumberInName(277757)
    assert isinstance(clips[2].start, NumberInName)
    assert isinstance(clips[2].stop, NumberInName)


def test_a_file_whose_actions_have_no_times_cannot_be_cut(tmp_path):
    path = without_times(tmp_path)
    assert [clip.label for clip in clips_of(tmp_path, path)] == ["open", "take", "take"]  # no file: the labels alone
    (tmp_path / "P01_01").mkdir()
    assert [clip.uid for clip in clips_of(tmp_path, path)] == ["P01_01_0", "P01_01_1", "P02_03_7"]
    (tmp_path / "P02_03.MP4").touch()
    with pytest.raises(InputError, match=r"EPIC_100_train\.csv has no start_timestamp .* P02_03_7, .*file P02_03\.MP4"):
        clips_of(tmp_path, path)


@pytest.mark.parametrize("rate", [30, 50, 60])
def test_frames_of_a_file_of_any_rate_are_those_of_the_time(tmp_path, rate):
    """Of 3 s; the action lasts from 1 s to 2 s, the csv's frames 61..120 of 60 a second."""
    write_video(tmp_path / "P01_01.MP4", "libx264", 3 * rate, fps=rate, options={"preset": "ultrafast"})
    line = "P01_01_0,P01,P01_01,00:00:01.00,00:00:02.00,61,120,open door,open,3,door,2"
    (clip,) = clips_of(tmp_path, csv_of(tmp_path, [line]))
    assert numbers_of(decode.iter_frames(clip.path, clip.start, clip.stop)) == list(range(rate, 2 * rate))


@pytest.mark.parametrize("first", [1, 3, 40])
def test_frames_of_a_folder_are_those_of_the_csv_s_numbers(tmp_path, first):
    """Also where the first frames are missing, and some between."""
    numbers = [number for number in range(first, 71) if number % 7]
    (tmp_path / "P01_01").mkdir()
    for number in numbers:
        Image.fromarray(numbered_image(number)).save(tmp_path / "P01_01" / f"frame_{number:010d}.jpg")
    line = "P01_01_0,P01,P01_01,00:00:00.75,00:00:01.00,45,60,open door,open,3,door,2"
    (clip,) = clips_of(tmp_path, csv_of(tmp_path, [line]))
    shown = numbers_of(decode.iter_frames(clip.path, clip.start, clip.stop))
    assert shown == [number for number in numbers if 45 <= number <= 60]


def test_each_head_has_its_labels(tmp_path):
    path, classes = csv_of(tmp_path), tmp_path / "classes.csv"
    classes.write_text("id,key\n" + "".join(f"{i},{name}\n" for i, name in enumerate(NOUNS)))
    nouns, names = read_labelled_clips(path, tmp_path, classes=classes, head="noun", split="x")
    assert [clip.label for clip in clips_of(tmp_path)] == ["open", "take", "take"]
    assert [clip.label for clip in nouns] == ["door", "light", "door"]
    assert names == NOUNS
    assert [clip.split for clip in nouns] == ["x"] * 3


def test_videos_are_found_where_they_usually_are(tmp_path):
    assert [clip.path.name for clip in clips_of(tmp_path)] == ["P01_01.MP4", "P01_01.MP4", "P02_03.MP4"]
    (tmp_path / "P01" / "videos").mkdir(parents=True)
    (tmp_path / "P01" / "videos" / "P01_01.MP4").touch()
    (tmp_path / "P02" / "rgb_frames" / "P02_03").mkdir(parents=True)
    clips = clips_of(tmp_path)
    assert clips[0].path == tmp_path / "P01" / "videos" / "P01_01.MP4"
    assert clips[2].path == tmp_path / "P02" / "rgb_frames" / "P02_03"
    (tmp_path / "P01_01.mp4").touch()
    assert clips_of(tmp_path)[0].path == tmp_path / "P01_01.mp4"


@pytest.mark.parametrize(
    ("lines", "columns", "message"),
    [
        ([], COLUMNS, "holds no actions"),
        (LINES, COLUMNS.replace("noun_class", "noun_id"), "should have a column 'noun_class'"),
        (LINES, COLUMNS.replace("narration_id", "id"), "should have a column 'uid'"),
        ([*LINES, LINES[0]], COLUMNS, "line 5 of .* repeats the action P01_01_0"),
        ([LINES[0].replace("202", "7")], COLUMNS, "line 2 of .* has impossible frames, counted from 1: 8 to 7"),
        ([LINES[0].replace(",8,", ",0,")], COLUMNS, "line 2 of .* has impossible frames, counted from 1: 0 to 202"),
        ([LINES[0].replace(",3,", ",-3,")], COLUMNS, "line 2 of .* a whole number as its verb_class, found '-3'"),
        ([LINES[0].replace(",3,", ",3.0,")], COLUMNS, "a whole number as its verb_class, found '3.0'"),
        ([LINES[0].replace(",8,", ",8.0,")], COLUMNS, "a whole number as its start_frame, found '8.0'"),
        ([LINES[0].replace("202", "2_02")], COLUMNS, "a whole number as its stop_frame, found '2_02'"),
        ([LINES[0][:20]], COLUMNS, "line 2 of .* should have 12 values"),
        ([LINES[0] + ",7"], COLUMNS, "line 2 of .* should have 12 values"),
        ([LINES[0].replace("P01_01_0", "")], COLUMNS, "line 2 of .* should have a narration_id of one line, found ''"),
        ([LINES[0].replace(",P01_01,", ", ,")], COLUMNS, "line 2 of .* should have a video_id of one line, found ' '"),
        ([LINES[0].replace("P01_01_0", '"a\nb"')], COLUMNS, r"a narration_id of one line, found 'a\\nb'"),
        (
            [LINES[0].replace("00:00:03.37", "00:00:00.10")],
            COLUMNS,
            "has impossible times: it begins at 0.14 s, ends at 0.1 s",
        ),
    ],
)
def test_faults_of_actions_are_named(tmp_path, lines, columns, message):
    with pytest.raises(InputError, match=message):
        read_epic_actions(csv_of(tmp_path, lines, columns))


def test_a_class_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"the verb class 3 of P01_01_0 in .* is not one of the 3 classes"):
        clips_of(tmp_path, classes=VERBS[:3])
    with pytest.raises(InputError, match="cannot be read: No such file"):
        clips_of(tmp_path, tmp_path / "none.csv")

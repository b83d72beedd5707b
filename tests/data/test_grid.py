"""GRID's sentences: the word that is asked for, its frames, and what is no folder of the corpus."""

import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.data import grid
from esv_jax.data.evidence import read_evidence
from tests.experiments.scripts import run_script

WORDS = "0 23750 sil,23750 29500 bin,29500 34000 blue,34000 35500 at,35500 41000 f,41000 47250 two,47250 53000 now"
TIMES = f"{WORDS},53000 74500 sil,".replace(",", "\n")


def sentence(folder, name, text=TIMES, video=True, align="align"):
    for path in (folder / name, folder / align / f"{name.rpartition('/')[2].rpartition('.')[0]}.align"):
        path.parent.mkdir(parents=True, exist_ok=True)
    (folder / align / f"{name.rpartition('/')[2].rpartition('.')[0]}.align").write_text(text)
    if video:
        (folder / name).write_bytes(b"")


def test_names_that_are_no_text(tmp_path):
    sentence(tmp_path, "s1/bbaf2n.mpg")
    (tmp_path / "s1" / "b\nc.mpg").write_bytes(b"")
    (tmp_path / "align" / "b\nc.align").write_text(TIMES)
    with pytest.raises(InputError, match=r"videos should have names of one line of text in UTF-8, found 's1/b.+nc"):
        grid.read_grid(tmp_path, "colour")


def test_times_may_begin_with_a_byte_order_mark(tmp_path):
    sentence(tmp_path, "s1/bbaf2n.mpg", "\ufeff" + TIMES)
    assert grid.read_grid(tmp_path, "colour")[0].word == "blue"


def test_words_and_their_frames(tmp_path):
    sentence(tmp_path, "s1/bbaf2n.mpg")
    sentence(
        tmp_path, "s2/pwij3p.mpg", TIMES.replace("bin", "place").replace("blue", "white").replace("34000", "34499")
    )
    expected = {
        "command": ("bin", 24, 29),
        "colour": ("blue", 30, 33),
        "preposition": ("at", 34, 35),
        "letter": ("f", 36, 40),
    }
    for place, (word, first, last) in expected.items():
        # A frame is of a word where at least half of it is: by hand from the times above.
        one, _ = grid.read_grid(tmp_path, place)
        assert one == grid.Sentence("s1/bbaf2n.mpg", "s1", word, first, last)
    _, other = grid.read_grid(tmp_path, "colour")
    assert other == grid.Sentence("s2/pwij3p.mpg", "s2", "white", 30, 33)


def test_a_frame_is_of_the_word_that_most_of_it_is_of(tmp_path):
    sentence(tmp_path, "s1/a.mpg")
    words = [grid.read_grid(tmp_path, place)[0] for place in grid.PLACES]
    lines = [line.split() for line in TIMES.splitlines()[1:-1]]
    for frame in range(75):
        overlap = [max(0, min(int(e), 1000 * (frame + 1)) - max(int(s), 1000 * frame)) for s, e, _ in lines]
        of = [word.first <= frame <= word.last for word in words]
        if max(overlap) > 500:
            assert np.argmax(of) == np.argmax(overlap)
        assert sum(of) <= 1


def test_times_of_two_speakers_that_say_the_same(tmp_path):
    for speaker, colour in (("s1", "blue"), ("s2", "red")):
        sentence(tmp_path / speaker, "bbaf2n.mpg", TIMES.replace("blue", colour))
    assert [found.word for found in grid.read_grid(tmp_path, "colour")] == ["blue", "red"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 sil\n", "should have the 6 words of a sentence, found 0"),
        (TIMES.replace("29500 bin", "x bin"), r"line 2 of .*a\.align should be a start, an end and a word, found"),
        (TIMES.replace("23750 29500 bin", "29500 23750 bin"), "line 2 of"),
        (TIMES.replace(" now", ""), "line 7 of"),
    ],
)
def test_damaged_times(tmp_path, text, message):
    sentence(tmp_path, "s1/a.mpg", text)
    with pytest.raises(InputError, match=message):
        grid.read_grid(tmp_path, "colour")


def test_folders_that_are_none(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        grid.read_grid(tmp_path / "none", "colour")
    with pytest.raises(InputError, match=r"should hold the videos of GRID"):
        grid.read_grid(tmp_path, "colour")
    (tmp_path / "a.mpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.mpg should have its words' times in a file a\.align, found none"):
        grid.read_grid(tmp_path, "colour")
    with pytest.raises(InputError, match="place should be one of command, colour"):
        grid.read_grid(tmp_path, "color")
    sentence(tmp_path, "a.mpg")
    sentence(tmp_path, "a.mpg", align="more")
    with pytest.raises(InputError, match=r"should have its words' times in one file, found .*align.*more"):
        grid.read_grid(tmp_path, "colour")


def test_the_command(tmp_path, capsys, monkeypatch):
    sentence(tmp_path / "grid", "s1/bbaf2n.mpg")
    sentence(tmp_path / "grid", "s2/pwij3p.mpg", TIMES.replace("two", "three"))

    def run(*flags):
        given = [f"--clips={tmp_path / 'grid'}", "--word=digit", f"--out={tmp_path / 'out'}", *flags]
        return run_script("grid_labels", *given, capsys=capsys, monkeypatch=monkeypatch)

    ran = run("--test_speakers=s2")
    assert ran.exit_code == 0, ran.stderr
    assert (tmp_path / "out" / "labels.csv").read_text().splitlines() == [
        "path,label,split,speaker", "s1/bbaf2n.mpg,two,train,s1", "s2/pwij3p.mpg,three,test,s2"
    ]  # fmt: skip
    assert read_evidence(tmp_path / "out" / "evidence.csv")["s2/pwij3p.mpg"].tolist() == [41, 42, 43, 44, 45, 46]
    assert "--test_speakers names 's9', but" in run("--test_speakers=s9").stderr

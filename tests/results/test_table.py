import re
from decimal import Decimal

import numpy as np
import pytest

from esv_jax.results.explanation import NO_INTERVAL, gap, predicted_class
from esv_jax.results.table import format_table
from tests.results.fakes import NAMES, fake_explanation, of_players

_FRAME_LINE = re.compile(
    r"^ +(\d+) +([\d.]+) s +([+-][\d.]+)(?: +\[(-?[\d.]+), (-?[\d.]+)\])? +(\S*)\|(\S*) +(-?[\d.]+)$"
)


def _frame_lines(table):
    return [match for match in map(_FRAME_LINE.match, table.splitlines()) if match]


def _last_figure(line):
    return Decimal(line.split()[-1])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("class_index", [0, 2])
def test_the_table_adds_up_as_printed(sampled, seed, class_index):
    explained = fake_explanation(11, sampled=sampled, seed=seed)
    lines = format_table(explained, class_index).splitlines()
    frames = _frame_lines("\n".join(lines))
    assert len(frames) == 11
    total = _last_figure(lines[2])
    assert total == round(Decimal(explained.empty[class_index]), 4)
    for i, frame in enumerate(frames):
        total += Decimal(frame[3])
        assert Decimal(frame[8]) == total
        assert abs(float(frame[3]) - explained.values[i, class_index]) < 1e-4
    if sampled:
        assert "gap left by sampling" in lines[-2]
        total += Decimal(lines[-2].split()[0])
    assert total == _last_figure(lines[-1]) == round(Decimal(explained.full[class_index]), 4)
    equation = re.sub(r"\(.*?\)|prior|score|\s", "", lines[-1])
    left, right = equation.split("=")
    assert sum(map(Decimal, re.findall(r"[+-]?[\d.]+", left))) == Decimal(right)


def test_frames_times_and_intervals_are_those_of_the_explanation():
    explained = fake_explanation(5, sampled=True)
    for i, frame in enumerate(_frame_lines(format_table(explained, 1))):
        assert int(frame[1]) == explained.frames[i]
        assert float(frame[2]) == pytest.approx(explained.times[i], abs=0.006)
        assert float(frame[4]) == pytest.approx(explained.low[i, 1], abs=0.6e-4)
        assert float(frame[5]) == pytest.approx(explained.high[i, 1], abs=0.6e-4)


def test_lines_fit_a_terminal():
    table = format_table(fake_explanation(12, sampled=True), 1)
    assert max(map(len, table.splitlines())) == 80


def test_too_few_samples_for_an_interval_are_a_sentence():
    explained = fake_explanation(5, sampled=True)
    assert NO_INTERVAL not in format_table(explained, 1)
    explained = explained._replace(low=np.full((5, 4), -np.inf), high=np.full((5, 4), np.inf))
    table = format_table(explained, 1)
    assert table.endswith(f"\n{NO_INTERVAL}")
    assert not re.search(r"inf\b|nan|\[", table)
    assert len(_frame_lines(table)) == 5


def test_bars_point_left_for_distracting_frames_and_their_lengths_are_in_proportion():
    explained = fake_explanation(6)
    values = explained.values[:, 0]
    frames = _frame_lines(format_table(explained, 0))
    lengths = np.array([len(frame[7]) - len(frame[6]) for frame in frames])
    np.testing.assert_allclose(lengths, 14 * values / np.abs(values).max(), atol=0.51)
    assert lengths.min() < 0 < lengths.max()


def test_only_the_predicted_class_is_called_so():
    explained = fake_explanation(4)
    predicted = predicted_class(explained)
    for c, name in enumerate(NAMES):
        assert format_table(explained, c).splitlines()[0] == (f"{name} (predicted)" if c == predicted else name)


def test_an_exact_explanation_has_no_gap_line_unless_it_really_has_a_gap():
    explained = fake_explanation(4)
    assert "gap" not in format_table(explained, 0)
    broken = explained._replace(full=explained.full + 0.25)
    assert np.allclose(gap(broken), 0.25)
    assert "(gap)" in format_table(broken, 0)


def test_ascii_only_can_be_printed_anywhere():
    table = format_table(fake_explanation(4, sampled=True), 0, ascii_only=True)
    assert table.isascii()
    assert "#" in table


def test_a_video_without_any_effect_is_a_table_of_zeros():
    explained = fake_explanation(3)
    explained = explained._replace(values=np.zeros((3, 4)), full=explained.empty)
    frames = _frame_lines(format_table(explained, 0))
    assert [frame[3] for frame in frames] == ["+0.0000"] * 3
    assert all(frame[6] == frame[7] == "" for frame in frames)


def test_players_have_their_names_and_the_time_of_their_first_frame():
    explained = of_players()
    lines = format_table(explained, 1).splitlines()
    assert lines[1].split()[0] == "player"
    for line, name, time in zip(lines[3:], ["shot 0", "shot 1", "shot 2"], [0, 3, 4], strict=False):
        assert line.split()[:4] == [*name.split(), f"{explained.times[time]:.2f}", "s"]
    assert lines[7].split()[0] == "What"
    assert lines[7].split()[1].startswith(("+", "-"))
    assert all(len(line) <= 80 for line in lines[1:])

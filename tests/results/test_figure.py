import builtins
import io
import itertools
import os
import subprocess
import sys
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import esv_jax
from esv_jax.analyses import charts
from esv_jax.benchmarks import report as benchmarks
from esv_jax.checks import InputError, MissingExtraError
from esv_jax.results import panels
from esv_jax.results.explanation import NO_INTERVAL
from esv_jax.results.figure import draw_report, save_report
from tests.results.fakes import LONG_NAME, NAMES, fake_explanation, of_players

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")
ROOT = Path(__file__).parents[2]


def _render(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()


def _texts(figure):
    """Every piece of text that is drawn, with the box [x0, y0, x1, y1] it takes, in pixels."""
    _render(figure)
    drawn = [*figure.texts]
    for axes in figure.axes:
        drawn += [*axes.texts]
        if axes.axison:
            drawn += [axes.xaxis.label, axes.yaxis.label]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                drawn += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    shown = [text for text in drawn if text.get_visible() and text.get_text()]
    return [(text.get_text(), np.array(text.get_window_extent().extents)) for text in shown]


@pytest.mark.parametrize(
    ("num_frames", "sampled"),
    [(1, True), (2, False), (8, True), (16, True), (17, False), (32, True)],
)
def test_no_text_overlaps_another_or_leaves_the_page(num_frames, sampled):
    explained = fake_explanation(num_frames, sampled=sampled, seed=num_frames)
    assert len(_check_texts(draw_report(explained, [2, 0]))) > 2 * num_frames


def _check_texts(figure):
    texts = _texts(figure)
    width, height = figure.canvas.get_width_height()
    for i, (words, box) in enumerate(texts):
        assert box[0] >= 0, words
        assert box[1] >= 0, words
        assert box[2] <= width, words
        assert box[3] <= height, words
        for others, other in texts[:i]:
            apart = (box[:2] >= other[2:] - 0.5).any() or (box[2:] <= other[:2] + 0.5).any()
            assert apart, f"{words!r} overlaps {others!r}"
    return [words for words, _ in texts]


@pytest.mark.parametrize("sampled", [False, True])
def test_segments_are_wide_bars_and_words_are_text(sampled):
    explained = of_players(sampled=sampled)
    figure = draw_report(explained, [1])
    texts = _check_texts(figure)
    assert {"shot 0", "shot 1", "shot 3", "What", "is", "being", "sound"} <= set(texts)
    bars = next(axes for axes in figure.axes if axes.get_ylabel() == "ESV")
    drawn = [(bar.get_x() + 0.14 + 0.5 - 0.5, bar.get_width() + 0.28, bar.get_height()) for bar in bars.patches]
    # Their first cell, how many, and whose: 10 cells of frames, and 5 of what is none.
    places = [(0, 3, 0), (3, 1, 1), (8, 2, 1), (4, 1, 2), (5, 3, 3), *((10 + i, 1, 4 + i) for i in range(5))]
    expected = [(start - 0.5 + 0.28, count, explained.values[player, 1]) for start, count, player in places]
    np.testing.assert_allclose(drawn, expected, atol=1e-9)
    # The value of a player in two pieces stands there once.
    signed = [text.get_text() for text in bars.texts]
    assert len(signed) == 9


def test_words_are_coloured_by_what_they_did_to_the_first_class():
    from matplotlib.colors import to_hex

    explained = of_players()
    for first in (1, 2):
        figure = draw_report(explained, [first, 0])
        strip = next(axes for axes in figure.axes if axes.images)
        boxes = [patch for patch in strip.patches if patch.get_linewidth() == 0]
        values = explained.values[4:, first]
        assert len(boxes) == len(values) == 5
        colours = ["#0072b2" if value > 0 else "#e69f00" for value in values]
        assert [to_hex(box.get_facecolor()) for box in boxes] == colours
        shares = 0.6 * np.abs(values) / np.abs(explained.values[:, first]).max()
        np.testing.assert_allclose([box.get_alpha() for box in boxes], shares)


def test_more_cells_than_a_row_holds_break_a_segment():
    explained = fake_explanation(2)._replace(
        players=esv_jax.players.segments(20, 2),
        **{name: getattr(fake_explanation(20), name) for name in ("frames", "times", "images")},
    )
    figure = draw_report(explained, [1])
    _check_texts(figure)
    widths = [bar.get_width() + 0.28 for axes in figure.axes if axes.get_ylabel() == "ESV" for bar in axes.patches]
    np.testing.assert_allclose(widths, [10, 10])


@pytest.mark.parametrize("num_frames", [1, 8, 17])
def test_every_frame_stands_above_its_bar(num_frames):
    explained = fake_explanation(num_frames, image_size=(30, 40))
    figure = draw_report(explained, [1])
    strips = [axes for axes in figure.axes if axes.images]
    shown = []
    for strip in strips:
        bars = next(a for a in figure.axes if a.get_ylabel() == "ESV" and a.get_position().y1 < strip.get_position().y0)
        image_centres = [strip.transData.transform(((e[0] + e[1]) / 2, 0))[0] for e in map(_extent, strip.images)]
        bar_centres = [bars.transData.transform((bar.get_x() + bar.get_width() / 2, 0))[0] for bar in bars.patches]
        np.testing.assert_allclose(image_centres, bar_centres, atol=0.01)
        shown += [bar.get_height() for bar in bars.patches]
        for image in strip.images:
            box = image.get_window_extent()
            assert box.width / box.height == pytest.approx(40 / 30, rel=0.01)
    assert sorted(shown) == sorted(explained.values[:, 1])
    assert sum(len(strip.images) for strip in strips) == num_frames


def _extent(image):
    return image.get_extent()


def test_supporting_and_distracting_bars_differ_in_direction_and_colour():
    from matplotlib.colors import to_hex

    figure = draw_report(fake_explanation(8), [0])
    bars = next(axes for axes in figure.axes if axes.get_ylabel() == "ESV").patches
    assert len(bars) == 8
    colours = {(bar.get_height() > 0, to_hex(bar.get_facecolor()).upper()) for bar in bars}
    assert colours == {(True, panels.SUPPORTING), (False, panels.DISTRACTING)}


def test_the_two_colours_are_apart_in_grey_too():
    from matplotlib.colors import to_rgb

    grey = [np.dot([0.2126, 0.7152, 0.0722], to_rgb(c)) for c in (panels.SUPPORTING, panels.DISTRACTING)]
    assert abs(grey[0] - grey[1]) > 0.2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("decimals", [2, 3])
def test_the_figures_in_the_picture_add_up_as_printed(sampled, seed, decimals):
    def exact(x):
        return Decimal(f"{x:.{decimals}f}")

    explained = fake_explanation(9, sampled=sampled, seed=seed)
    terms = panels.sum_of(explained, 3, decimals)
    parts = [terms.prior, terms.supporting, terms.distracting, terms.gap]
    assert sum(map(exact, parts)) == exact(terms.score) == exact(explained.full[3])
    values = explained.values[:, 3]
    assert sum(map(exact, terms.bars[values > 0])) == exact(terms.supporting)
    assert sum(map(exact, terms.bars[values <= 0])) == exact(terms.distracting)
    np.testing.assert_allclose(terms.bars, values, atol=10.0**-decimals)
    assert sampled or terms.gap == 0


def _error_bars(figure):
    """(lowest, highest) of every line that is drawn over a bar."""
    panels_of_bars = [axes for axes in figure.axes if axes.get_ylabel() == "ESV"]
    lines = [lines for axes in panels_of_bars for lines in axes.collections]
    return [(ends[0, 1], ends[1, 1]) for drawn in lines for ends in drawn.get_segments()]


def test_intervals_reach_from_low_to_high():
    explained = fake_explanation(5, sampled=True)
    explained = explained._replace(high=explained.high + np.arange(5)[:, None] / 50)
    figure = draw_report(explained, [1])
    np.testing.assert_allclose(_error_bars(figure), np.stack([explained.low[:, 1], explained.high[:, 1]], axis=1))
    assert any("95 % interval" in text.get_text() for text in figure.texts)


def test_too_few_samples_for_an_interval_are_a_sentence():
    explained = fake_explanation(5, sampled=True)
    explained = explained._replace(low=np.full((5, 4), -np.inf), high=np.full((5, 4), np.inf))
    figure = draw_report(explained, [1, 0])
    _render(figure)
    assert not _error_bars(figure)
    words = " ".join(text.get_text() for text in figure.texts)
    assert NO_INTERVAL in words
    assert "95 % interval" not in words


def test_dollars_and_braces_in_names_are_letters(tmp_path):
    explained = fake_explanation(3)._replace(class_names=("a $x^2$ {b}", "$", "c_d", "%"), title="$clip_{1$.mp4")
    figure = draw_report(explained, [0])
    _render(figure)
    assert any("$x^2$" in text.get_text() for text in figure.texts)


def test_long_names_are_wrapped_in_full():
    figure = draw_report(fake_explanation(2), [2])
    title = " ".join(text.get_text() for text in figure.texts if text.get_weight() == "bold")
    assert title.replace("\N{NO-BREAK SPACE}", " ").startswith(LONG_NAME + " (")
    assert sum(text.get_weight() == "bold" for text in figure.texts) > 1


def test_the_file_is_a_picture_of_the_drawn_size_and_the_same_every_time(tmp_path):
    explained = fake_explanation(4, sampled=True)
    save_report(tmp_path / "report.png", explained, [0, 1])
    save_report(tmp_path / "again.png", explained, [0, 1])
    assert (tmp_path / "report.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    inches = draw_report(explained, [0, 1]).get_size_inches()
    with Image.open(io.BytesIO((tmp_path / "report.png").read_bytes())) as picture:
        assert picture.format == "PNG"
        np.testing.assert_allclose(picture.size, 300 * inches, atol=1)


HOSTILE = {
    "image.origin": "lower",
    "image.cmap": "hot",
    "savefig.bbox": "tight",
    "savefig.dpi": 33,
    "savefig.facecolor": "red",
    "savefig.transparent": True,
    "savefig.format": "pdf",
    "figure.dpi": 17,
    "figure.autolayout": True,
    "axes.facecolor": "green",
    "axes.grid": True,
    "axes.unicode_minus": False,
    "axes.xmargin": 0.3,
    "font.family": "serif",
    "font.size": 30,
    "text.usetex": True,
    "text.antialiased": False,
    "hatch.color": "red",
    "lines.linewidth": 9,
    "path.sketch": (5, 100, 2),
    "agg.path.chunksize": 10,
}


def _draw_all(folder):
    """Pictures of results, analyses and benchmarks."""
    explained = fake_explanation(4, sampled=True)

    def chart():
        figure, axes = charts.subplots(1, 2, 2.0)
        axes[0, 0].plot([1, 2], [3, -4], label="a", **charts.style(1))
        axes[0, 1].imshow(explained.images[0])
        axes[0, 1].set_title("Paying $5_{x and $10^")
        charts.legend(figure, axes)
        return figure

    index = pd.MultiIndex.from_tuples([("tsn", 8, 64), ("tsn", 8, 128)], names=benchmarks.CELL)
    means = pd.DataFrame({"recommended": [1e-2, 1e-3], "other": [1e-1, 2e-2]}, index=index)
    folder.mkdir()
    save_report(folder / "report.png", explained, [0, 1])
    charts.save(folder / "chart.png", chart)
    benchmarks.draw_errors(means, folder / "errors.png")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_users_settings_of_matplotlib_change_no_picture(tmp_path):
    import matplotlib

    expected = _draw_all(tmp_path / "plain")
    assert len(expected) == 3
    with matplotlib.rc_context(HOSTILE):
        before = dict(matplotlib.rcParams)
        assert _draw_all(tmp_path / "hostile") == expected
        assert dict(matplotlib.rcParams) == before


def test_settings_that_matplotlib_does_not_know_are_one_sentence():
    drawn = "from esv_jax.results import pictures\nwith pictures.drawing({}):\n    pass"
    env = {**os.environ, "MPLBACKEND": "nonsense", "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run([sys.executable, "-c", drawn], cwd=ROOT, env=env, capture_output=True, text=True)
    told = ran.stderr.splitlines()[-1]
    assert told.startswith("esv_jax.checks.InputError: matplotlib cannot be loaded with MPLBACKEND and matplotlibrc")
    assert "nonsense" in told


def _names_of(explained, *names):
    return explained._replace(class_names=(*names, *NAMES[len(names) :]))


def test_letters_that_no_font_has_are_boxes_and_no_warning(tmp_path, caplog):
    explained = _names_of(fake_explanation(3), "开门 \\frac{a} $5_{x and $10^", "مرحبا 😀 \t\n a\u0301")
    save_report(tmp_path / "a.png", explained, [0, 1])
    save_report(tmp_path / "b.png", _names_of(explained, "  \\frac{a} $5_{x and $10^"), [0, 1])
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    assert not caplog.records


def test_letters_are_taken_from_a_font_of_the_system_that_has_them(tmp_path, caplog):
    from matplotlib import font_manager

    _font(tmp_path / "han.ttf", "开门")
    font_manager.fontManager.addfont(tmp_path / "han.ttf")
    try:
        figure = draw_report(_names_of(fake_explanation(3), "开门"), [0])
        save_report(tmp_path / "a.png", _names_of(fake_explanation(3), "开门"), [0])
    finally:
        font_manager.fontManager.ttflist[:] = [f for f in font_manager.fontManager.ttflist if f.name != "Test Han"]
    (title,) = (text for text in figure.texts if "开" in text.get_text())
    assert title.get_fontfamily() == ["DejaVu Sans", "Test Han"]
    assert not caplog.records


def _font(path, letters):
    """A font that has these letters alone, all of them triangles."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    pen.lineTo((900, 0))
    pen.lineTo((500, 800))
    pen.closePath()
    names = [".notdef", *(f"g{i}" for i in range(len(letters)))]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Test Han", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)


def test_wide_letters_stay_on_the_page():
    figure = draw_report(_names_of(fake_explanation(3), "开门关" * 40), [0])
    texts = _texts_without_fonts(figure)
    width, _ = figure.canvas.get_width_height()
    assert all(box[2] <= width for _, box in texts)


def _texts_without_fonts(figure):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _texts(figure)


def test_a_video_without_any_effect_can_be_drawn():
    explained = fake_explanation(3)
    explained = explained._replace(values=np.zeros((3, 4)), full=np.zeros(4), empty=np.zeros(4))
    _render(draw_report(explained, [0]))


def test_no_class_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least one class"):
        save_report(tmp_path / "report.png", fake_explanation(3), [])


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def no_matplotlib(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'esv-jax\[plots\]'"):
        save_report(tmp_path / "report.png", fake_explanation(3), [0])


def test_all_class_names_are_shown():
    figure = draw_report(fake_explanation(8), [3, 0, 1])
    words = " ".join(text.get_text() for text in figure.texts)
    assert [name for name in NAMES if name in words] == [NAMES[0], NAMES[1], NAMES[3]]


def _some_pairs(explained):
    values = np.random.default_rng(4).normal(size=(*explained.values.shape[:1] * 2, len(NAMES)))
    return (values + values.transpose(1, 0, 2)) / 2


@pytest.mark.parametrize("num_frames", [1, 2, 8, 16])
def test_pairs_stand_in_a_triangle_above_the_frames(num_frames):
    explained = fake_explanation(num_frames, sampled=True)
    pairs = _some_pairs(explained)
    texts = _check_texts(draw_report(explained, [2, 0], pairs))
    assert len(texts) > len(_check_texts(draw_report(explained, [2, 0])))
    if num_frames > 1:
        of_class = {(i, j): pairs[i, j, 0] for i, j in itertools.combinations(range(num_frames), 2)}
        i, j = max(of_class, key=of_class.get)
        value = panels.printed(of_class[i, j], 2, signed=True)
        shown = f"most by frames {10 * i + 5} and {10 * j + 5} ({value})"
        assert any(shown in " ".join(text.split()) for text in texts), shown


def test_the_cell_of_a_pair_stands_where_the_lines_of_its_frames_meet():
    explained = fake_explanation(3)
    pairs = np.zeros((3, 3, len(NAMES)))
    pairs[0, 2] = pairs[2, 0] = 0.5
    pairs[0, 1] = pairs[1, 0] = -1.0
    figure = draw_report(explained, [1], pairs)
    cells = {}
    for patch in figure.axes[0].patches:
        if patch.get_facecolor()[3] > 0:
            cells[tuple(np.round(patch.get_xy()[:4].mean(axis=0), 6))] = patch.get_facecolor()[:3]
    # Frames 0, 1, 2 stand at these places from the left; a pair as high as half of what lies between them.
    assert set(cells) == {(0.5, 0.5), (1.0, 1.0), (1.5, 0.5)}
    red, green, blue = np.transpose([cells[0.5, 0.5], cells[1.0, 1.0], cells[1.5, 0.5]])
    assert blue[0] < red[0], "orange takes away"
    assert red[1] < blue[1], "blue supports"
    np.testing.assert_allclose([red[2], green[2], blue[2]], 1, atol=0.01)
    from matplotlib.colors import to_rgb

    np.testing.assert_allclose(cells[0.5, 0.5], to_rgb(panels.DISTRACTING), atol=0.01)


def test_pairs_of_segments_are_as_wide_as_these():
    explained = fake_explanation(8)._replace(
        players=esv_jax.players.segments(8, 3), **{n: np.zeros((3, 4)) for n in ("values", "std_error", "low", "high")}
    )
    _check_texts(draw_report(explained, [0], _some_pairs(explained)))


def test_pairs_that_cannot_be_drawn_are_refused():
    explained = fake_explanation(17)
    with pytest.raises(InputError, match="pairs are drawn of at most 16 frames, found 17"):
        draw_report(explained, [0], _some_pairs(explained))
    with pytest.raises(InputError, match="pairs should have shape"):
        draw_report(fake_explanation(4), [0], np.zeros((4, 4, 1)))

import json

import numpy as np
import pandas as pd
import pytest

from esv_jax.checks import InputError
from esv_jax.results.explanation import predicted_class
from esv_jax.results.files import save_json, save_npz, save_pairs
from tests.results.fakes import NAMES, fake_explanation, of_players

ARRAYS = ("values", "std_error", "low", "high", "full", "empty", "frames", "times")


def test_npz_gives_back_every_array_without_pickles(tmp_path):
    explained = fake_explanation(5, sampled=True)
    save_npz(tmp_path / "attribution.npz", explained)
    with np.load(tmp_path / "attribution.npz", allow_pickle=False) as loaded:
        assert set(loaded) == {*ARRAYS, "class_names", "predicted"}
        for name in ARRAYS:
            np.testing.assert_array_equal(loaded[name], getattr(explained, name))
        assert tuple(loaded["class_names"]) == NAMES
        assert loaded["predicted"] == predicted_class(explained)


def test_json_gives_back_every_array_exactly_and_the_provenance(tmp_path):
    explained = fake_explanation(5, sampled=True)
    explained = explained._replace(class_names=("Öffnen", "日本", *NAMES[2:]))
    save_json(tmp_path / "attribution.json", explained, {"video": {"path": "clip.mp4"}, "seed": 3})
    record = json.loads((tmp_path / "attribution.json").read_text(encoding="utf-8"))
    for name in ARRAYS:
        key = "times_in_seconds" if name == "times" else name
        np.testing.assert_array_equal(record[key], getattr(explained, name))
    assert record["class_names"] == list(explained.class_names)
    predicted = predicted_class(explained)
    assert record["predicted"] == {
        "index": predicted,
        "class_name": explained.class_names[predicted],
        "score": explained.full[predicted],
    }
    assert record["provenance"] == {"video": {"path": "clip.mp4"}, "seed": 3}
    assert (record["format"], record["format_version"]) == ("esv_jax attribution", 1)


def test_json_has_null_and_npz_infinity_where_there_is_no_interval(tmp_path):
    explained = fake_explanation(2, sampled=True)
    low, high = explained.low.copy(), explained.high.copy()
    low[1], high[1] = -np.inf, np.inf
    save_json(tmp_path / "attribution.json", explained._replace(low=low, high=high), {})
    record = json.loads((tmp_path / "attribution.json").read_text(encoding="utf-8"))
    assert record["low"] == [low[0].tolist(), [None] * 4]
    assert record["high"] == [high[0].tolist(), [None] * 4]
    save_npz(tmp_path / "attribution.npz", explained._replace(low=low, high=high))
    with np.load(tmp_path / "attribution.npz", allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["high"], high)


def test_players_are_kept_with_their_names_and_parts(tmp_path):
    explained = of_players()
    save_npz(tmp_path / "a.npz", explained)
    save_json(tmp_path / "a.json", explained, {})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as loaded:
        assert loaded["player_names"].tolist() == [player.name for player in explained.players]
        assert loaded["player_frames"][1].nonzero()[0].tolist() == [3, 8, 9]
        assert not loaded["player_frames"][4:].any()
        assert loaded["values"].shape == (9, 4)
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["players"][1] == {"name": "shot 1", "parts": {"frames": [3, 8, 9]}}
    assert record["players"][-1] == {"name": "sound", "parts": {"sound": [0, 1]}}


def test_pairs_are_a_line_each(tmp_path):
    explained = fake_explanation(4)
    rng = np.random.default_rng(0)
    values, std_error = rng.normal(size=(4, 4, 4)), rng.uniform(size=(4, 4, 4))
    save_pairs(tmp_path / "pairs.csv", explained, values, std_error)
    table = pd.read_csv(tmp_path / "pairs.csv")
    assert list(table) == ["frame_a", "frame_b", "class", "value", "std_error"]
    assert len(table) == 6 * len(NAMES)
    line = table.query("frame_a == 15 and frame_b == 35 and `class` == @NAMES[2]")
    np.testing.assert_allclose(line[["value", "std_error"]], [[values[1, 3, 2], std_error[1, 3, 2]]], rtol=1e-6)
    with pytest.raises(InputError, match="would have cells that a spreadsheet runs as formulas, '=1'"):
        save_pairs(tmp_path / "pairs.csv", explained._replace(class_names=("=1", *NAMES[1:])), values, std_error)

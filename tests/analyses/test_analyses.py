"""What the analyses report, against loops over clips and frames."""

import functools
import itertools
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import analyses
from esv_jax.analyses import (
    agreements,
    approximation,
    charts,
    comparison,
    discarding,
    lengths,
    methods,
    mistakes,
    pairs,
    portraits,
    positions,
    recorded,
    repeats,
    report,
    scales,
    shuffling,
    supporting,
)
from esv_jax.analyses.methods import Attributions
from esv_jax.analyses.study import Study, every_analysis
from esv_jax.checks import InputError
from esv_jax.data.evidence import read_evidence
from esv_jax.metrics import agreement
from tests.analyses.fakes import CLASSES, B, T, subject
from tests.contracts.cases import oracles

pytest.importorskip("matplotlib")
TSN, TRN = subject("tsn"), subject("multiscale_trn")
BOTH = [TSN, TRN]
EVIDENCE = {f"{i:06d}": np.array([0, 2]) if i % 2 else np.array([4]) for i in range(B)}


def study(subjects=BOTH, attributions=None, **options):
    defaults = {"num_frames": T, "approximated_frames": T, "slow_videos": 4, "evidence": EVIDENCE}
    return Study(subjects, lambda: attributions, **(defaults | options))


def where(table, **values):
    """The rows that have these values."""
    return table[np.logical_and.reduce([table[name] == value for name, value in values.items()])]


@pytest.fixture(scope="module")
def compared():
    """Of TSN as they are; of TRN, whose programs take long to compile, made up but for the ESVs."""
    of_tsn, errors = found = methods.attributions(TSN, T, seed=0)
    assert set(errors) == {"Int. Gradients (zero)", "Int. Gradients (mean)"}
    assert max(errors.values()) < 1e-3
    of_trn = {name: np.random.default_rng(i).normal(size=v.shape) for i, (name, v) in enumerate(of_tsn.items())}
    classes = (TRN.label, TRN.values[T].score.argmax(axis=1))
    of_trn["ESV"] = np.stack([TRN.esv_of(T, which) for which in classes], axis=2)
    return [found, Attributions(of_trn, errors)]


def saved(folder, made):
    """Draws all figures, which must leave no warning."""
    report.save(folder, made)
    expected = {"csv": made.tables, "png": made.figures, "md": made.page}
    assert {p.name for p in folder.iterdir()} == {
        f"{name}.{ending}" for ending in expected for name in expected[ending]
    }
    return made.tables


def test_supporting(tmp_path):
    table = saved(tmp_path, supporting.analyse(study()))["a_supporting"]
    for one in BOTH:
        esv, right = one.values[T].esv, one.values[T].score.argmax(axis=1) == one.label
        share = [np.mean([esv[v, i, one.label[v]] > 0 for i in range(T)]) for v in range(B)]
        mine = where(table, model=one.name)
        assert where(mine, group="all clips")["mean"].tolist() == [pytest.approx(np.mean(share))]
        assert where(mine, group="right")["videos"].tolist() == [right.sum()]
        assert where(mine, group=CLASSES[1])["mean"].tolist() == [pytest.approx(np.mean(share[1::3]))]


def test_positions(tmp_path):
    tables = saved(tmp_path, positions.analyse(study()))
    for n in (2, 3, 4):
        mine = where(tables["b_position"], model="TSN", num_frames=n)
        expected = [np.mean([TSN.values[n].esv[v, i, TSN.label[v]] for v in range(B)]) for i in range(n)]
        np.testing.assert_allclose(mine["mean"], expected, rtol=1e-5)
    shares = tables["b_by_class"][["early", "middle", "late"]]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("frames", "leans", "early", "middle"),
    [([3, 1, 0, 0], "early", 5 / 6, 1 / 6), ([0, 1, 1, 0], "middle", 1 / 6, 2 / 3), ([0, 0, -1, 1], "late", 0, 0)],
)
def test_leanings(frames, leans, early, middle):
    """A third of the clip is a frame and a third of the next one."""
    esv = np.zeros((B, T, 3), np.float32)
    esv[:, :, :] = np.array(frames, np.float32)[None, :, None]
    one = TSN._replace(values=TSN.values | {T: TSN.values[T]._replace(esv=esv)})
    table = positions.analyse(study([one])).tables["b_by_class"]
    assert set(table["leans"]) == {leans}
    np.testing.assert_allclose(table["early"], early, atol=1e-6)
    np.testing.assert_allclose(table["middle"], middle, atol=1e-6)


def test_lengths(tmp_path):
    tables = saved(tmp_path, lengths.analyse(study()))
    changed = where(
        tables["c_lengths"], model="TSN", measure="prediction changed by the last frame added", num_frames=3
    )
    before, after = (TSN.values[n].score.argmax(axis=1) for n in (2, 3))
    assert changed["mean"].tolist() == [pytest.approx(np.mean(before != after))]
    clip = where(tables["c_clip"], model="multi-scale TRN", num_frames=2)
    right = [{v for v in range(B) if one.values[T].score[v].argmax() == one.label[v]} for one in BOTH]
    v = min(right[0] & right[1] or right[1])
    assert set(clip["clip"]) == {f"v{v}"}
    np.testing.assert_allclose(clip["esv"], TRN.values[2].esv[v, :, TRN.label[v]])
    # The same values, stretched over time, are the same profile.
    values = np.array([[1.0, 3.0]])
    np.testing.assert_allclose(lengths._profile(values), lengths._profile(np.array([[0.5, 0.5, 1.5, 1.5]])))


def test_mistakes(tmp_path):
    tables = saved(tmp_path, mistakes.analyse(study()))
    for one in BOTH:
        score = one.values[T].score
        wrong = [v for v in range(B) if score[v].argmax() != one.label[v]]
        mine = where(tables["d_mistakes"], model=one.name)
        assert mine["clip"].tolist() == [one.uid[v] for v in wrong]
        for v, worst, third in zip(wrong, mine["worst_position"], mine["runner_up"], strict=True):
            gap = [one.values[T].esv[v, i, score[v].argmax()] - one.values[T].esv[v, i, one.label[v]] for i in range(T)]
            assert worst == int(np.argmax(gap))
            assert third not in (CLASSES[score[v].argmax()], CLASSES[one.label[v]])
        esv = one.values[T].esv
        told = {role: [] for role in ("true", "predicted", "share", "worst")}
        for v in wrong:
            p = score[v].argmax()
            gap = [esv[v, i, p] - esv[v, i, one.label[v]] for i in range(T)]
            told["true"].append(np.mean([esv[v, i, one.label[v]] > 0 for i in range(T)]))
            told["predicted"].append(np.mean([esv[v, i, p] > 0 for i in range(T)]))
            told["share"].append(max(gap) / sum(g for g in gap if g > 0))
            told["worst"].append(esv[v, int(np.argmax(gap)), p])
        for role, measure in (
            ("true", "positive ESV for the true class"),
            ("predicted", "positive ESV for the predicted class"),
            ("share", "share of the misleading that the worst frame holds"),
            ("worst", "ESV of the worst frame for the predicted class"),
        ):
            found = where(tables["d_summary"], model=one.name, measure=measure)
            assert found["mean"].tolist() == [pytest.approx(np.mean(told[role]))]
    assert sum(len(where(tables["d_mistakes"], model=one.name)) for one in BOTH) > 3


def test_discarding(tmp_path, compared):
    tables = saved(tmp_path, discarding.analyse(study(attributions=compared)))
    kernel, bias = (TSN.model.variables["params"][name] for name in ("kernel", "bias"))
    logits = TSN.features[T] @ kernel + bias
    for first, sign in (("highest", 1), ("lowest", -1)):
        key = {"model": "TSN", "ranked_by": "true", "method": "ESV", "first": first}
        score = []
        for gone in range(T):
            per_video = []
            for v in range(B):
                order = sorted(range(T), key=lambda i, v=v: -sign * TSN.values[T].esv[v, i, TSN.label[v]])
                per_video.append(oracles.softmax(logits[v, order[gone:]].mean(axis=0))[TSN.label[v]])
            score.append(np.mean(per_video))
        curve = where(tables["e_curves"], measure="score of the true class", **key)
        np.testing.assert_allclose(curve["mean"], score, rtol=1e-5)
        area = where(tables["e_areas"], measure="score of the true class", **key)
        np.testing.assert_allclose(area["mean"], [np.trapezoid(score, dx=1 / (T - 1))], rtol=1e-5)
    right = []
    for v in range(B):
        kept = TSN.values[T].esv[v, :, TSN.label[v]] >= 0
        right.append(logits[v, kept].mean(axis=0).argmax() == TSN.label[v] if kept.any() else False)
    dropped = where(tables["e_dropped"], model="TSN", ranked_by="true", method="ESV")
    all_negative = (TSN.esv_of(T, TSN.label) < 0).all(axis=1)
    assert not all_negative.any()
    assert dropped["accuracy_kept"].tolist() == [pytest.approx(np.mean(right))]
    assert dropped["gain"].tolist() == [pytest.approx(np.mean(right) - TSN.right(T).mean())]
    kept = np.mean([(TSN.values[T].esv[v, :, TSN.label[v]] >= 0).sum() for v in range(B)])
    assert dropped["frames_kept"].tolist() == [pytest.approx(kept)]


def test_agreement(tmp_path, compared):
    table = saved(tmp_path, agreements.analyse(study(attributions=compared)))["f_agreement"]
    mine = where(table, model="multi-scale TRN", measure="spearman", method="ESV", other="frame alone")
    a, b = (compared[1].values[name][..., 0] for name in ("ESV", "frame alone"))
    assert mine["mean"].tolist() == [pytest.approx(np.mean([agreement.spearman(a[v], b[v]) for v in range(B)]))]


def test_approximation(tmp_path, monkeypatch):
    monkeypatch.setattr(approximation, "PER_SIZE", (2, 6))
    monkeypatch.setattr(approximation, "LENGTHS", (6,))
    tables = saved(tmp_path, approximation.analyse(study([TSN])))
    exact = where(tables["g_closeness"], m=6)  # 6 = C(4, 2) coalitions of a size are all of them
    np.testing.assert_allclose(exact["mean"], 1, atol=1e-6)
    sampled = where(tables["g_closeness"], m=2)["mean"].tolist()
    assert sampled[0] < sampled[-1] < 1


def test_scales(tmp_path):
    table = saved(tmp_path, scales.analyse(study()))["h_scales"]
    assert set(table["model"]) == {"TSN", "multi-scale TRN", "scale 1 alone", "scale 2 alone"}
    logits = scales._logits_of_scale(TRN, 2, T + 3)(T)  # filled up, frames and subsets
    clips = np.stack([TRN.features[T][0][[i, j]] for i in range(T) for j in range(i + 1, T)])
    expected = TRN.model.module.apply(TRN.model.variables, clips, method="scale_logits").mean(axis=0)
    np.testing.assert_allclose(logits[0], expected, rtol=1e-4, atol=1e-5)


def test_recorded(tmp_path, compared):
    tables = saved(tmp_path, recorded.analyse(study(attributions=compared)))
    right = np.flatnonzero(TRN.right(T))
    esv = np.abs(TRN.esv_of(T, TRN.label))
    chances = []
    for v in right:
        inside = [i for i in range(T) if 2 * i in EVIDENCE[f"{v:06d}"]]
        outside = [i for i in range(T) if i not in inside]
        chances.append(np.mean([esv[v, i] > esv[v, j] for i in inside for j in outside]))
    beyond = []
    for v in right:
        mask = [2 * i in EVIDENCE[f"{v:06d}"] for i in range(T)]
        areas = {
            w: np.mean([esv[w, i] > esv[w, j] for i in range(T) if mask[i] for j in range(T) if not mask[j]])
            for w in right
        }
        beyond.append(areas.pop(v) - np.mean(list(areas.values())))
    key = {"model": "multi-scale TRN", "method": "ESV", "ranking": "absolute", "measure": recorded.BEYOND_POSITION}
    assert where(tables["r_evidence"], **key)["mean"].tolist() == [pytest.approx(np.mean(beyond))]
    key = {"model": "multi-scale TRN", "method": "ESV", "ranking": "absolute", "measure": "AUROC"}
    assert where(tables["r_evidence"], **key)["mean"].tolist() == [pytest.approx(np.mean(chances))]
    assert where(tables["r_evidence"], **key)["videos"].tolist() == [len(right)]
    with pytest.raises(InputError, match="found none of 1: v3"):
        recorded.evidence_masks(TSN, T, {k: v for k, v in EVIDENCE.items() if k != "000003"})


def test_reading_evidence(tmp_path):
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps({"000001": {"num_frames": 9, "evidence": [2, 3]}}))
    np.testing.assert_array_equal(read_evidence(path)["000001"], [2, 3])
    odd = (f'{{"a": {{"evidence": [{frames}]}}}}' for frames in ("-1", "1.7", "[1, 2]", "1e30", "9" * 30))
    for content in ("{", "[1]", '{"a": {}}', *odd):
        path.write_text(content)
        with pytest.raises(InputError, match=r"evidence\.json cannot be read"):
            read_evidence(path)


def test_evidence_as_csv(tmp_path):
    path = tmp_path / "evidence.csv"
    path.write_text("uid,first,last\na/1,2,4\nb,0,0\na/1,4,5\n")
    found = read_evidence(path)
    assert {uid: frames.tolist() for uid, frames in found.items()} == {"a/1": [2, 3, 4, 5], "b": [0]}
    # Frame f is shown from f / 25 seconds on: 3 from .12, 5 from .2; a clip of 75 frames ends at 3.
    path.write_text("uid,start,end\na,0.12,0.2\nb,0.13,0.14\nc,0,0.039\nd,2.92,3\n")
    found = read_evidence(path, 25)
    assert {uid: frames.tolist() for uid, frames in found.items()} == {"a": [3, 4], "b": [4], "c": [0], "d": [73, 74]}


@pytest.mark.parametrize(
    ("text", "rate", "message"),
    [
        ("uid,start,end\na,0,1\n", None, "counts in seconds: say how many frames a second"),
        ("uid,start,end\na,0,1\n", 0, "frames_per_second should be more than 0"),
        ("uid,first,last\na,3,2\n", None, "line 2 of .* should say where evidence begins"),
        ("uid,first,last\na,1.5,2\n", None, "line 2 of .* should say where evidence begins"),
        ("uid,start,end\na,1,nan\n", 25, "line 2 of .* should say where evidence begins"),
        ("uid,first,last\na,0,99999999999\n", None, "line 2 of .* should say where evidence begins"),
        ("uid,first\na,1\n", None, "last"),
        ("name,first,last\na,1,2\n", None, "uid"),
    ],
)
def test_evidence_that_is_none(tmp_path, text, rate, message):
    path = tmp_path / "evidence.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_evidence(path, rate)


def test_evidence_goes_by_uid_and_is_of_frames_that_there_are():
    by_uid = {f"v{i}": np.array([0, 6]) for i in range(B)}
    mask = recorded.evidence_masks(TSN, T, by_uid)
    np.testing.assert_array_equal(mask, np.tile([True, False, False, True], (B, 1)))
    pathless = TSN._replace(path=("",) * B)
    np.testing.assert_array_equal(recorded.evidence_masks(pathless, T, by_uid), mask)
    with pytest.raises(InputError, match=r"the evidence of v2 should be of its frames 0\.\.7, found 8"):
        recorded.evidence_masks(TSN, T, by_uid | {"v2": np.array([8])})
    with pytest.raises(InputError, match="found none of 8: v0, v1, v2"):
        recorded.evidence_masks(TSN, T, {})
    alike = TSN._replace(path=tuple(f"s{v % 2}/{v // 2:06d}.mpg" for v in range(B)))
    with pytest.raises(InputError, match="recorded by uid, where files have the same name, found 000000"):
        recorded.evidence_masks(alike, T, EVIDENCE)
    np.testing.assert_array_equal(recorded.evidence_masks(alike, T, by_uid), mask)


def test_scales_of_two_models_have_names_of_their_own():
    two = [TRN._replace(name="a"), TRN._replace(name="b")]
    found = scales.analyse(study(two))
    names = ["a", "a, scale 1 alone", "a, scale 2 alone", "b", "b, scale 1 alone", "b, scale 2 alone"]
    assert found.page["scales"].iloc[:, 0].tolist() == names
    for draw in found.figures.values():
        draw()


def test_smoothed_values_are_compared_too(compared):
    tables = recorded.analyse(study(attributions=compared, smooth=3)).tables
    right = np.flatnonzero(TRN.right(T))
    esv = np.abs(
        [[np.mean(values[max(0, i - 1) : i + 2]) for i in range(T)] for values in TRN.esv_of(T, TRN.label)[right]]
    )
    chances = []
    for v, values in zip(right, esv, strict=True):
        mask = [2 * i in EVIDENCE[f"{v:06d}"] for i in range(T)]
        pairs = [(values[i], values[j]) for i in range(T) if mask[i] for j in range(T) if not mask[j]]
        chances.append(np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs]))
    key = {"model": "multi-scale TRN", "method": "ESV", "ranking": "absolute", "measure": "AUROC"}
    assert where(tables["r_evidence"], **key, smooth=3)["mean"].tolist() == [pytest.approx(np.mean(chances))]
    assert len(where(tables["r_evidence"], **key)) == 2
    with pytest.raises(InputError, match="over an odd number of frames, 1 or more, found 2"):
        recorded.analyse(study(attributions=compared, smooth=2))


def test_one_table_a_model(compared):
    made = study(attributions=compared, smooth=3)
    tables = {}
    for module in (agreements, discarding, recorded):
        tables |= module.analyse(made).tables
    found = comparison.compared({name: tables[name] for name in comparison.NEEDED})
    table, page = found.tables["comparison"], found.page["comparison_2"]
    assert list(found.page) == ["comparison_1", "comparison_2"]
    assert list(page.columns) == [
        "multi-scale TRN", "Spearman with ESV", "same top frame as ESV", "score, highest go first",
        "score, lowest go first", "evidence", "evidence, mean of 3",
    ]  # fmt: skip
    assert page["multi-scale TRN"][0] == "ESV"
    key = {"model": "multi-scale TRN", "ranked_by": "true", "measure": "score of the true class", "first": "lowest"}
    for row in where(tables["e_areas"], **key).itertuples():
        mine = where(table, model="multi-scale TRN", method=row.method, head="score, lowest go first")
        assert mine["mean"].tolist() == [row.mean]
        assert mine["low"].tolist() == [row.low]
    alone = comparison.compared({name: tables[name] for name in comparison.NEEDED[:-1]})
    assert "evidence" not in alone.page["comparison_1"].columns


def test_a_model_on_the_host_is_asked_what_it_can_answer():
    """The same TSN as a host game: its values are those of JAX, where there are any; no gradients, no scales."""
    variables = TSN.params
    weights = {name: np.asarray(value, np.float64) for name, value in variables["params"].items()}

    def predict(model, clips):
        return clips.mean(axis=1) @ model["kernel"] + model["bias"]

    theirs = esv_jax.host_game(predict, empty=TSN.prior, removal="delete", link="softmax", check=False), weights
    host = TSN._replace(name="theirs", model=None, theirs=theirs)
    assert host.is_host
    assert not host.can_show_frames()
    found, _ = methods.attributions(host, T, seed=0)
    expected, _ = methods.attributions(TSN, T, seed=0)
    assert set(found) == {"ESV", "class-score delta", "occlusion of 3", "frame alone", "random"}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-6)
    both = study([TSN, host], [Attributions(expected, {}), Attributions(found, {})])
    for module in (discarding, agreements, shuffling, repeats, scales, supporting, positions, lengths, mistakes):
        module.analyse(both)
    recorded_tables = recorded.analyse(both).tables
    assert set(recorded_tables["s_random"]["model"]) == {"TSN"}
    areas = discarding.analyse(both).tables["e_areas"]
    key = {"method": "ESV", "first": "highest", "measure": "accuracy", "ranked_by": "true"}
    assert where(areas, model="theirs", **key)["mean"].tolist() == where(areas, model="TSN", **key)["mean"].tolist()
    assert approximation.analyse(study([host], None)) == report.Report({})
    assert approximation.analyse(study(approximated_frames=None)) == report.Report({})


def test_order_matters_to_the_trn_alone():
    table = shuffling.analyse(study()).tables["s_shuffled"]
    tsn, trn = table["largest_difference"]
    assert tsn < 1e-5
    assert trn > 0.01


def test_random_weights(monkeypatch, compared):
    def found(seed=0):
        return recorded.analyse(study([TSN], compared[:1], seed=seed)).tables["s_random"]

    table = found()
    assert where(table, ranking="absolute", measure="AUROC")["videos"].tolist() == [TSN.right(T).sum()]
    monkeypatch.setattr(recorded, "_RANDOM_MODELS", 1)
    one = found()
    variables = TSN.model.module.init(jax.random.fold_in(jax.random.key(0), 0), TSN.features[T][0])
    game = esv_jax.tsn_game(TSN.model.module, empty=TSN.prior)
    chances = []
    for v in np.flatnonzero(TSN.right(T)):
        esv = np.asarray(esv_jax.explain(esv_jax.exact(), game, variables, TSN.features[T][v]).values)[:, TSN.label[v]]
        mask = [2 * i in EVIDENCE[f"{v:06d}"] for i in range(T)]
        chances.append(np.mean([esv[i] > esv[j] for i in range(T) if mask[i] for j in range(T) if not mask[j]]))
    assert where(one, ranking="signed", measure="AUROC")["mean"].tolist() == [pytest.approx(np.mean(chances))]
    monkeypatch.undo()
    assert found().equals(table)
    assert not found(seed=1).equals(table)


def test_repeats(tmp_path, monkeypatch):
    monkeypatch.setattr(repeats, "TIMES", (2,))
    table = saved(tmp_path, repeats.analyse(study([TSN], slow_videos=2)))["r_repeats"]
    kernel, bias = (TSN.model.variables["params"][name] for name in ("kernel", "bias"))
    right = np.flatnonzero(TSN.right(T))[:2]
    owed = []
    for v in right:
        logits = TSN.features[T][v] @ kernel + bias
        inside = [i for i in range(T) if 2 * i in EVIDENCE[f"{v:06d}"]]
        frame = inside[len(inside) // 2]
        shown = [*range(frame), frame, frame, *range(frame + 1, T)]
        others = [i for i in range(T) if i != frame]
        full, rest = (oracles.softmax(logits[rows].mean(axis=0))[TSN.label[v]] for rows in (shown, others))
        owed.append(full - rest)
    found = where(table, method=repeats.DEPENDENCE, times=2)
    assert found["mean"].tolist() == [pytest.approx(np.mean(owed), abs=1e-6)]
    total, each = (
        where(table, method="ESV", times=2, measure=m)["mean"].to_numpy() for m in ("sum of copies", "each copy")
    )
    np.testing.assert_allclose(each, total / 2, rtol=1e-5)


def test_every_analysis_is_found():
    files = {path.stem for path in Path(analyses.__file__).parent.glob("*.py")}
    shared = {"__init__", "charts", "comparison", "methods", "removal_choice", "report", "study", "subject"}
    shared |= {path.stem for path in Path(analyses.__file__).parent.glob("model_*.py")}
    assert set(every_analysis()) == files - shared


def test_pairs_are_the_mean_of_every_clips():
    """By the definition of the interaction index, over all coalitions of the others, in float64."""
    tables = pairs.analyse(study([TSN], slow_videos=2)).tables["i_pairs"]
    chosen = np.flatnonzero(TSN.right(T))[:2]
    found = []
    for v in chosen:
        worth = functools.cache(
            lambda members, v=v: float(
                esv_jax.worths(TSN.game(), TSN.params, TSN.features[T][v], np.isin(np.arange(T), members)[None])[
                    0, TSN.label[v]
                ]
            )
        )
        of_pairs = []
        for i, j in itertools.combinations(range(T), 2):
            total = 0.0
            others = [k for k in range(T) if k not in (i, j)]
            for size in range(len(others) + 1):
                for some in itertools.combinations(others, size):
                    both, one, other, neither = (
                        worth(tuple(sorted((*some, *more)))) for more in ((i, j), (i,), (j,), ())
                    )
                    total += (both - one - other + neither) / ((T - 1) * math.comb(T - 2, size))
            of_pairs.append(total)
        found.append(of_pairs)
    np.testing.assert_allclose(tables["mean"], np.mean(found, axis=0), atol=2e-6)
    assert tables["videos"].tolist() == [2] * 6
    top = pairs.page({"i_pairs": tables})["pairs"]
    best = tables.loc[tables["mean"].idxmax()]
    assert top["pair"][0] == f"{best['position_1']} and {best['position_2']}"
    assert len(top) == 3


def test_without_evidence_or_frames_nothing_is_said_of_them():
    for module in (recorded, repeats, portraits):
        assert module.analyse(study(evidence=None)) == report.Report({})


def test_attributions_are_computed_once_for_the_same_settings(tmp_path, monkeypatch):
    made = Attributions({"ESV": np.arange(3.0)}, {"Int. Gradients (zero)": 1e-7})
    monkeypatch.setattr(methods, "attributions", lambda *_, seed: made)
    path = tmp_path / "a.npz"
    methods.attributions_in(path, {"seed": 0}, TSN, T, seed=0)
    monkeypatch.setattr(methods, "attributions", lambda *_, seed: made._replace(completeness_gap={}))
    again = methods.attributions_in(path, {"seed": 0}, TSN, T, seed=0)
    np.testing.assert_array_equal(again.values.pop("ESV"), made.values["ESV"])
    assert again == ({}, made.completeness_gap)
    assert methods.attributions_in(path, {"seed": 1}, TSN, T, seed=1).completeness_gap == {}
    path.write_bytes(b"interrupted")
    assert methods.attributions_in(path, {"seed": 1}, TSN, T, seed=1).completeness_gap == {}
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_styles_tell_nine_lines_apart():
    looks = [charts.style(i) for i in range(9)]
    assert len({look["color"] for look in looks}) == len({look["marker"] for look in looks}) == 9

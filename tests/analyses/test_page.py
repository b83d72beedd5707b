"""The tables of a page, of tables as the analyses write them."""

from esv_jax.analyses import page, recorded
from esv_jax.analyses.tables import Table


def shown(make, **given):
    made = make(lambda name: given[name])
    return [dict(zip(made.columns, row, strict=True)) for row in made.rows]


def test_areas_are_those_for_the_true_class_and_of_the_accuracy():
    columns = ("model", "ranked_by", "method", "first", "measure", "mean", "low", "high", "videos")
    rows = [
        ("A", ranked_by, "ESV", "highest", measure, mean, 0.0, 1.0, 9)
        for ranked_by, measure, mean in (
            ("predicted", "accuracy", 0.1),
            ("true", "accuracy", 0.2),
            ("true", "score of the true class", 0.3),
        )
    ]
    table = Table(columns, rows)
    assert shown(page._areas, e_areas=table) == [{"method": "ESV", "A, highest": "0.200 [0.000, 1.000]"}]
    assert shown(page._score_areas, e_areas=table) == [{"method": "ESV", "A, highest": "0.300 [0.000, 1.000]"}]


def test_agreement_is_that_with_esvs():
    columns = ("model", "measure", "method", "other", "mean", "low", "high", "videos")
    rows = [("A", "sign", "random", "ESV", 0.1, 0.0, 1.0, 9), ("A", "sign", "ESV", "random", 0.2, 0.0, 1.0, 9)]
    found = shown(page._agreement, f_agreement=Table(columns, rows))
    assert found == [{"ESV against": "random", "A, sign": "0.200 [0.000, 1.000]"}]


def test_evidence_tells_random_weights_from_trained_ones():
    columns = ("model", "method", "ranking", "measure", "mean", "low", "high", "videos")
    trained = [
        ("A", "ESV", "signed", measure, mean, 0.0, 1.0, 9)
        for measure, mean in (("AUROC", 0.7), (recorded.BEYOND_POSITION, 0.2), ("mass inside", 0.4))
    ]
    of_random = [("A", "ESV", "signed", "AUROC", 0.5, 0.0, 1.0, 9)]
    found = shown(page._evidence, r_evidence=Table(columns, trained), s_random=Table(columns, of_random))
    assert [row["values"] for row in found] == ["A: ESV", "A: ESV of random weights"]
    assert [row["signed, AUROC"] for row in found] == ["0.700 [0.000, 1.000]", "0.500 [0.000, 1.000]"]
    assert [row[f"signed, {recorded.BEYOND_POSITION}"] for row in found] == ["0.200 [0.000, 1.000]", ""]


def test_classes_named_as_totals_are_no_totals():
    columns = ("model", "of", "group", "mean", "low", "high", "videos")
    rows = [("A", "total", "right", 0.1, 0.0, 1.0, 9), ("A", "class", "right", 0.2, 0.0, 1.0, 3)]
    found = shown(page._supporting, a_supporting=Table(columns, rows))
    assert found == [{"clips": "right", "A": "0.100 [0.000, 1.000]"}]

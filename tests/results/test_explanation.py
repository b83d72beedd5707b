import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esv_jax.base import Attribution
from esv_jax.checks import InputError
from esv_jax.results.explanation import add_up, class_index, explanation, gap, has_interval, predicted_class
from tests.results.fakes import NAMES, fake_explanation


def _attribution(num_frames=3, num_classes=2, **changed):
    fields = {
        "values": np.zeros((num_frames, num_classes)),
        "std_error": np.zeros((num_frames, num_classes)),
        "full": np.ones(num_classes),
        "empty": np.zeros(num_classes),
    }
    return Attribution(**(fields | changed))


def _explain(attribution, **changed):
    context = {
        "title": "a clip",
        "frames": np.arange(3),
        "times": np.arange(3.0),
        "images": np.zeros((3, 4, 4, 3), np.uint8),
        "class_names": ["up", "down"],
        "sampled": False,
    }
    return explanation(attribution, **(context | changed))


def test_predicted_class_and_gap_by_hand():
    explained = _explain(
        _attribution(values=np.array([[0.5, 1.0], [0.0, -0.5], [0.25, 0.0]]), full=np.array([1.0, 2.0]))
    )
    assert predicted_class(explained) == 1
    np.testing.assert_allclose(gap(explained), [1.0 - 0.75, 2.0 - 0.5])


def test_intervals_are_those_of_the_attribution():
    values, std_error = np.array([[0.5, 1.0], [0.0, -0.5], [0.25, 0.0]]), np.full((3, 2), 0.125)
    explained = _explain(_attribution(values=values, std_error=std_error, middle=values + 1.0, degrees=1.0))
    # Student's t with one degree of freedom is Cauchy's distribution.
    reach = 0.125 * np.tan(0.475 * np.pi)
    np.testing.assert_allclose(explained.low, np.minimum(values, values + 1 - reach), rtol=1e-5)
    np.testing.assert_allclose(explained.high, values + 1 + reach, rtol=1e-5)
    assert has_interval(explained, 0)


def test_too_few_samples_have_no_interval():
    explained = _explain(_attribution(std_error=np.array([[0.1, 0.0]] * 3), degrees=0.0))
    assert np.isinf([explained.low, explained.high]).all()
    assert [has_interval(explained, c) for c in range(2)] == [False, False]


def test_an_exact_explanation_leaves_no_gap_and_a_sampled_one_does():
    assert np.abs(gap(fake_explanation(8))).max() < 1e-12
    assert np.abs(gap(fake_explanation(8, sampled=True))).max() > 1e-3


@pytest.mark.parametrize("field", Attribution._fields[:4])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(field, bad):
    attribution = _attribution()
    broken = np.array(getattr(attribution, field))
    broken.flat[1] = bad
    with pytest.raises(InputError, match=rf"attribution\.{field} should be finite"):
        _explain(attribution._replace(**{field: broken}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class_names": ["up", "down", "left"]}, r"attribution\.values should have shape \[3, 3\], found \[3, 2\]"),
        ({"frames": np.arange(4)}, r"attribution\.values should have shape \[4, 2\]"),
        ({"times": np.arange(2.0)}, r"times should have shape \[3\], found \[2\]"),
        ({"images": np.zeros((3, 4, 4))}, r"images should have shape \[3, H, W, 3\]"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        _explain(_attribution(), **changed)


def test_class_index_finds_a_name_whatever_its_capitals():
    assert class_index(NAMES, "Covering something") == 3
    assert class_index(NAMES, "covering SOMETHING") == 3
    assert class_index(["a", "A"], "A") == 1


def test_an_unknown_class_is_answered_with_close_names_and_how_many_there_are():
    with pytest.raises(
        InputError, match=r"unknown class 'Moving something lefft': the model knows 4 classes"
    ) as caught:
        class_index(NAMES, "Moving something lefft")
    assert "'Moving something left'" in str(caught.value)
    with pytest.raises(InputError, match=r"close names are 'Covering something'"):
        class_index(NAMES, "covering")
    with pytest.raises(InputError, match=r"the first is 'Moving something left'"):
        class_index(NAMES, "zzz")


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=40),
    st.integers(1, 5),
    st.floats(-1, 1),
)
def test_rounded_terms_add_up_to_the_rounded_total_each_within_a_unit(terms, decimals, prior):
    terms = np.asarray(terms)
    total = round(prior + float(terms.sum()), decimals) - round(prior, decimals)
    printed = add_up(terms, total, decimals)
    unit = 10.0**-decimals
    assert round(float(printed.sum()), decimals) == round(total, decimals)
    assert np.abs(printed - terms).max() <= unit * (1 + 1e-9)
    np.testing.assert_allclose(printed, np.round(printed, decimals), atol=0)


def test_terms_that_already_add_up_are_rounded_as_ever():
    np.testing.assert_array_equal(add_up(np.array([0.123, 0.2, -0.004]), 0.32, 2), [0.12, 0.2, 0.0])
    assert not np.signbit(add_up(np.array([-0.001]), 0.0, 2)[0])

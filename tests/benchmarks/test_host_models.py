"""Models of other packages: the same whenever made; what users of all packages write agrees; calls are counted."""

import contextlib
import itertools

import numpy as np
import pytest

import esv_jax
from esv_jax.benchmarks import black_box, host_models, peers
from tests import oracles

NEEDS = {
    "transformer": ["torch"],
    "videomae": ["torch", "transformers"],
    "gru": ["torch"],
    "labels": ["torch"],
    "mlp": ["sklearn"],
    "forest": ["sklearn"],
}


def made(name):
    for package in NEEDS[name]:
        pytest.importorskip(package)
    return host_models.CASES[name]()


def masks(num_frames, count=12):
    chosen = np.random.default_rng(0).random((count, num_frames)) < 0.5
    chosen[0], chosen[1], chosen[2] = True, False, np.arange(num_frames) == 3
    return chosen


def test_every_model_is_in_these_tests():
    assert list(NEEDS) == list(host_models.CASES)


@pytest.mark.parametrize("name", NEEDS)
def test_what_users_of_both_kinds_write_is_one_game(name):
    case = made(name)
    mask = masks(len(case.video))
    ours = np.asarray(esv_jax.worths(case.game(case.empty), case.model, case.video, mask))
    for target in {0, ours.shape[1] - 1, int(ours[0].argmax())}:
        theirs = case.worths(case.model, case.video, case.empty, target)(mask)
        np.testing.assert_allclose(theirs, ours[:, target], atol=1e-5)


@pytest.mark.parametrize("name", NEEDS)
def test_models_are_the_same_whenever_they_are_made_and_their_scores_vary(name):
    worths = []
    for case in (made(name), made(name)):
        mask = masks(len(case.video))
        worths.append(np.asarray(esv_jax.worths(case.game(case.empty), case.model, case.video, mask)))
    np.testing.assert_array_equal(*worths)
    target = int(worths[0][0].argmax())
    assert worths[0][:, target].std() > 0.02


def test_a_table_says_what_the_model_says(monkeypatch):
    case = made("gru")
    case = case._replace(video=case.video[:5])
    table = host_models.tabulated(case)
    mask = np.array(list(itertools.product([False, True], repeat=5)))
    expected = np.asarray(esv_jax.worths(case.game(case.empty), case.model, case.video, mask))
    np.testing.assert_allclose(table.worths(2)[host_models.index(mask)], expected[:, 2], atol=1e-6)
    of = {tuple(np.flatnonzero(row)): worth for row, worth in zip(mask, expected, strict=True)}
    exact = esv_jax.explain(esv_jax.exact(), table.game, table.of, case.video).values
    np.testing.assert_allclose(exact, oracles.permutation_shapley(lambda s: of[tuple(sorted(s))], 5), atol=1e-6)


def test_the_worth_of_nobody_is_asked_for_where_it_is_not_given():
    case = made("labels")
    case = case._replace(video=case.video[:4])
    table = host_models.tabulated(case)
    nothing = case.worths(case.model, case.video, None, 1)(np.zeros((1, 4), bool))
    np.testing.assert_allclose(table.worths(1)[:1], nothing, atol=1e-6)
    np.testing.assert_allclose(table.empty[1], nothing[0], atol=1e-6)


@pytest.mark.parametrize("name", ["labels", "mlp"])
def test_calls_are_counted_kept_and_no_more_than_allowed(name):
    case = made(name)
    model, before = case.model, getattr(case.model, case.method)
    meter = host_models.Meter(40, keep=True)
    with meter.watching(model, case.method):
        out = host_models.explained(case.game(case.empty), model, case.video, 40, 0)
    assert int(out.num_evaluations) + 1 <= meter.evaluations <= 40
    assert sum(len(call[0]) for call in meter.calls) == meter.evaluations
    assert meter.seconds > 0
    assert getattr(model, case.method) == before
    with meter.watching(model, case.method), pytest.raises(black_box.OverBudget, match="where 40 were allowed"):
        host_models.explained(case.game(case.empty), model, case.video, 40, 0)
    assert getattr(model, case.method) == before


def test_ours_keeps_to_the_evaluations_whoever_is_asked():
    for name in ("labels", "transformer"):
        case = made(name)
        meter = host_models.Meter(100)
        with meter.watching(case.model, case.method):
            host_models.explained(case.game(case.empty), case.model, case.video, 100, 1)
        assert 95 <= meter.evaluations <= 100


def test_captum_of_clips_finds_what_captum_of_coalitions_does_of_an_additive_model():
    torch = pytest.importorskip("torch")
    pytest.importorskip("captum")
    weight = torch.linspace(-1, 1, 3)
    video = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)

    class Additive(torch.nn.Module):
        def forward(self, clips):
            # Small, so that the sigmoid is a line.
            return 1e-3 * (clips * weight).sum(dim=(1, 2))[:, None]

    found = host_models.labels_captum(Additive(), video, 0, 100, 0)
    np.testing.assert_allclose(found, 0.25e-3 * (video @ weight.numpy()), atol=1e-6)


def test_lines_are_those_of_the_body():
    def counted(x):
        """Not this."""
        import math

        # Nor this.
        y = [
            math.sqrt(x),  # but this
        ]

        return y

    assert host_models.lines_of(counted) == 4
    assert host_models.lines_of(counted, counted) == 8


def additive_peers():
    """The peers of which regressions or orders of frames are exact for a sum, by name."""
    return [
        ("shap", "shap KernelExplainer"),
        ("shap", "shap PermutationExplainer"),
        ("captum", "captum KernelShap"),
        ("captum", "captum ShapleyValueSampling"),
        ("shapiq", "shapiq KernelSHAP"),
        ("shapiq", "shapiq KernelSHAP"),
        ("shapiq", "shapiq kADDSHAP"),
    ]


@pytest.mark.parametrize(("package", "name"), additive_peers())
def test_other_packages_find_an_additive_game_within_the_evaluations(package, name):
    pytest.importorskip(package)
    shares = np.random.default_rng(3).normal(size=9)
    worths = black_box.Counted(lambda mask: mask @ shares + 0.3, budget=90)
    found, _ = peers.available()
    np.testing.assert_allclose(found[name](worths, 9, 90, 0), shares, atol=1e-4)
    assert 70 <= worths.evaluations <= 90


@pytest.mark.parametrize("name", ["captum KernelShap", "captum ShapleyValueSampling"])
def test_captum_keeps_to_its_seed(name):
    pytest.importorskip("captum")
    peer = peers.available()[0][name]
    values = [peer(lambda mask: (mask.sum(axis=1) > 3).astype(float) * mask[:, 0], 6, 40, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(values[0], values[1])
    assert np.abs(values[0] - values[2]).max() > 0


def test_nothing_is_left_of_a_watch_that_was_broken_off():
    case = made("labels")
    before = case.model.forward
    with contextlib.suppress(ZeroDivisionError), host_models.Meter().watching(case.model, "forward"):
        raise ZeroDivisionError
    assert case.model.forward == before

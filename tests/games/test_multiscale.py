"""The joint game where plans hold some coalitions: their worths are the definition's, by whatever plan or batch."""

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax import models
from tests import oracles
from tests.contracts.cases import EMPTY, GAMES, HEADS, D

T = 6
VIDEO = np.random.default_rng(4).normal(size=(T, D)).astype(np.float32)


def by_size(plan):
    """The plan's coalitions as members, for `oracles.cell_means`."""
    rows = np.split(plan.mask, np.cumsum(plan.sizes)[:-1])
    members = [np.nonzero(mask)[1].reshape(len(mask), -1) for mask in rows]
    return dict(enumerate([np.zeros((1, 0), int), *members]))


@pytest.mark.parametrize("name", ["multiscale_game", "trn_game"])
def test_worths_do_not_depend_on_what_else_a_plan_holds(name):
    """But where children are asked for: a sampled plan holds few of them."""
    case, estimator = GAMES[name], esv_jax.stratified(per_size=4)
    game, params = case.make(np.float32)
    plan = estimator.plan(T, key=jax.random.key(0))
    sampled = esv_jax.explain(estimator, game, params, VIDEO, plan=plan)
    expected = oracles.cell_means(case.worth(VIDEO.astype(np.float64)), by_size(plan), T)
    np.testing.assert_allclose(sampled.values, expected, atol=2e-6)
    of_children, _ = GAMES[f"{name}, of children"].make(np.float32)
    assert np.abs(esv_jax.explain(estimator, of_children, params, VIDEO, plan=plan).values - expected).max() > 1e-3


@pytest.mark.parametrize("name", ["multiscale_game", "trn_game"])
def test_plans_without_lineage_have_no_children_to_take_worths_from(name):
    estimator = esv_jax.regression(max_evaluations=40)
    plan = estimator.plan(T, key=jax.random.key(0))
    game, params = GAMES[name].make(np.float32)
    of_children, _ = GAMES[f"{name}, of children"].make(np.float32)
    found = esv_jax.explain(estimator, of_children, params, VIDEO, plan=plan)
    wanted = esv_jax.explain(estimator, game, params, VIDEO, plan=plan)
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-6)


def test_more_subsets_than_can_be_evaluated():
    num_frames, num_scales = 40, 6
    model = models.MultiscaleTRN(num_scales=num_scales, hidden_dim=4, num_classes=2)
    video = np.random.default_rng(0).normal(size=(num_frames, 3)).astype(np.float32)
    variables = jax.tree.map(lambda a: 2 * a, model.init(jax.random.key(1), video[:num_scales]))
    game = esv_jax.trn_game(model, empty=np.array([0.5, 0.5], np.float32))
    estimator = esv_jax.stratified(per_size=4)
    plan = estimator.plan(num_frames, key=jax.random.key(0))
    out = esv_jax.explain(estimator, game, variables, video, plan=plan)
    assert np.isfinite(out.values).all()

    # The same worths when asked for in another order, by themselves.
    order = np.random.default_rng(1).permutation(len(plan.mask))
    asked = np.asarray(esv_jax.worths(game, variables, video, plan.mask[order]))
    worths = {tuple(np.flatnonzero(plan.mask[row]).tolist()): worth for row, worth in zip(order, asked, strict=True)}
    subsets = by_size(plan)
    expected = oracles.cell_means({(): game.empty, **worths}.__getitem__, subsets, num_frames)
    np.testing.assert_allclose(out.values, expected, atol=2e-6)

    # The whole video's score, by the definition: means over random subsets, of which the game takes 256.
    rng, count = np.random.default_rng(2), 20_000
    frames = video.astype(np.float64)
    margins = []
    for size in range(1, num_scales + 1):
        head = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"][f"scale_{size}"])
        chosen = np.sort(rng.random((count, num_frames)).argpartition(size, axis=1)[:, :size], axis=1)
        first = np.einsum("nkd,kdh->nh", frames[chosen], head["first"]["kernel"]) + head["first_bias"]
        logits = np.maximum(first, 0) @ head["logits"]["kernel"] + head["logits"]["bias"]
        margins.append(logits[:, 0] - logits[:, 1])
    error = np.sqrt(np.var(margins, axis=1).sum() * (1 / 256 + 1 / count)) / num_scales
    found = np.log(out.full[0] / out.full[1])
    assert abs(found - np.mean(margins)) < 3 * error
    assert error < 0.1 * np.std(margins)


def test_wrong_uses_are_refused():
    with pytest.raises(esv_jax.InputError, match='average should be "logits" or "scores", found \'votes\''):
        esv_jax.multiscale_game(HEADS, empty=EMPTY, average="votes")
    with pytest.raises(esv_jax.InputError, match=r"a function for every scale .*, found none"):
        esv_jax.multiscale_game([], empty=EMPTY)

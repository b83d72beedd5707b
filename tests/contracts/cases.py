"""What joins the contract suite: every game and estimator that the package exports, with its variants.

A name that is exported and has no case here fails the suite; a variant is called "name, in words".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import esv_jax
from esv_jax import models
from tests import oracles
from tests.contracts import tables

C, D = 4, 3


class GameCase(NamedTuple):
    """A game with its params for a dtype, and its worths by definition in float64: (params, video) -> tuple -> [C]."""

    make: Any
    worth: Any


class EstimatorCase(NamedTuple):
    """An estimator for so many players; whether it is exact for the suite's, satisfies efficiency; the share of 95 %
    intervals that must cover; whether its values are linear in the worths for one plan; the game of a table of worths.
    """

    make: Callable[[int], esv_jax.Estimator]
    is_exact: bool
    efficient: bool
    coverage: tuple[float, float]
    linear: bool = True
    game: Callable[[Any], Any] = tables.clip_game


EMPTY = np.array([0.1, 0.2, 0.3, 0.4])


def _numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def _as(dtype, tree):
    return jax.tree.map(lambda a: np.asarray(a, dtype), tree)


def _clip_case():
    params = {"w": _numbers(1, D, C), "v": _numbers(2, D, C)}

    def predict(p, clips):  # depends on order through the first and the last frame
        return jax.nn.softmax(jnp.tanh(clips).mean(axis=1) @ p["w"] + (clips[:, 0] * clips[:, -1]) @ p["v"])

    def worth(p, video):
        def of(coalition):
            clip = video[list(coalition)]
            return oracles.softmax(np.tanh(clip).mean(axis=0) @ p["w"] + (clip[0] * clip[-1]) @ p["v"])

        return lambda coalition: of(coalition) if coalition else EMPTY

    def make(dtype):
        return esv_jax.clip_game(predict, empty=EMPTY.astype(dtype), clips_at_once=7), _as(dtype, params)

    return GameCase(make, lambda video: worth(params, video))


def _frame_mean_case():
    params = {"w": _numbers(3, D, C)}

    def make(dtype):
        return esv_jax.frame_mean_game(_frame_logits, empty=EMPTY.astype(dtype)), _as(dtype, params)

    def worth(video):
        logits = np.maximum(video, 0) @ params["w"]
        return lambda s: oracles.softmax(logits[list(s)].mean(axis=0)) if s else EMPTY

    return GameCase(make, worth)


def _frame_logits(p, frames):
    return jnp.maximum(frames, 0) @ p["w"]


def _multiscale_case(**options):
    params = {f"w{k}": _numbers(10 + k, k * D, C) for k in (1, 2, 3)}

    def make(dtype):
        return esv_jax.multiscale_game(HEADS, empty=EMPTY.astype(dtype), **options), _as(dtype, params)

    def worth(video):
        def logits(s):
            return np.tanh(video[list(s)].reshape(-1) @ params[f"w{len(s)}"])

        if options.get("average") == "scores":
            return oracles.score_average_worth(lambda s: oracles.softmax(logits(s)), EMPTY, 3)
        return oracles.multiscale_worth(logits, EMPTY, 3)

    return GameCase(make, worth)


def _head(k):
    return lambda p, clips: jnp.tanh(clips.reshape(clips.shape[0], -1) @ p[f"w{k}"])


HEADS = tuple(_head(k) for k in (1, 2, 3))


def _divided(logits, temperature):
    """The joint logits of a model with temperatures, of those without; the last is that of larger coalitions."""
    return lambda s: logits(s) / temperature[min(len(s), len(temperature)) - 1]


# More frames are shown than there are temperatures.
TEMPERATURE = np.array([0.5, 2.0, 0.8])


def _tsn_case(num_temperatures=0):
    model = models.TSN(num_classes=C, num_temperatures=num_temperatures)
    made = jax.eval_shape(models.TSN(num_classes=C).init, jax.random.key(0), jnp.zeros((2, D)))
    variables = jax.tree.map(lambda a: _numbers(7, *a.shape), made)
    temperature = TEMPERATURE if num_temperatures else np.ones(1)
    if num_temperatures:
        variables |= {"calibration": {"temperature": temperature}}

    def make(dtype):
        return esv_jax.tsn_game(model, empty=EMPTY.astype(dtype)), _as(dtype, variables)

    def worth(video):
        logits = video @ variables["params"]["kernel"] + variables["params"]["bias"]
        joint = _divided(lambda s: logits[list(s)].mean(axis=0), temperature)
        return lambda s: oracles.softmax(joint(s)) if s else EMPTY

    return GameCase(make, worth)


def _trn_case(num_temperatures=0, **options):
    model = models.MultiscaleTRN(num_scales=3, hidden_dim=5, num_classes=C, num_temperatures=num_temperatures)
    shapes = jax.eval_shape(model.clone(num_temperatures=0).init, jax.random.key(0), jnp.zeros((3, D)))
    leaves, tree = jax.tree.flatten(shapes)
    variables = tree.unflatten([_numbers(50 + i, *leaf.shape) for i, leaf in enumerate(leaves)])
    temperature = TEMPERATURE if num_temperatures else np.ones(1)
    if num_temperatures:
        variables |= {"calibration": {"temperature": temperature}}

    def make(dtype):
        return esv_jax.trn_game(model, empty=EMPTY.astype(dtype), **options), _as(dtype, variables)

    def worth(video):
        def logits(s):
            head = variables["params"][f"scale_{len(s)}"]
            pre = sum(video[i] @ head["first"]["kernel"][p] for p, i in enumerate(s)) + head["first_bias"]
            return np.maximum(pre, 0) @ head["logits"]["kernel"] + head["logits"]["bias"]

        joint = _divided(oracles.score_average_worth(logits, EMPTY, 3), temperature)
        return lambda s: oracles.softmax(joint(s)) if s else EMPTY

    return GameCase(make, worth)


def _host_case():
    params = {"w": _numbers(4, D, C)}

    def predict(model, clips):
        assert isinstance(clips, np.ndarray), "outside of JAX"
        return oracles.softmax(np.tanh(clips).mean(axis=1) @ model["w"] + clips[:, 0, :1]).astype(clips.dtype)

    def make(dtype):
        return esv_jax.host_game(predict, empty=EMPTY.astype(dtype), removal="delete"), _as(dtype, params)

    def worth(video):
        def of(coalition):
            return predict(params, np.asarray(video, np.float64)[None, list(coalition)])[0]

        return lambda coalition: of(coalition) if coalition else EMPTY

    return GameCase(make, worth)


GAMES = {
    "clip_game": _clip_case(),
    "frame_mean_game": _frame_mean_case(),
    "host_game": _host_case(),
    "multiscale_game": _multiscale_case(),
    "multiscale_game, of scores": _multiscale_case(average="scores"),
    "multiscale_game, of children": _multiscale_case(all_subsets=False),
    "tsn_game": _tsn_case(),
    "tsn_game, with temperatures": _tsn_case(num_temperatures=3),
    "trn_game": _trn_case(),
    "trn_game, of children": _trn_case(all_subsets=False),
    "trn_game, with temperatures": _trn_case(num_temperatures=3),
    "trn_game, of children, with temperatures": _trn_case(num_temperatures=3, all_subsets=False),
}


def _always(estimator):
    return lambda num_players: estimator


SAMPLED = {"is_exact": False, "efficient": True, "coverage": (0.92, 0.98)}
# Very few pairs a size; with more they cover as they should, see tests/estimators/test_surrogate.py.
FITTED = {"is_exact": False, "efficient": True, "coverage": (0.8, 1), "linear": False}
ESTIMATORS = {
    "exact": EstimatorCase(_always(esv_jax.exact()), is_exact=True, efficient=True, coverage=(1, 1)),
    # The paper's; its intervals see neither the correlation of lineages nor, in lower sizes, of repeated ancestors.
    "stratified": EstimatorCase(
        _always(esv_jax.stratified(per_size=12)), is_exact=False, efficient=False, coverage=(0.85, 1)
    ),
    "stratified_paired": EstimatorCase(_always(esv_jax.stratified_paired(per_size=12)), **SAMPLED),
    "orderings": EstimatorCase(_always(esv_jax.orderings(max_evaluations=2 * 7 * 32 + 1)), **SAMPLED),
    "regression": EstimatorCase(_always(esv_jax.regression(max_evaluations=60)), **SAMPLED),
    "surrogate": EstimatorCase(_always(esv_jax.surrogate(max_evaluations=60)), **FITTED),
    "recommended": EstimatorCase(
        _always(esv_jax.recommended(max_evaluations=255)), is_exact=True, efficient=True, coverage=(1, 1)
    ),
    "recommended, where it samples": EstimatorCase(_always(esv_jax.recommended(max_evaluations=60)), **FITTED),
    # Rows count as independent, though every player occurs equally often, and players lend each other their spread.
    "subset_sums": EstimatorCase(
        lambda num_players: esv_jax.subset_sums(max_evaluations=50, num_scales=num_players),
        is_exact=False,
        efficient=True,
        coverage=(0.92, 1),
        game=tables.scales_game,
    ),
}

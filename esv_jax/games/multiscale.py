"""The game of multi-scale models: heads of fixed length k = 1..M, joined by averaging over subsets (the paper's TRN).

With f_k the logits of the head for k frames, a coalition S has the joint logits

    A(S) = mean over sizes s <= min(|S|, M) of the mean of f_s over the size-s subsets of S,    v(S) = softmax(A(S)).

How A(S) is computed is told in `coalitions.joint`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax

from esv_jax import checks, temperature
from esv_jax.base import Array, Game, Scales, identity, one_player_a_frame
from esv_jax.coalitions import joint, walk, weights
from esv_jax.games import position_sums, score_average

Head = Callable[[Any, jax.Array], jax.Array]


def multiscale_game(
    fns: Sequence[Head],
    *,
    empty: Array,
    all_subsets: bool = True,
    average: Literal["logits", "scores"] = "logits",
) -> Game:
    """The joint game of single-scale models.

    Args:
      fns: fns[k-1]: (params, clips [N, k, D]) -> logits [N, C] for k = 1..M, all given the same params; as for
        `clip_game`, arrays belong into params.
      empty: float [C], the worth of no frames: probabilities, not logits.
      all_subsets: how A(S) is known of the coalitions of a plan. True: as it says, from f_s of all C(T, s) subsets;
        where these are more than 2^20, with means over 32 random subsets of S of each size (256 for the score of the
        whole video), the same ones for the same S. False: of the plans of `stratified` and `orderings` from the
        children of S in the plan, as in the paper: the worths are then estimates themselves, biased by the softmax, and
        neither standard errors nor efficiency (values.sum(0) = full - empty) know of that. `full` is the model's own
        score in either case.
      average: "logits": v(S) = softmax(A(S)), as above. "scores": softmax(f_s) takes the place of f_s and v(S) = A(S);
        then exact values need only the sum_{s<=M} C(T, s) evaluations (`games.score_average`).

    Raises:
      InputError: no functions, or ones that hold arrays; another `average`; `empty` is no vector of probabilities.
    """
    if not fns:
        raise checks.InputError("fns should hold a function for every scale 1..M, found none")
    for k, function in enumerate(fns):
        checks.check_pure(f"fns[{k}]", function)
    empty = checks.scores("empty", empty, probabilities=True)
    form = Scales(len(fns), all_subsets)
    logits = _logits_of_fns(tuple(fns), len(empty))
    if average == "scores":
        scores = _softmax_of(logits)
        exact = score_average.exact(_params_and_video, scores, len(fns))
        form = dataclasses.replace(form, averages_scores=True)
        return Game(empty, _params_and_video, scores, identity, form, one_player_a_frame, exact)
    if average != "logits":
        raise checks.InputError(f'average should be "logits" or "scores", found {average!r}')
    return Game(empty, _params_and_video, logits, jax.nn.softmax, form)


def trn_game(model: Any, *, empty: Array, all_subsets: bool = True) -> Game:
    """The game of an `esv_jax.models.MultiscaleTRN`.

    The first layer is linear in the concatenated frames, so each frame's share of it at each position is computed once
    a video, and a coalition of k frames costs k additions of [H] and the layers behind.
    For `explain(estimator, game, variables, frames)` with the model's Flax variables and frames float [T, D].
    `empty` and `all_subsets` as for `multiscale_game`.
    """
    empty = checks.scores("empty", empty, probabilities=True)
    prepare, prepare_for_all, logits, exact = _trn_functions(model)
    form = Scales(model.num_scales, all_subsets, temperature=_temperature if model.num_temperatures else None)
    prepare = prepare_for_all if all_subsets else prepare
    return Game(empty, prepare, logits, jax.nn.softmax, form, one_player_a_frame, exact)


def _params_and_video(params: Any, video: jax.Array) -> Any:
    return params, video


def _temperature(prepared: Any) -> jax.Array:
    variables, shares, _ = prepared
    return temperature.by_frames(variables, shares[0].shape[1], shares[0].dtype)


@functools.lru_cache(maxsize=64)
def _logits_of_fns(fns: tuple[Head, ...], num_classes: int):
    def logits(prepared: Any, members: Array) -> jax.Array:
        params, video = prepared
        k = members.shape[1]
        return checks.call_model(f"fns[{k - 1}]", fns[k - 1], params, video[members], len(members), num_classes)

    return logits


@functools.lru_cache(maxsize=64)
def _softmax_of(logits: Any):
    return lambda prepared, members: jax.nn.softmax(logits(prepared, members))


@functools.lru_cache(maxsize=64)
def _trn_functions(model: Any):
    def prepare(variables: Any, frames: jax.Array) -> Any:
        checks.check_shape("frames", frames, ("T", "D"))
        checks.check_floating("frames", frames)
        scales = range(1, min(model.num_scales, frames.shape[0]) + 1)
        shares = tuple(model.apply(variables, frames, scale, method="project_in_order") for scale in scales)
        return variables, shares, ()

    def prepare_for_all(variables: Any, frames: jax.Array) -> Any:
        variables, shares, no_tables = prepare(variables, frames)
        if joint.number_of_subsets(frames.shape[0], model.num_scales) > joint.MAX_SUBSETS:
            return variables, shares, no_tables
        return tabulated(variables, shares)

    def tabulated(variables: Any, shares: tuple[jax.Array, ...]) -> Any:
        return variables, shares, tuple(position_sums.tables(of_scale) for of_scale in shares)

    def logits(prepared: Any, members: Array) -> jax.Array:
        variables, shares, tables = prepared
        scale = members.shape[1]
        of_scale = shares[scale - 1]
        if tables:
            first_layer = position_sums.look_up(tables[scale - 1], members, of_scale.shape[1])
        else:
            first_layer = sum(of_scale[p, members[:, p] - p] for p in range(scale))
        return model.apply(variables, first_layer, scale, method="after_first")

    def exact(variables: Any, frames: jax.Array, *by_size: Any) -> walk.Sums:
        prepared = prepare(variables, frames)
        of_all = functools.partial(logits, tabulated(*prepared[:2]))
        coefficients = weights.of_players(by_size)
        temperatures = _temperature(prepared) if model.num_temperatures else None
        form = Scales(model.num_scales)
        return walk.sum_over_all(form, of_all, jax.nn.softmax, frames.shape[0], coefficients, temperatures)

    return prepare, prepare_for_all, logits, exact

"""Agreement with values recorded from the authors' code (tests/golden), to 1e-5."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import esv_jax
from esv_jax.coalitions import masks, plans
from esv_jax.explaining.worths import logits_of_plan

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-5


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def trn_game():
    weights = load("mtrn_weights")

    def head(size):
        def logits(params, clips):
            flat = clips.reshape(clips.shape[0], -1)
            hidden = jnp.maximum(flat @ params[f"scale{size}_w1"].T + params[f"scale{size}_b1"][None], 0)
            return hidden @ params[f"scale{size}_w2"].T + params[f"scale{size}_b2"][None]

        return logits

    num_scales = int(weights.pop("n_scales"))
    heads = [head(k) for k in range(1, num_scales + 1)]
    # The authors estimate the worths of sampled coalitions from sampled ones.
    return esv_jax.multiscale_game(heads, empty=weights["prior"], all_subsets=False), weights


def tsn_game(recorded):
    def frame_logits(params, frames):
        return jnp.maximum(frames, 0) @ params["w"].T + params["b"][None]

    game = esv_jax.frame_mean_game(frame_logits, empty=recorded["prior"])
    return game, {"w": recorded["w"], "b": recorded["b"]}


def plan_of(recorded, estimator):
    """The recorded subsets as a plan."""
    num_frames = len(recorded["frames"])
    subsets = [recorded[f"subsets{size}"] for size in range(1, num_frames + 1)]
    return plans.of_lineage(plans.grow([masks.of_members(rows, num_frames) for rows in subsets]), estimator.name)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 8, 10])
@pytest.mark.parametrize("model", ["mtrn", "tsn"])
def test_exact(model, num_frames):
    recorded = load(f"{model}_exact_n{num_frames}")
    game, params = trn_game() if model == "mtrn" else tsn_game(recorded)
    out = esv_jax.explain(esv_jax.exact(), game, params, recorded["frames"])
    np.testing.assert_allclose(out.values, recorded["esv"], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(out.full, recorded["score"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("size", ["n8_m16", "n12_m32", "n20_m64"])
@pytest.mark.parametrize("model", ["mtrn", "tsn"])
def test_sampled_from_the_recorded_subsets(model, size):
    recorded = load(f"{model}_sampled_{size}")
    game, params = trn_game() if model == "mtrn" else tsn_game(recorded)
    estimator = esv_jax.stratified(per_size=int(size.split("m")[1]))
    plan = plan_of(recorded, estimator)
    out = esv_jax.explain(estimator, game, params, recorded["frames"], plan=plan)
    np.testing.assert_allclose(out.values, recorded["esv"], atol=TOLERANCE, rtol=0)
    # The authors' score is the estimate that the plan's children give; `full` is the model's own.
    last = jax.jit(lambda frames: game.link(logits_of_plan(game, game.prepare(params, frames), plan))[-1])
    np.testing.assert_allclose(last(recorded["frames"]), recorded["score"], atol=TOLERANCE, rtol=0)

"""The state of estimators that look at all evaluated coalitions together, in `finish`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from esv_jax import checks
from esv_jax.base import Array
from esv_jax.coalitions import lattice


class Evaluated(NamedTuple):
    """Coalitions in the plan's order: inside float [N, T] (indicator), worths float [N, C], logits float [N, C]."""

    inside: jax.Array
    worths: jax.Array
    logits: jax.Array


def none(num_frames: int, empty: jax.Array) -> Evaluated:
    """No coalitions yet."""
    scores = jnp.zeros((0, empty.shape[0]), empty.dtype)
    return Evaluated(jnp.zeros((0, num_frames), empty.dtype), scores, scores)


def add(state: Evaluated, members: Array, worths: jax.Array, logits: jax.Array) -> Evaluated:
    """Appends coalitions, as `Estimator.update`."""
    inside = lattice.membership(members, state.inside.shape[1], worths.dtype)
    return Evaluated(*(jnp.concatenate([a, b]) for a, b in zip(state, (inside, worths, logits), strict=True)))


def pairs(state: Evaluated, num_pairs: int) -> tuple[jax.Array, jax.Array]:
    """For a plan of `coalitions.paired`: indicators [P, T] of the smaller parts S, and (v(S) - v(the rest)) / 2 [P, C].

    Raises:
      InputError: the plan has another number of rows than this estimator's own.
    """
    expected = 2 * num_pairs + 1
    if state.worths.shape[0] != expected:
        raise checks.InputError(
            f"plan should be made by this very estimator, with {expected} coalitions, found {state.worths.shape[0]}"
        )
    small, large = state.worths[:num_pairs], state.worths[num_pairs : 2 * num_pairs]
    return state.inside[:num_pairs], (small - large[::-1]) / 2

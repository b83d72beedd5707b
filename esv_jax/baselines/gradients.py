"""Baselines that differentiate the scores by the frames' features."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import checks
from esv_jax.base import Array
from esv_jax.baselines.call import Baseline, ScoredVideo


def gradient_times_input() -> Baseline:
    """values[i, c] = sum over the features d of x[i, d] * dv_c(all frames) / dx[i, d]."""
    return Baseline(_gradient_times_input)


def integrated_gradients(*, reference: Array | None = None, steps: int = 64) -> Baseline:
    """Integrated Gradients (Sundararajan et al., 2017) of the scores over the features.

    values[i, c] = sum over d of (x - r)[i, d] * integral over a in 0..1 of dv_c / dx[i, d] at r + a (x - r)

    Values add up to v(x) - v(r); how closely says how many steps are enough.

    Args:
      reference: r, the features of a frame [D] that stand for nothing in every frame, such as the mean over the
        training set; None: zeros.
      steps: how many points the integral is a mean over, at the centres of equal steps.
    """
    checks.check_positive("steps", steps)
    return Baseline(_integrated_gradients(steps), () if reference is None else checks.own("reference", reference))


def _gradient_times_input(scored: ScoredVideo, arrays: tuple[()], key: None) -> tuple[jax.Array, jax.Array]:
    gradient = jax.jacrev(scored.full)(scored.video)
    return _per_frame(gradient, scored.video), scored.empty


@functools.lru_cache(maxsize=16)
def _integrated_gradients(steps: int):
    def values(scored: ScoredVideo, reference: Any, key: None) -> tuple[jax.Array, jax.Array]:
        video = scored.video
        if isinstance(reference, tuple):
            start = jnp.zeros_like(video)
        else:
            checks.check_shape("reference", reference, video.shape[1:])
            start = jnp.broadcast_to(jnp.asarray(reference, video.dtype)[None], video.shape)
        way = video - start
        centres = jnp.asarray((np.arange(steps) + 0.5) / steps, video.dtype)

        def add(total: jax.Array, share: jax.Array) -> tuple[jax.Array, None]:
            return total + jax.jacrev(scored.full)(start + share * way), None

        zeros = jnp.zeros((scored.empty.shape[0], *video.shape), video.dtype)
        total, _ = jax.lax.scan(add, zeros, centres)
        return _per_frame(total / steps, way), scored.full(start)

    return values


def _per_frame(gradient: jax.Array, way: jax.Array) -> jax.Array:
    """Sums of products [T, C] over all axes of a frame, of gradient [C, T, ...] and way [T, ...]."""
    return (gradient * way[None]).reshape(*gradient.shape[:2], -1).sum(axis=2).T

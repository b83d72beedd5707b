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


def smooth_grad(*, noise: float = 0.15, samples: int = 32) -> Baseline:
    """SmoothGrad (Smilkov et al., 2017) times the input: the gradient is the mean over noisy copies of the video.

    values[i, c] = sum over d of x[i, d] * mean over samples e of dv_c / dx[i, d] at x + e

    Args:
      noise: standard deviation of e, normal, as a share of the range of the video's features.
      samples: how many copies, drawn by the key.
    """
    checks.check_positive("samples", samples)
    if not 0 < noise < np.inf:
        raise checks.InputError(f"noise should be more than 0, found {noise}")
    return Baseline(_smooth_grad(float(noise), samples))


def expected_gradients(references: Array, *, samples: int = 64) -> Baseline:
    """Expected Gradients (Erion et al., 2021): Integrated Gradients from references that are drawn.

    values[i, c] = mean over samples (r, a) of sum over d of (x - r)[i, d] * dv_c / dx[i, d] at r + a (x - r)

    Every reference is drawn alike often, up to one, and every part of the way a in 0..1. Values add up to v(x) - the
    mean of v(r) as far as the samples are enough.

    Args:
      references: float [R, D], features of frames, such as those of clips trained on; each stands in all frames.
      samples: how many pairs are drawn by the key.
    """
    checks.check_positive("samples", samples)
    references = checks.own("references", references)
    if np.ndim(references) < 2 or not len(references):
        raise checks.InputError(f"references should be [R, D], at least one, found {list(np.shape(references))}")
    return Baseline(_expected_gradients(samples), references)


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


@functools.lru_cache(maxsize=16)
def _smooth_grad(noise: float, samples: int):
    def values(scored: ScoredVideo, arrays: tuple[()], key: Any) -> tuple[jax.Array, jax.Array]:
        video = scored.video
        spread = noise * (video.max() - video.min())

        def add(total: jax.Array, one: jax.Array) -> tuple[jax.Array, None]:
            moved = video + spread * jax.random.normal(one, video.shape, video.dtype)
            return total + jax.jacrev(scored.full)(moved), None

        zeros = jnp.zeros((scored.empty.shape[0], *video.shape), video.dtype)
        total, _ = jax.lax.scan(add, zeros, jax.random.split(_key_for("smooth_grad", key), samples))
        return _per_frame(total / samples, video), scored.empty

    return values


@functools.lru_cache(maxsize=16)
def _expected_gradients(samples: int):
    def values(scored: ScoredVideo, references: Any, key: Any) -> tuple[jax.Array, jax.Array]:
        video = scored.video
        checks.check_shape("references", references, ("R", *video.shape[1:]))
        references = jnp.asarray(references, video.dtype)
        order, part = jax.random.split(_key_for("expected_gradients", key))
        drawn = jax.random.permutation(order, jnp.arange(samples, dtype=jnp.int32) % len(references))
        # Parts of the way: one in each of as many equal steps, as the references are in random order.
        shares = (jnp.arange(samples, dtype=video.dtype) + jax.random.uniform(part, (samples,), video.dtype)) / samples

        def add(total: Any, one: Any) -> tuple[Any, None]:
            start = jnp.broadcast_to(references[one[0]][None], video.shape)
            way = video - start
            found = _per_frame(jax.jacrev(scored.full)(start + one[1] * way), way)
            return (total[0] + found, total[1] + scored.full(start)), None

        num_classes = scored.empty.shape[0]
        zeros = jnp.zeros((video.shape[0], num_classes), video.dtype), jnp.zeros(num_classes, video.dtype)
        (total, starts), _ = jax.lax.scan(add, zeros, (drawn, shares))
        return total / samples, starts / samples

    return values


def _key_for(name: str, key: Any) -> Any:
    if key is None:
        raise checks.InputError(f"{name}() draws samples: give explain a key, such as jax.random.key(0)")
    return key


def _per_frame(gradient: jax.Array, way: jax.Array) -> jax.Array:
    """Sums of products [T, C] over all axes of a frame, of gradient [C, T, ...] and way [T, ...]."""
    return (gradient * way[None]).reshape(*gradient.shape[:2], -1).sum(axis=2).T

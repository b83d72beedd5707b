"""Pairs of coalitions to ask a fitted model about: many, and made on the device where they cannot be listed."""

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.coalitions import lattice, paired


def pairs(num_frames: int, strata: paired.Strata, key: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Indicators [P, T] of the smaller parts: all of a size that `strata` exhausts, else drawn with repeats."""
    listed, sizes = [np.zeros((0, num_frames), bool)], [np.zeros(0, np.int32)]
    for size, (count, population) in enumerate(zip(strata.drawn, strata.population, strict=True), start=1):
        if count == population:
            members = lattice.combinations(num_frames, size)
            inside = lattice.inside(members, num_frames)
            listed.append(inside[inside[:, 0]] if 2 * size == num_frames else inside)
        else:
            sizes.append(np.full(count, size, np.int32))
    # Behind the barrier the compiler cannot try to work out in advance what depends on these alone.
    known = jax.lax.optimization_barrier(jnp.asarray(np.concatenate(listed)))
    wanted = jnp.asarray(np.concatenate(sizes))
    rank = jnp.argsort(jax.random.uniform(key, (len(wanted), num_frames)), axis=1).astype(jnp.int32)
    return jnp.concatenate([known, rank < wanted[:, None]]).astype(dtype)


def key_of(inside: jax.Array) -> jax.Array:
    """A PRNG key made of a plan's coalitions [N, T]: other plans ask the model about other coalitions."""
    codes = np.random.default_rng(0).integers(2**32, size=inside.shape, dtype=np.uint32)
    return jax.random.key((inside.astype(jnp.uint32) * codes).sum(dtype=jnp.uint32))

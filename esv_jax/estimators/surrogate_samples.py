"""Pairs of coalitions to ask a fitted model about: many, made on the device where they cannot be listed."""

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.coalitions import lattice, masks, paired


def pairs(num_players: int, strata: paired.Strata, key: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Masks float [pairs, P] of the smaller parts: all of a size that `strata` exhausts, else drawn with repeats."""
    listed, sizes = [np.zeros((0, num_players), bool)], [np.zeros(0, np.int32)]
    for size, (count, population) in enumerate(zip(strata.drawn, strata.population, strict=True), start=1):
        if count == population:
            members = lattice.combinations(num_players, size)
            mask = masks.of_members(members, num_players)
            listed.append(mask[mask[:, 0]] if 2 * size == num_players else mask)
        else:
            sizes.append(np.full(count, size, np.int32))
    # Behind the barrier the compiler cannot try to work out in advance what depends on these alone.
    all_of_them = jax.lax.optimization_barrier(jnp.asarray(np.concatenate(listed)))
    wanted = jnp.asarray(np.concatenate(sizes))
    rank = jnp.argsort(jax.random.uniform(key, (len(wanted), num_players)), axis=1).astype(jnp.int32)
    return jnp.concatenate([all_of_them, rank < wanted[:, None]]).astype(dtype)


def key_of(mask: jax.Array) -> jax.Array:
    """A PRNG key made of a plan's coalitions [N, P]: other plans ask the model about other coalitions."""
    codes = np.random.default_rng(0).integers(2**32, size=mask.shape, dtype=np.uint32)
    return jax.random.key((mask.astype(jnp.uint32) * codes).sum(dtype=jnp.uint32))

"""Student's t distribution, on the device."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc, ndtri

# From so many degrees of freedom on three terms of a series in 1 / degrees are closer than betainc in float32.
MANY = 200
# Newton's method climbs to the quantile from below and has it well before, but for a single degree of freedom.
STEPS = 40


@functools.partial(jax.jit, static_argnames="chance")
def quantile(chance: float, degrees: Any) -> jax.Array:
    """The t that Student's distribution is below with this chance, 0.5 <= chance < 1; float, shaped as `degrees`.

    Infinite where these are 0.
    """
    degrees = jnp.asarray(degrees)
    if not jnp.issubdtype(degrees.dtype, jnp.floating):
        degrees = degrees.astype(jnp.float32)
    normal = jnp.full_like(degrees, ndtri(jnp.asarray(chance, degrees.dtype)))
    some = jnp.clip(degrees, 1, MANY)

    def step(_: Any, t: jax.Array) -> jax.Array:
        above = betainc(some / 2, 0.5 * jnp.ones_like(some), some / (some + t**2)) / 2
        log_density = (
            jax.lax.lgamma((some + 1) / 2)
            - jax.lax.lgamma(some / 2)
            - jnp.log(jnp.pi * some) / 2
            - (some + 1) / 2 * jnp.log1p(t**2 / some)
        )
        return t + (above - (1 - chance)) * jnp.exp(-log_density)

    # The distribution function is concave above 0: from below no step goes too far.
    many = jnp.maximum(degrees, MANY)
    series = normal + (normal**3 + normal) / (4 * many)
    series = series + (5 * normal**5 + 16 * normal**3 + 3 * normal) / (96 * many**2)
    found = jnp.where(degrees < MANY, jax.lax.fori_loop(0, STEPS, step, normal), series)
    return jnp.where(degrees > 0, found, jnp.inf)

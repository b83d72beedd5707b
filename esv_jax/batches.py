"""Many rows a few at a time: the last batch is filled up, or a program of its own would be compiled for it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def filled(num_rows: int, at_once: int) -> np.ndarray:
    """Numbers of rows, int [batches, at_once]: 0..num_rows - 1 in order, the last one repeated to fill up."""
    return np.minimum(np.arange(-(-num_rows // at_once) * at_once), num_rows - 1).reshape(-1, at_once)


def by_kind(kinds: np.ndarray, of_rows: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """of_rows(numbers of rows) -> [n, ...] of the rows of each kind in turn, put together in their order, on the host.

    Args:
      kinds: [N] or [N, K], N >= 1; rows that are equal are of one kind.
    """
    _, of_kind = np.unique(kinds, axis=0, return_inverse=True)
    of_kind = of_kind.reshape(-1)
    order = np.argsort(of_kind, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(of_kind))[:-1])
    return np.concatenate([of_rows(part) for part in parts])[np.argsort(order)]


def in_chunks(function: Callable[[Any], Any], rows: Any, at_once: int | None) -> Any:
    """function(rows) for a function that treats rows alone, at most `at_once` of them at a time (None: all).

    Traceable and differentiable.

    Args:
      function: from a pytree of arrays [n, ...] to a pytree of arrays [n, ...].
      rows: a pytree of arrays [N, ...], N >= 1.
    """
    num_rows = jax.tree.leaves(rows)[0].shape[0]
    if at_once is None or num_rows <= at_once:
        return function(rows)
    fill = -num_rows % at_once

    def chunks(array: Any) -> jax.Array:
        array = jnp.asarray(array)
        whole = jnp.pad(array, ((0, fill), *[(0, 0)] * (array.ndim - 1)), mode="edge") if fill else array
        return whole.reshape(-1, at_once, *array.shape[1:])

    results = jax.lax.map(function, jax.tree.map(chunks, rows))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:num_rows], results)

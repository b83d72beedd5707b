"""What a method that knows nothing would say."""

from typing import Any

import jax

from esv_jax import checks
from esv_jax.baselines.call import Baseline, ScoredVideo


def random() -> Baseline:
    """values[i, c] drawn from a standard normal distribution by the key."""
    return Baseline(_random)


def _random(scored: ScoredVideo, arrays: tuple[()], key: Any) -> tuple[jax.Array, jax.Array]:
    if key is None:
        raise checks.InputError("random() draws its values: give explain a key, such as jax.random.key(0)")
    shape = (scored.video.shape[0], scored.empty.shape[0])
    return jax.random.normal(key, shape, scored.empty.dtype), scored.empty

"""How sure a mean over videos is."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from esv_jax import checks

_AT_ONCE = 250


class Interval(NamedTuple):
    """A mean over videos, or what was made of it, with its 95 % bootstrap interval, float64 [...] each, and of how many
    videos it is."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    num_videos: int


def interval(per_video: np.ndarray, *, seed: int = 0, resamples: int = 1000) -> Interval:
    """The mean of `per_video` [B, ...] over videos, and the 2.5 and 97.5 percentiles of means of resampled videos.

    All entries of one video are resampled together, so intervals of differences may be made of differences.

    Raises:
      InputError: no video, or values that are not finite.
    """
    mean, resampled = _resampled(per_video, seed=seed, resamples=resamples)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return Interval(mean, low, high, len(per_video))


def interval_of(statistic: Callable[[np.ndarray], np.ndarray], per_video: np.ndarray, **options: int) -> Interval:
    """`statistic` of the mean over videos of `per_video` [B, ...], such as the sum of |mean|, with an interval that
    covers its true value at least as often.

    Such statistics lie above their true values, by as much as these are uncertain, and resampled ones once more. So the
    interval begins as far below what was found as 97.5 % of statistics of the resampled differences from the mean can
    explain, by f(a + b) <= f(a) + f(b), and ends at the 97.5 percentile of resampled statistics.

    Args:
      statistic: of means [R, ...], row by row -> [R, ...]; 0 or more, and f(a + b) <= f(a) + f(b).
      per_video, options: as for `interval`; raises the same.
    """
    mean, resampled = _resampled(per_video, **options)
    found = statistic(mean[None])[0]
    noise, high = (np.percentile(statistic(means), 97.5, axis=0) for means in (resampled - mean, resampled))
    return Interval(found, np.maximum(found - noise, 0), np.maximum(high, found), len(per_video))


def _resampled(per_video: np.ndarray, *, seed: int = 0, resamples: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """The mean [...] over videos, and those [resamples, ...] of resampled ones."""
    num_videos = len(per_video)
    if num_videos == 0:
        raise checks.InputError("a mean over videos should be of at least one video, found none")
    checks.check_finite("values per video", per_video)
    flat = np.asarray(per_video, np.float64).reshape(num_videos, -1)
    rng = np.random.default_rng(seed)
    share = np.full(num_videos, 1 / num_videos)
    means = [
        rng.multinomial(num_videos, share, min(_AT_ONCE, resamples - done)) @ flat / num_videos
        for done in range(0, resamples, _AT_ONCE)
    ]
    shape = per_video.shape[1:]
    return flat.mean(axis=0).reshape(shape), np.concatenate(means).reshape(-1, *shape)

"""What a model on the host is shown in place of the frames that are not in a coalition.

A removal decides the answer: values of two of them may rank frames quite differently (`compare_removals`). To add one,
write another factory here, and name it in `NAMED` if it needs nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from esv_jax import checks, fingerprints

Clips = Callable[[np.ndarray], Any]


class Removal(NamedTuple):
    """How frames are taken from a video.

    Attributes:
      name: which it is and with what parameters; it stands in archives.
      show: frames [T, ...] of a video -> (mask bool [N, T] -> clips [N draws, T', ...], those of a coalition behind one
        another). None: the frames stay as they are, and `predict` is given the mask as its third argument.
      of_nobody: whether it says what is left when every frame is removed.
      one_size: whether clips are only to be asked for coalitions of one size at a time.
      draws: how many clips stand for a coalition; the mean of their worths is its worth.
      code: of a function of the user's, a digest of what it does.
    """

    name: str
    show: Callable[[np.ndarray], Clips] | None
    of_nobody: bool = False
    one_size: bool = False
    draws: int = 1
    code: str = ""


def delete() -> Removal:
    """The kept frames alone, in their order: clips [N, k, ...], for models that take any length."""
    return _chosen("delete", lambda mask: np.nonzero(mask)[1].reshape(len(mask), -1), one_size=True)


def nearest() -> Removal:
    """The nearest kept frame in time, of two as near the earlier."""

    def rows(mask: np.ndarray) -> np.ndarray:
        before, after = _last_kept(mask), _next_kept(mask)
        time = np.arange(mask.shape[1])
        return np.where(time - before <= after - time, before, after)

    return _chosen("nearest", rows)


def freeze() -> Removal:
    """The last kept frame; for those before the first, the first."""

    def rows(mask: np.ndarray) -> np.ndarray:
        before = _last_kept(mask)
        return np.where(before >= 0, before, _next_kept(mask))

    return _chosen("freeze", rows)


def resample() -> Removal:
    """The k kept frames spread over the length: at time t the one of rank floor(t k / T)."""

    def rows(mask: np.ndarray) -> np.ndarray:
        size = mask.sum(axis=1, keepdims=True)
        rank = np.arange(mask.shape[1])[None] * size // mask.shape[1]
        # Kept frames first, in their order.
        kept = np.argsort(~mask, axis=1, kind="stable")
        return np.take_along_axis(kept, rank, axis=1)

    return _chosen("resample", rows)


def mean(of: Any = None) -> Removal:
    """The mean frame: of the video, or `of`, that of a data set, [...] or at every time [T, ...]."""
    if of is None:
        return _filled("mean of the clip", lambda frames: _like(frames, frames.mean(axis=0, dtype=np.float64))[None])
    given = np.asarray(checks.own("of", of))

    def fill(frames: np.ndarray) -> np.ndarray:
        if given.shape not in (frames.shape, frames.shape[1:]):
            raise checks.InputError(
                f"of should be a frame {list(frames.shape[1:])}, or one at every time {list(frames.shape)}, found "
                f"{list(given.shape)}"
            )
        return _like(frames, given if given.shape == frames.shape else given[None])

    return _filled(f"mean {fingerprints.of_arrays([given])}", fill)


def zero() -> Removal:
    """Zeros, in the units of the model's own input; of words, empty ones."""
    return _filled("zero", lambda frames: np.zeros_like(frames[:1]), of_numbers=False)


def blur(*, sigma: float = 10.0, axes: Sequence[int] = (1, 2)) -> Removal:
    """The frame itself, blurred by a Gaussian of `sigma` pixels along its `axes` of height and width in [T, ...]."""
    if not sigma > 0:
        raise checks.InputError(f"sigma should be positive, found {sigma}")

    def fill(frames: np.ndarray) -> np.ndarray:
        if max(axes) >= frames.ndim:
            raise checks.InputError(f"blur needs frames with the axes {tuple(axes)}, found {list(frames.shape)}")
        from scipy.ndimage import gaussian_filter

        width = [sigma if axis in axes else 0 for axis in range(frames.ndim)]
        return _like(frames, gaussian_filter(frames.astype(np.float64), width, mode="nearest"))

    return _filled(f"blur sigma={sigma:g} axes={tuple(axes)}", fill)


def noise(*, seed: int = 0) -> Removal:
    """Gaussian noise with the mean and the deviation of the clip, the same for all coalitions."""

    def fill(frames: np.ndarray) -> np.ndarray:
        drawn = np.random.default_rng(seed).normal(frames.mean(), frames.std(), frames.shape)
        return _like(frames, drawn)

    return _filled(f"noise seed={seed}", fill)


def other_videos(videos: Any) -> Removal:
    """The frame at this time in each of `videos` [K, T, ...] in turn; worths are means over these K clips.

    Nearest to what a model expects of frames it does not know: its error falls as 1 / sqrt(K), its cost grows with K.
    """
    given = np.asarray(checks.own_video("videos", videos))
    if given.ndim < 2 or len(given) < 1:
        raise checks.InputError(f"videos should have shape [K, T, ...], at least one, found {list(given.shape)}")

    def show(frames: np.ndarray) -> Clips:
        checks.check_shape("videos", given, (len(given), *frames.shape))
        others = _like(frames, given)

        def clips(mask: np.ndarray) -> np.ndarray:
            kept = mask.reshape(len(mask), 1, -1, *[1] * (frames.ndim - 1))
            return np.where(kept, frames[None, None], others[None]).reshape(-1, *frames.shape)

        return clips

    return Removal(f"other videos {fingerprints.of_arrays([given])}", show, of_nobody=True, draws=len(given))


def attention_mask() -> Removal:
    """None: the model is given every frame, and mask [N, T] as predict's third argument."""
    return Removal("attention_mask", None)


NAMED: dict[str, Callable[[], Removal]] = {
    "delete": delete,
    "nearest": nearest,
    "resample": resample,
    "freeze": freeze,
    "mean": mean,
    "zero": zero,
    "blur": blur,
    "noise": noise,
    "attention_mask": attention_mask,
}


def made(removal: Any) -> Removal:
    """The removal of this name, itself, or that of a function (frames [T, ...], mask bool [N, T]) -> clips [N, ...]."""
    if isinstance(removal, Removal):
        return removal
    if isinstance(removal, str) and removal in NAMED:
        return NAMED[removal]()
    if callable(removal) and not isinstance(removal, type):
        return Removal(
            f"function {fingerprints.of_function(removal)}",
            lambda frames: lambda mask: removal(frames, mask),
            code=fingerprints.of_code(removal),
        )
    raise checks.InputError(
        f"removal should be one of {', '.join(NAMED)}, one of esv_jax.removals or a function, found {removal!r}"
    )


def _filled(name: str, fill: Callable[[np.ndarray], np.ndarray], *, of_numbers: bool = True) -> Removal:
    """Frames that are not kept are those of `fill(frames)`, [T, ...] or [1, ...]."""

    def show(frames: np.ndarray) -> Clips:
        if of_numbers and frames.dtype.kind in "SU":
            raise checks.InputError(
                f"the removal {name!r} is for numbers, found words: give a function (words [W], mask [N, W]) -> [N, W]"
            )
        filling = fill(frames)[None]

        def clips(mask: np.ndarray) -> np.ndarray:
            kept = mask.reshape(*mask.shape, *[1] * (frames.ndim - 1))
            return np.where(kept, frames[None], filling)

        return clips

    return Removal(name, show, of_nobody=True)


def _chosen(name: str, rows: Callable[[np.ndarray], np.ndarray], *, one_size: bool = False) -> Removal:
    """Clips of the kept frames, those that `rows(mask)`, int [N, T'], names; of nobody only with `one_size`: none."""

    def clips(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if not one_size and not mask.any(axis=1).all():
            raise checks.InputError("a coalition of nobody has no frame to be shown in place of others")
        return frames[rows(mask)]

    return Removal(name, lambda frames: lambda mask: clips(frames, mask), one_size=one_size)


def _last_kept(mask: np.ndarray) -> np.ndarray:
    """Of each time, the last kept frame until then, [N, T]; far before the clip where there is none."""
    length = mask.shape[1]
    return np.maximum.accumulate(np.where(mask, np.arange(length), -2 * length), axis=1)


def _next_kept(mask: np.ndarray) -> np.ndarray:
    length = mask.shape[1]
    return length - 1 - _last_kept(mask[:, ::-1])[:, ::-1]


def _like(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values in the frames' dtype, rounded where that is of whole numbers."""
    if np.issubdtype(frames.dtype, np.integer):
        limits = np.iinfo(frames.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(frames.dtype)

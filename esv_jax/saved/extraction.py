"""Features of all frames of videos, through a backbone."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from esv_jax import batches, checks
from esv_jax.checks import InputError
from esv_jax.video.prefetch import Video, batches_of
from esv_jax.video.preprocess import Preprocess


class Extraction(NamedTuple):
    """How features are made of frames.

    Attributes:
      module, variables: of the backbone, applied to images uint8 [batch_size, size, size, 3].
      preprocess: what its images are.
      batch_size: frames that go through it at once.
    """

    module: Any
    variables: Any
    preprocess: Preprocess
    batch_size: int

    def of(self, videos: Sequence[Video], num_processes: int) -> Iterator[np.ndarray | str]:
        """Of each video features [num_frames, D], or a sentence that says why there are none.

        Args:
          videos: what to decode.
          num_processes: that decode while the device works; 0: this one does.
        """
        options = {"batch_size": self.batch_size, "num_processes": num_processes}
        with batches_of(videos, self.preprocess, **options) as of_videos:
            for of_video in of_videos:
                yield self._of_frames(of_video)

    def start(self, given: Video | list[np.ndarray] | str) -> Callable[[], np.ndarray | str]:
        """A `runner.Start`: of a video that is seen here, or of what `decoded` says of it elsewhere."""
        if isinstance(given, Video):
            return functools.partial(next, self.of([given], 0))
        return functools.partial(str, given) if isinstance(given, str) else functools.partial(self._of_frames, given)

    def decoded(self, video: Video) -> list[np.ndarray] | str:
        """The batches of a video's frames, or a sentence that says why there are none."""
        with batches_of([video], self.preprocess, batch_size=self.batch_size, num_processes=0) as of_videos:
            try:
                return list(next(of_videos))
            except InputError as error:
                return str(error)

    def _of_frames(self, of_video: Iterator[np.ndarray] | list[np.ndarray]) -> np.ndarray | str:
        """Batches are filled up, so that all have one shape."""
        outputs: list[Any] = []
        try:
            for images in of_video:
                (rows,) = batches.filled(len(images), self.batch_size)
                if outputs:  # the device works on one batch while the next is decoded, and no more of them pile up
                    outputs[-1][0].block_until_ready()
                outputs.append((_applied(self.module, self.variables, images[rows]), len(images)))
            features = np.concatenate([np.asarray(output)[:length] for output, length in outputs])
            checks.check_finite("its features", features)
        except InputError as error:
            return str(error)
        return features


@functools.partial(jax.jit, static_argnames="module")
def _applied(module: Any, variables: Any, images: jax.Array) -> jax.Array:
    features: jax.Array = module.apply(variables, images)
    return features

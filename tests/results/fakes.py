"""Explanations of invented videos."""

import numpy as np

from esv_jax import players
from esv_jax.base import Attribution
from esv_jax.results.explanation import Explanation, explanation

LONG_NAME = "Pretending to put something behind something else but not actually leaving it there"
NAMES = ("Moving something left", "Moving something right", LONG_NAME, "Covering something")


def fake_explanation(
    num_frames: int, *, sampled: bool = False, seed: int = 0, image_size: tuple[int, int] = (24, 24), fps: float = 12.0
) -> Explanation:
    """T frames of a video of 10 T; 4 classes; adds up but for a gap if `sampled`."""
    rng = np.random.default_rng(seed)
    empty = np.array([0.4, 0.3, 0.2, 0.1])
    full = rng.dirichlet(np.ones(4))
    values = rng.normal(0.0, 1.0 / num_frames, (num_frames, 4))
    values += (full - empty - values.sum(axis=0)) / num_frames
    std_error = np.zeros_like(values)
    if sampled:
        std_error = rng.uniform(0.01, 0.1, values.shape) / num_frames
        values += std_error * rng.normal(size=values.shape)
    frames = 10 * np.arange(num_frames) + 5
    return explanation(
        Attribution(values, std_error, full, empty),
        title=f"clip_0012.webm: {num_frames} of {10 * num_frames} frames, multiscale TRN, an estimator of this kind",
        frames=frames,
        times=frames / fps,
        images=rng.integers(0, 255, (num_frames, *image_size, 3), dtype=np.uint8),
        class_names=NAMES,
        sampled=sampled,
    )


def of_players(*, sampled: bool = False) -> Explanation:
    """10 frames in four shots, of which one is in two pieces, beside a question of four words and a sound."""
    parts = [[0, 1, 2], [3, 8, 9], [4], [5, 6, 7]]
    shots = tuple(players.Player(f"shot {i}", (("frames", tuple(own)),)) for i, own in enumerate(parts))
    words = players.each(4, modality="words", names=["What", "is", "being", "unscrewed?"])
    both = (*shots, *words, players.Player("sound", (("sound", (0, 1)),)))
    whole = fake_explanation(len(both), sampled=sampled)
    frames = fake_explanation(10, sampled=sampled)
    return whole._replace(frames=frames.frames, times=frames.times, images=frames.images, players=both)

"""Invented results stores, and how to compare two of them."""

import numpy as np

from esv_jax.results import store_writer
from esv_jax.results.video_index import VideoIndex
from esv_jax.video.frame_sampling import segment_centres

CONFIGURATION = {"model_digest": "abc", "estimator": "exact", "seed": 0, "versions": {"jax": "0.6"}}
CLASSES = ("run", "jump", "sit")
PRIOR = np.array([0.5, 0.25, 0.25], np.float32)


def index_of(lengths: dict[str, int], num_frames: int) -> VideoIndex:
    """Videos of these lengths, by uid; the short ones are left out."""
    kept = {uid: n for uid, n in lengths.items() if n >= num_frames}
    return VideoIndex(
        uid=tuple(kept),
        label=np.arange(len(kept), dtype=np.int64) % len(CLASSES),
        num_frames_in_video=np.array(list(kept.values()), np.int64),
        frame_index=np.stack([segment_centres(n, num_frames) for n in kept.values()]),
        left_out={uid: f"has {n} frames" for uid, n in lengths.items() if uid not in kept},
        numbers=[i for i, uid in enumerate(lengths) if uid in kept],
    )


def values_of(uids: tuple[str, ...], num_frames: int, sampled: bool) -> dict[str, np.ndarray]:
    """Results that differ from uid to uid."""
    seeds = [int.from_bytes(uid.encode()) for uid in uids]
    esv = [np.random.default_rng(seed).normal(size=(num_frames, len(CLASSES))) for seed in seeds]
    esv = np.stack(esv).astype(np.float32)
    arrays = {"esv": esv, "score": esv.sum(axis=1) + PRIOR}
    return {**arrays, "std_error": abs(esv), "low": esv - 1, "high": esv + abs(esv)} if sampled else arrays


def write(path, lengths, num_frames=2, *, batch_size=2, sampled=False, configuration=CONFIGURATION, stop_at=None):
    """Writes, or goes on with, the results of so many frames; not batch `stop_at` and those behind it."""
    index = index_of(lengths, num_frames)
    with store_writer.writing(path, configuration) as folder:
        chunks = store_writer.open_group(
            folder,
            index,
            prior=PRIOR,
            class_names=CLASSES,
            batch_size=batch_size,
            sampled=sampled,
            provenance={"command": "test", **configuration},
        )
        for k in chunks.unfinished():
            if k == stop_at:
                return
            uids = index.uid[k * batch_size : (k + 1) * batch_size]
            store_writer.write_chunk(chunks, k, values_of(uids, num_frames, sampled))


def files_of(path) -> dict[str, bytes]:
    """Everything in a store, by name."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}

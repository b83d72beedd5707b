"""Trains the demo's model on the procedural action set: a CNN, and on its features a multi-scale TRN and a TSN.

    python -m experiments.make_videos --out=out/videos --clips_per_class=250
    python -m experiments.train_demo --videos=out/videos --out=demo_model

1. Every frame is decoded once, at the CNN's size.
2. The CNN is trained end to end under a multi-scale TRN on all subsets of 8 frames. Beside that it learns to map where
   things are, which the set's scripts know; this tells it much sooner what to look at.
3. Both heads are trained on its features of all frames, as experiments.train would.

--out gets the model folders multiscale_trn (with the CNN) and tsn. Killed and started again, it goes on.
"""

import json
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from flax import linen as nn

from esv_jax import checkpoints, cli, models
from esv_jax.checkpoints import Model, ModelCard
from esv_jax.data import annotations, decode, synthetic
from esv_jax.data.preprocess import Preprocess, resize_and_crop
from esv_jax.models.backbones import frame_cnn
from esv_jax.models.backbones.frame_cnn import FrameCNN
from esv_jax.training import heads, loop
from esv_jax.training.heads import Clips

NUM_FRAMES = 8
PREPROCESS = Preprocess(frame_cnn.SIZE, frame_cnn.SIZE, (frame_cnn.MEAN,) * 3, (frame_cnn.STD,) * 3)
MAP_SIDE = 8
MAP_WEIGHT = 0.3

VIDEOS = flags.DEFINE_string("videos", None, "Folder written by make_videos.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder for the two model folders.", required=True)
FEATURE_DIM = flags.DEFINE_integer("feature_dim", 64, "Of the CNN.", lower_bound=1)
HIDDEN_DIM = flags.DEFINE_integer("hidden_dim", 128, "Of every head of the TRN.", lower_bound=1)
CNN_EPOCHS = flags.DEFINE_integer("cnn_epochs", 20, "Passes over the clips for the CNN.", lower_bound=1)
CNN_RATE = flags.DEFINE_float("cnn_learning_rate", 2e-3, "Learning rate of the CNN.")
HEAD_EPOCHS = flags.DEFINE_integer("head_epochs", 60, "Passes over the clips for the heads.", lower_bound=1)
DROPOUT = flags.DEFINE_float("dropout", 0.3, "TSN: of features; TRN: of hidden units.", 0.0, 0.99)
SEED = flags.DEFINE_integer("seed", 0, "Decides the weights, the shuffling, the frames sampled and dropout.")


class Learner(nn.Module):
    """What the CNN is trained in: `unit_logits` as `heads.unit_logits`, and a map of the things in every frame."""

    feature_dim: int
    hidden_dim: int
    num_classes: int

    def setup(self) -> None:
        self.cnn = FrameCNN(self.feature_dim)
        self.trn = models.MultiscaleTRN(NUM_FRAMES, self.hidden_dim, self.num_classes)
        self.map = nn.Dense(MAP_SIDE**2 + 2)

    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits [B, U, C] and maps [B, T, M] of images [B, T, H, W, 3]."""
        features = self.cnn(images.reshape(-1, *images.shape[2:])).reshape(*images.shape[:2], -1)
        if self.is_initializing():
            self.trn(features[0])
        return heads.unit_logits(self.trn, features), self.map(features)


def main() -> None:
    started = time.monotonic()
    out, videos = cli.output_folder(OUT.value), Path(VIDEOS.value)
    clips, classes = _labelled(videos)
    frames = _decoded([clip.path for clip in clips])
    lengths = np.array([len(f) for f in frames], np.int32)
    labels = np.array([classes.index(clip.label) for clip in clips], np.int32)
    offsets = np.cumsum(lengths, dtype=np.int32) - lengths
    images = np.concatenate(frames)
    which = {split: np.array([i for i, c in enumerate(clips) if c.split == split]) for split in synthetic.SPLITS}

    def of_split(rows: np.ndarray, split: str) -> Clips:
        return Clips(rows, *(column[which[split]] for column in (offsets, lengths, labels)))

    cnn = _train_cnn(of_split(images, "train"), _maps(videos, clips), len(classes), out)
    features = _features(cnn, images)
    training = of_split(features, "train")
    for kind, module in _heads(len(classes)).items():
        variables = _train_head(kind, module, training, out)
        figures = {s: _figures(module, variables, of_split(features, s), classes) for s in ("validation", "test")}
        card = ModelCard(
            kind=kind,
            options=_options(kind, len(classes)),
            feature_dim=FEATURE_DIM.value,
            classes=classes,
            prior=heads.class_prior(training.label, len(classes)),
            backbone={"name": cnn.card.kind, "digest": checkpoints.digest(cnn)},
            provenance=_provenance(figures, training, started),
        )
        checkpoints.save_model(out / kind, card, variables, backbone=cnn)
        print(f"{kind}: {json.dumps(figures, indent=1)}")
    for name in ("cnn", *_heads(len(classes))):
        loop.remove_checkpoints(out / f"{name}_checkpoints")
    print(f"trained in {time.monotonic() - started:.0f} s")


def _labelled(videos: Path) -> tuple[list[annotations.LabelledClip], tuple[str, ...]]:
    clips = annotations.read_labels_csv(videos / "labels.csv")
    return clips, tuple(sorted({clip.label for clip in clips}))


def _decoded(paths: list[Path]) -> list[np.ndarray]:
    """All frames of every video, uint8 [n, 48, 48, 3] each."""

    def read(path: Path) -> np.ndarray:
        return np.concatenate([resize_and_crop(frame[None], PREPROCESS) for frame in decode.iter_frames(path)])

    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, paths))


def _maps(videos: Path, clips: list[annotations.LabelledClip]) -> np.ndarray:
    """Where the things are in all frames of all clips, float16 [R, 8 * 8 + 2]: how much of each cell they cover, and
    the sums of the cosines and sines of their angles."""
    seed = json.loads((videos / "set.json").read_text(encoding="utf-8"))["seed"]
    centres = (np.arange(MAP_SIDE) + 0.5) / MAP_SIDE
    maps = []
    for clip in clips:
        poses = synthetic.script(seed, int(clip.path.stem)).poses
        x, y, size, angle, opacity = (poses[:, None, None, :, i] for i in range(5))
        away = np.hypot(x - centres[None, None, :, None], y - centres[None, :, None, None])
        cover = (opacity / (1 + np.exp((away - 0.9 * size) / 0.02))).max(axis=-1).reshape(len(poses), -1)
        large = opacity * (size > 0.05)
        turned = [(large * f(angle)).sum(axis=-1)[:, :, 0] for f in (np.cos, np.sin)]
        maps.append(np.concatenate([cover, *turned], axis=1).astype(np.float16))
    return np.concatenate(maps)


def _train_cnn(clips: Clips, maps: np.ndarray, num_classes: int, out: Path) -> Model:
    learner = Learner(FEATURE_DIM.value, HIDDEN_DIM.value, num_classes)
    example = np.zeros((1, NUM_FRAMES, frame_cnn.SIZE, frame_cnn.SIZE, 3), np.uint8)
    matrix, weights = heads.joining(NUM_FRAMES, NUM_FRAMES)

    def loss(params: Any, state: Any, data: Any, rows: jax.Array, key: jax.Array) -> Any:
        clips, maps = data
        frame_key, light_key = jax.random.split(key)
        indices = heads.sample_segments(frame_key, clips.length[rows], NUM_FRAMES) + clips.offset[rows][:, None]
        images = _recoloured(light_key, clips.rows[indices])
        units, found = learner.apply({"params": params}, images)
        logits = jnp.einsum("su,buc->bsc", matrix, units)
        log_scores = jax.nn.log_softmax(logits)
        surprise = -jnp.take_along_axis(log_scores, clips.label[rows][:, None, None], axis=2)[:, :, 0]
        off = jnp.square(found - maps[indices].astype(jnp.float32)).sum(axis=-1).mean()
        right = (logits[:, -1].argmax(axis=-1) == clips.label[rows]).astype(jnp.float32).mean()
        total = (surprise * weights[None]).sum(axis=1).mean() + MAP_WEIGHT * off
        return total, (state, {"accuracy": right, "map": off})

    schedule = loop.Schedule(CNN_EPOCHS.value, 32, CNN_RATE.value, 1e-2, SEED.value)
    params = learner.init(jax.random.key(SEED.value), example)["params"]
    trained = loop.train(
        loss,
        params,
        {},
        (clips, maps),
        num_examples=len(clips.label),
        schedule=schedule,
        checkpoints=out / "cnn_checkpoints",
        scan_steps=False,
    )
    card = ModelCard("frame_cnn", {"feature_dim": FEATURE_DIM.value}, FEATURE_DIM.value, preprocess=PREPROCESS)
    return Model(card, FrameCNN(FEATURE_DIM.value), {"params": jax.tree.map(np.asarray, trained.params["cnn"])})


def _recoloured(key: jax.Array, images: jax.Array) -> jax.Array:
    """Images float32 of images uint8 [B, T, H, W, 3], the channels of every clip in another light."""
    gain_key, shift_key = jax.random.split(key)
    shape = (len(images), 1, 1, 1, 3)
    gain = jax.random.uniform(gain_key, shape, minval=0.8, maxval=1.25)
    shift = jax.random.uniform(shift_key, shape, minval=-20.0, maxval=20.0)
    return images.astype(jnp.float32) * gain + shift


def _features(cnn: Model, images: np.ndarray) -> np.ndarray:
    """Features float32 [R, D] of all images [R, 48, 48, 3]."""
    apply = jax.jit(cnn.module.apply)
    batches = [images[i : i + 256] for i in range(0, len(images), 256)]
    return np.concatenate([np.asarray(apply(cnn.variables, batch)) for batch in batches])


def _options(kind: str, num_classes: int) -> dict[str, Any]:
    if kind == "tsn":
        return {"num_classes": num_classes, "dropout": DROPOUT.value}
    return {
        "num_scales": NUM_FRAMES,
        "hidden_dim": HIDDEN_DIM.value,
        "num_classes": num_classes,
        "dropout": DROPOUT.value,
    }


def _heads(num_classes: int) -> dict[str, nn.Module]:
    return {
        "multiscale_trn": models.MultiscaleTRN(**_options("multiscale_trn", num_classes)),
        "tsn": models.TSN(**_options("tsn", num_classes)),
    }


def _train_head(kind: str, module: Any, clips: Clips, out: Path) -> Any:
    rate = {"tsn": 1e-2, "multiscale_trn": 2e-3}[kind]
    params = module.init(jax.random.key(SEED.value), np.zeros((1, FEATURE_DIM.value), np.float32))["params"]
    trained = loop.train(
        heads.coalition_loss(module, NUM_FRAMES),
        params,
        {},
        clips,
        num_examples=len(clips.label),
        schedule=loop.Schedule(HEAD_EPOCHS.value, 32, rate, 1e-2, SEED.value),
        checkpoints=out / f"{kind}_checkpoints",
    )
    return {"params": trained.params}


def _figures(module: Any, variables: Any, clips: Clips, classes: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy at 8 frames over all clips, over those of the pairs that only order tells apart, and of every class."""
    right = heads.predict(module, variables, clips, NUM_FRAMES).argmax(axis=1) == clips.label
    in_pairs = np.isin(clips.label, [classes.index(synthetic.CLASS_NAMES[i]) for p in synthetic.ORDER_PAIRS for i in p])
    return {
        "clips": len(right),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_order_pairs": round(float(right[in_pairs].mean()), 4),
        "accuracy_others": round(float(right[~in_pairs].mean()), 4),
        "per_class": {name: round(float(right[clips.label == i].mean()), 3) for i, name in enumerate(classes)},
    }


def _provenance(figures: dict[str, Any], training: Clips, started: float) -> dict[str, Any]:
    return {
        "command": shlex.join(["python", "-m", "experiments.train_demo", *sys.argv[1:]]),
        "seed": SEED.value,
        "num_frames": NUM_FRAMES,
        "training_clips": len(training.label),
        "training_seconds": round(time.monotonic() - started),
        "figures": figures,
        "versions": checkpoints.versions(),
    }


if __name__ == "__main__":
    cli.run(main)

"""Trains the demo's model on the procedural action set: a CNN, and on its features a multi-scale TRN and a TSN.

    esv-jax make_videos --out=out/videos --clips_per_class=250
    esv-jax train_demo --videos=out/videos --out=out/demo

1. Every frame is decoded once, at the CNN's size.
2. The CNN is trained end to end under a multi-scale TRN on all subsets of 8 frames. Beside that it learns to map where
   things are, which the set's scripts know; this tells it much sooner what to look at.
3. Both heads are trained on its features of all frames, selected and calibrated on the validation clips, as `train`
   would.

Clips are also shown mirrored and backwards, with the label that makes of theirs.

--out gets the model folders multiscale_trn (with the CNN) and tsn. Killed and started again, it goes on.
"""

import json
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

from esv_jax import files, models
from esv_jax.data import annotations
from esv_jax.data.priors import priors_from_labels
from esv_jax.models.backbones import frame_cnn
from esv_jax.models.backbones.frame_cnn import FrameCNN
from esv_jax.procedural import scripts
from esv_jax.saved import model_folder
from esv_jax.saved.model_folder import Model, ModelCard
from esv_jax.training import heads, loop
from esv_jax.training.heads import Clips
from esv_jax.video import decode
from esv_jax.video.preprocess import Preprocess, resize_and_crop

from . import cli

NUM_FRAMES = 8
PREPROCESS = Preprocess(frame_cnn.SIZE, frame_cnn.SIZE, (frame_cnn.MEAN,) * 3, (frame_cnn.STD,) * 3)
MAP_SIDE = 8
MAP_WEIGHT = 0.3
TSN_WEIGHT = 0.2
HEAD_RATES = {"multiscale_trn": 2e-3, "tsn": 1e-2}

VIDEOS = cli.DEFINE_path("videos", None, "Folder written by make_videos.", required=True)
OUT = cli.DEFINE_path("out", None, "Folder for the two model folders.", required=True)
FEATURE_DIM = flags.DEFINE_integer("feature_dim", 64, "Of the CNN.", lower_bound=1)
HIDDEN_DIM = flags.DEFINE_integer("hidden_dim", 128, "Of every head of the TRN.", lower_bound=1)
CNN_EPOCHS = flags.DEFINE_integer("cnn_epochs", 16, "Passes over the clips for the CNN.", lower_bound=1)
CNN_RATE = flags.DEFINE_float("cnn_learning_rate", 2e-3, "Learning rate of the CNN.")
HEAD_EPOCHS = flags.DEFINE_integer("head_epochs", 10, "Passes over the clips for the heads.", lower_bound=1)
DROPOUT = flags.DEFINE_float("dropout", 0.3, "TSN: of features; TRN: of hidden units.", 0.0, 0.99)
SEED = flags.DEFINE_integer("seed", 0, "Decides the weights, the shuffling, the frames sampled and dropout.")


class Learner(nn.Module):
    """What the CNN is trained in: both heads, and a map of the things in every frame."""

    feature_dim: int
    hidden_dim: int
    num_classes: int

    def setup(self) -> None:
        self.cnn = FrameCNN(self.feature_dim)
        self.trn = models.MultiscaleTRN(NUM_FRAMES, self.hidden_dim, self.num_classes)
        self.tsn = models.TSN(self.num_classes)
        self.map = nn.Dense(MAP_SIDE**2 + 2)

    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """TRN's `heads.unit_logits` [B, U, C], TSN's logits [B, C], maps [B, T, M] of images [B, T, H, W, 3]."""
        features = self.cnn(images.reshape(-1, *images.shape[2:])).reshape(*images.shape[:2], -1)
        if self.is_initializing():
            self.trn(features[0])
        scores = (
            self.tsn.frame_logits(features.reshape(-1, self.feature_dim)).reshape(*images.shape[:2], -1).mean(axis=1)
        )
        return heads.unit_logits(self.trn, features), scores, self.map(features)


def main() -> None:
    out = cli.output_folder(OUT.value)
    with files.exclusive_lock(out, f"the models in {out}"):
        files.remove_leftovers(out)
        _train(out, Path(VIDEOS.value))


def _train(out: Path, videos: Path) -> None:
    started = time.monotonic()
    labelled, classes = annotations.read_labelled_clips(videos / "labels.csv", videos)
    clips = heads.clips_of(_decoded([clip.path for clip in labelled]), [classes.index(clip.label) for clip in labelled])
    which = {split: np.array([i for i, c in enumerate(labelled) if c.split == split]) for split in scripts.SPLITS}

    def of_split(rows: np.ndarray, split: str) -> Clips:
        return Clips(rows, *(column[which[split]] for column in clips[1:]))

    shown = of_split(clips.rows, "train")
    cnn = _train_cnn(shown, _maps(videos, labelled), classes, out)
    features = _features(cnn, clips.rows)
    training = _augmented(of_split(features, "train"), _features(cnn, clips.rows[:, :, ::-1]), classes)
    for kind, rate in HEAD_RATES.items():
        card = ModelCard(
            kind=kind,
            options=_options(kind, len(classes)),
            feature_dim=FEATURE_DIM.value,
            classes=classes,
            prior=priors_from_labels(shown.label, len(classes)),
            backbone=model_folder.identity(cnn),
        )
        module: Any = model_folder.build(card)
        head = heads.train_head(
            module,
            training,
            NUM_FRAMES,
            loop.Schedule(HEAD_EPOCHS.value, 32, rate, 1e-2, SEED.value),
            validated_on=of_split(features, "validation"),
            recipe=heads.Recipe(standardise=kind == "tsn"),
            checkpoints=out / f"{kind}_checkpoints",
            settings={**card.options, "feature_dim": FEATURE_DIM.value, "videos": VIDEOS.value},
        )
        figures = {
            s: _figures(head.model, head.variables, of_split(features, s), classes) for s in ("validation", "test")
        }
        options = {**card.options, "num_temperatures": head.model.num_temperatures}
        made_by = _provenance(figures, len(shown.label), started) | {"epoch": head.epoch}
        model_folder.save_model(
            out / kind, card._replace(options=options, provenance=made_by), head.variables, backbone=cnn
        )
        print(f"{kind}: {json.dumps(figures, indent=1)}")
    for name in ("cnn", *HEAD_RATES):
        files.remove(out / f"{name}_checkpoints")
    print(f"trained in {time.monotonic() - started:.0f} s")


def _decoded(paths: list[Path]) -> list[np.ndarray]:
    """All frames of every video, uint8 [n, 48, 48, 3] each."""

    def read(path: Path) -> np.ndarray:
        return np.concatenate([resize_and_crop(frame[None], PREPROCESS) for frame in decode.iter_frames(path)])

    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, paths))


def _maps(videos: Path, clips: list[annotations.LabelledClip]) -> np.ndarray:
    """Where the things are in all frames of all clips, float16 [R, 8 * 8 + 2]: how much of each cell they cover, and
    the sums of the cosines and sines of their angles."""
    seed = files.read_json(videos / "set.json")["seed"]
    centres = (np.arange(MAP_SIDE) + 0.5) / MAP_SIDE
    maps = []
    for clip in clips:
        poses = scripts.script_of(seed, int(clip.path.stem)).poses
        x, y, size, angle, opacity = (poses[:, None, None, :, i] for i in range(5))
        away = np.hypot(x - centres[None, None, :, None], y - centres[None, :, None, None])
        cover = (opacity / (1 + np.exp((away - 0.9 * size) / 0.02))).max(axis=-1).reshape(len(poses), -1)
        large = opacity * (size > 0.05)
        turned = [(large * f(angle)).sum(axis=-1)[:, :, 0] for f in (np.cos, np.sin)]
        maps.append(np.concatenate([cover, *turned], axis=1).astype(np.float16))
    return np.concatenate(maps)


def _opposites(classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What every class's clips show, int32 [C], when mirrored, and when run backwards; -1 for nothing in particular."""
    names = scripts.CLASS_NAMES
    pairs = {names[i]: names[j] for one in scripts.ORDER_PAIRS for i, j in (one, one[::-1])}
    same: dict[str, str | None] = {name: name for name in names}
    beside = same | {name: pairs[name] for name in names if name.endswith(("left", "right"))}
    backwards = same | pairs | {"Something falling like a rock": None}

    def numbers(other: dict[str, str | None]) -> np.ndarray:
        return np.array([-1 if (name := other[c]) is None else classes.index(name) for c in classes], np.int32)

    return numbers(beside), numbers(backwards)


def _augmented(clips: Clips, mirrored: np.ndarray, classes: tuple[str, ...]) -> Clips:
    """The clips of features as they are, mirrored, and each of these backwards; 4 n clips. What means nothing backwards
    is kept forwards, so that every class keeps its share."""
    beside, back = _opposites(classes)
    rows, label = [], []
    for source, labels in ((clips.rows, clips.label), (mirrored, beside[clips.label])):
        for direction in (1, -1):
            for offset, length, c in zip(clips.offset, clips.length, labels, strict=True):
                turned = direction < 0 and back[c] >= 0
                rows.append(source[offset : offset + length][:: -1 if turned else 1])
                label.append(back[c] if turned else c)
    return heads.clips_of(rows, label)


def _train_cnn(clips: Clips, maps: np.ndarray, classes: tuple[str, ...], out: Path) -> Model:
    schedule = loop.Schedule(CNN_EPOCHS.value, 32, CNN_RATE.value, 1e-2, SEED.value)
    loop.check_schedule(schedule, len(clips.label))
    learner = Learner(FEATURE_DIM.value, HIDDEN_DIM.value, len(classes))
    beside, back = _opposites(classes)
    example = np.zeros((1, NUM_FRAMES, frame_cnn.SIZE, frame_cnn.SIZE, 3), np.uint8)
    matrix, weights = heads.joining(NUM_FRAMES, NUM_FRAMES)
    map_weights = np.array(MAP_SIDE**2 * [1] + 2 * [4], np.float32)

    def loss(params: Any, state: Any, data: Any, rows: jax.Array, key: jax.Array) -> Any:
        clips, maps = data
        frame_key, light_key, mirror_key, back_key = jax.random.split(key, 4)
        label = clips.label[rows]
        indices = heads.sample_segments(frame_key, clips.length[rows], NUM_FRAMES) + clips.offset[rows][:, None]
        images, goal = _recoloured(light_key, clips.rows[indices]), maps[indices].astype(jnp.float32)

        mirrored = jax.random.bernoulli(mirror_key, 0.5, label.shape)
        label = jnp.where(mirrored, jnp.asarray(beside)[label], label)
        images = jnp.where(mirrored[:, None, None, None, None], images[:, :, :, ::-1], images)
        goal = jnp.where(mirrored[:, None, None], _mirrored_map(goal), goal)
        turned = jax.random.bernoulli(back_key, 0.5, label.shape) & (jnp.asarray(back)[label] >= 0)
        label = jnp.where(turned, jnp.asarray(back)[label], label)
        images = jnp.where(turned[:, None, None, None, None], images[:, ::-1], images)
        goal = jnp.where(turned[:, None, None], goal[:, ::-1], goal)

        outputs: Any = learner.apply({"params": params}, images)
        units, scores, found = outputs
        logits = jnp.einsum("su,buc->bsc", matrix, units)
        right = (logits[:, -1].argmax(axis=-1) == label).astype(jnp.float32).mean()
        surprise = (_surprise(logits, label[:, None]) * weights[None]).sum(axis=1).mean()
        tsn_surprise = _surprise(scores, label).mean()
        off = (jnp.square(found - goal) * map_weights[None, None]).sum(axis=-1).mean()
        total = surprise + TSN_WEIGHT * tsn_surprise + MAP_WEIGHT * off
        return total, (state, {"accuracy": right, "tsn": tsn_surprise, "map": off})

    params = learner.init(jax.random.key(SEED.value), example)["params"]
    trained = loop.train(
        loss,
        params,
        {},
        (clips, maps),
        num_examples=len(clips.label),
        schedule=schedule,
        checkpoints=out / "cnn_checkpoints",
        settings={"feature_dim": FEATURE_DIM.value, "hidden_dim": HIDDEN_DIM.value, "videos": VIDEOS.value},
        scan_steps=False,
    )
    card = ModelCard("frame_cnn", {"feature_dim": FEATURE_DIM.value}, FEATURE_DIM.value, preprocess=PREPROCESS)
    return Model(card, FrameCNN(FEATURE_DIM.value), {"params": jax.tree.map(np.asarray, trained.params["cnn"])})


def _surprise(logits: jax.Array, label: jax.Array) -> jax.Array:
    """-log softmax(logits) [..., C] at the labels [...] (which are broadcast)."""
    chosen = jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)
    return -(jax.nn.log_softmax(logits) * chosen).sum(axis=-1)


def _mirrored_map(maps: jax.Array) -> jax.Array:
    """The maps [B, T, M] of mirrored frames: cells change sides, angles their sign."""
    cells, cos, sin = maps[..., : MAP_SIDE**2], maps[..., -2:-1], maps[..., -1:]
    cells = cells.reshape(*maps.shape[:2], MAP_SIDE, MAP_SIDE)[..., ::-1].reshape(cells.shape)
    return jnp.concatenate([cells, cos, -sin], axis=-1)


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
    batches = (images[i : i + 256] for i in range(0, len(images), 256))
    return np.concatenate([np.asarray(apply(cnn.variables, batch)) for batch in batches])


def _options(kind: str, num_classes: int) -> dict[str, Any]:
    options = {"num_classes": num_classes, "dropout": DROPOUT.value}
    return options if kind == "tsn" else {"num_scales": NUM_FRAMES, "hidden_dim": HIDDEN_DIM.value, **options}


def _figures(module: Any, variables: Any, clips: Clips, classes: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy at 8 frames over all clips, over those of the pairs that only order tells apart, and of every class."""
    right = heads.predict(module, variables, clips, NUM_FRAMES).argmax(axis=1) == clips.label
    in_pairs = np.isin(clips.label, [classes.index(scripts.CLASS_NAMES[i]) for p in scripts.ORDER_PAIRS for i in p])
    return {
        "clips": len(right),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_order_pairs": round(float(right[in_pairs].mean()), 4),
        "accuracy_others": round(float(right[~in_pairs].mean()), 4),
        "per_class": {name: round(float(right[clips.label == i].mean()), 3) for i, name in enumerate(classes)},
    }


def _provenance(figures: dict[str, Any], num_clips: int, started: float) -> dict[str, Any]:
    return {
        "videos": cli.command("make_videos", "--out=out/videos", "--clips_per_class=250"),
        "command": cli.command("train_demo", *sys.argv[1:]),
        "seed": SEED.value,
        "num_frames": NUM_FRAMES,
        "training_clips": num_clips,
        "training_seconds": round(time.monotonic() - started),
        "cpu_seconds": round(time.process_time()),
        "figures": figures,
        "versions": cli.versions(),
    }


if __name__ == "__main__":
    cli.run(main)

"""Models that are asked about frames of videos: of a model folder with its backbone, or anyone's.

What `explain_video` and `check_model` share: their flags, and what they make of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from esv_jax import checks
from esv_jax.base import Game
from esv_jax.checks import InputError
from esv_jax.data.annotations import read_class_names
from esv_jax.data.priors import read_priors
from esv_jax.interop import onnx_model
from esv_jax.saved import kept_check, model_folder
from esv_jax.saved.game import game_of
from esv_jax.video.preprocess import Preprocess

from . import cli, host_flags

DEFAULT_SIZE = 224
# Mean and deviation of channels, in units of 0..255.
PIXELS = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "half": ((127.5,) * 3, (127.5,) * 3),
    "unit": ((0.0,) * 3, (255.0,) * 3),
}

IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Anyone's model: side of its square frames; 224, or what an ONNX model says.", lower_bound=1
)
NORMALISE = flags.DEFINE_enum(
    "normalise",
    "imagenet",
    list(PIXELS),
    "PyTorch and ONNX models: by ImageNet's means and deviations; half: to -1..1; unit: to 0..1.",
)


class ModelOfVideos(NamedTuple):
    """What is asked: a game, its params, what it is shown of frames, and how it is called.

    Attributes:
      encode: uint8 RGB [T, size, size, 3], path of the video -> video [T, ...].
      class_names: None where only the model knows how many there are.
      warning: what to say of a model folder whose check is absent or not good.
    """

    game: Game
    params: Any
    preprocess: Preprocess
    encode: Callable[[np.ndarray, str], Any]
    class_names: tuple[str, ...] | None
    name: str
    provenance: dict[str, Any]
    warning: str | None


def load(model: str, priors: str | None, num_frames: int, *for_hosts: Any) -> ModelOfVideos:
    """The model of --model or --onnx.

    Args:
      model, priors, num_frames: what these flags say.
      for_hosts: more flags that a model folder has no use for.

    Raises:
      InputError: there is none, or flags that say nothing of it are given.
    """
    if host_flags.is_given(model):
        return _of_host(model, priors, num_frames)
    host_flags.refuse_all(*for_hosts, IMAGE_SIZE, NORMALISE)
    return _of_folder(model, priors)


def _of_folder(path: str, priors: str | None) -> ModelOfVideos:
    """The model of a folder, and its backbone."""
    model = model_folder.load_model(path)
    prior = read_priors(priors, len(model.card.classes)) if priors else None
    game = game_of(model, prior=prior, name=path)
    if model.backbone is None or model.backbone.card.preprocess is None:
        raise InputError(f"{path} holds no backbone folder, which is needed to get features from a video")
    backbone = model.backbone

    apply = jax.jit(backbone.module.apply)

    def encode(images: np.ndarray, video: str) -> jax.Array:
        features = apply(backbone.variables, images)
        checks.check_finite(f"the features of {video}", features)
        return features

    name, digest = cli.last_part(path), model_folder.digest(model)
    described = {
        "name": name,
        "kind": model.card.kind,
        "digest": digest,
        "provenance": model.card.provenance,
    }
    preprocess: Any = backbone.card.preprocess
    warning = kept_check.warning(path, digest)
    return ModelOfVideos(game, model.variables, preprocess, encode, model.card.classes, name, described, warning)


def _of_host(model: str, priors: str | None, num_frames: int) -> ModelOfVideos:
    """The model of --onnx or --model=module:function."""
    layout = host_flags.LAYOUT.value or "BTCHW"
    size = IMAGE_SIZE.value or DEFAULT_SIZE
    if host_flags.ONNX.value is not None:
        size = _size_of_onnx(layout, size, num_frames)
    host = host_flags.load(model, priors, layout)
    mean, std = PIXELS[NORMALISE.value]
    order = [1 + "HWC".index(axis) for axis in layout if axis in "HWC"]
    if not host.takes_pixels and len(order) != 3:
        raise InputError(f"--layout should have the axes of frames, C, H and W, found {layout}")

    def encode(images: np.ndarray, video: str) -> np.ndarray:
        if host.takes_pixels:
            return images
        normalised = (images - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        return normalised.transpose([0, *order])

    names = read_class_names(host_flags.CLASSES.value) if host_flags.CLASSES.value else None
    described = host_flags.described(host)
    if not host.takes_pixels:
        described |= {"layout": layout, "normalise": NORMALISE.value}
    preprocess = Preprocess(size, size, mean, std)
    return ModelOfVideos(host.game, host.model, preprocess, encode, names, host.name, described, None)


def _size_of_onnx(layout: str, size: int, num_frames: int) -> int:
    """The side of its frames; refuses other flags than what the model says."""
    shape = dict(zip(layout, onnx_model.input_shape(host_flags.ONNX.value), strict=False))
    if shape.get("T") not in (None, num_frames):
        raise InputError(f"--num_frames should be {shape['T']}, as {host_flags.ONNX.value} takes so many frames")
    if shape.get("H") != shape.get("W"):
        raise InputError(f"{host_flags.ONNX.value} should take square frames, found {shape['H']} x {shape['W']}")
    if IMAGE_SIZE.value and shape.get("H") not in (None, size):
        raise InputError(f"--image_size should be {shape['H']}, as {host_flags.ONNX.value} takes, found {size}")
    return shape.get("H") or size

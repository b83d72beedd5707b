"""Backbones from PyTorch state dicts (Play Fair's, pretrainedmodels' and torchvision's), and MobileNetV1 from Keras."""

from typing import Any

import jax
import numpy as np

from esv_jax.interop import rules
from esv_jax.interop.rules import Imported, Rule, StateDict
from esv_jax.models import weights
from esv_jax.models.backbones import bn_inception, mobilenet_v1, resnet50
from esv_jax.models.backbones.pooled import PooledBackbone
from esv_jax.video.preprocess import Preprocess

IMAGENET_CLASSES = 1000
BN_INCEPTION_PREPROCESS = Preprocess(256, 224, bn_inception.MEAN, (1.0, 1.0, 1.0))
RESNET50_PREPROCESS = Preprocess(256, 224, resnet50.MEAN, resnet50.STD)
MOBILENET_V1_PREPROCESS = Preprocess(224, 224, (127.5,) * 3, (127.5,) * 3)

_EXAMPLE = jax.ShapeDtypeStruct((1, 224, 224, 3), np.uint8)
_KERAS_NORM = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}


def bn_inception_of(state: StateDict, where: str) -> Imported:
    """BN-Inception, its classifier `last_linear`.

    The features are the classifier's outputs where it was put there to make features (Play Fair: 256), and its inputs
    [1024] where it has ImageNet's 1000 classes.

    Raises:
      InputError: tensors are missing, not expected or wrongly shaped (named), or not finite.
    """
    return _pooled("bn_inception", bn_inception.BNInception, state, where, "last_linear")


def resnet50_of(state: StateDict, where: str) -> Imported:
    """ResNet-50, its classifier `last_linear`, or `fc` as torchvision has it.

    The features are the classifier's outputs where it was put there to make features (Play Fair: 256), and its inputs
    [2048] where it has ImageNet's 1000 classes or is torchvision's.

    Raises:
      InputError: tensors are missing, not expected or wrongly shaped (named), or not finite.
    """
    return _pooled("resnet50", resnet50.ResNet50, state, where, "fc" if "fc.weight" in state else "last_linear")


def mobilenet_v1_of(arrays: StateDict, where: str) -> Imported:
    """MobileNetV1 from Keras' arrays, with its classifier or without.

    Args:
      arrays: every tensor by name ("conv_dw_1/depthwise_kernel", "conv1_bn/gamma", ...); they tell the width.
      where: what to call them in errors.

    Raises:
      InputError: tensors are missing, not expected or wrongly shaped (all are named), or not finite.
    """
    stem, bias = arrays.get("conv1/kernel"), arrays.get("conv_preds/bias")
    alpha = mobilenet_v1.MobileNetV1().alpha if stem is None else np.shape(stem)[-1] / 32
    options: dict[str, Any] = {"alpha": alpha, "num_classes": 0 if bias is None else np.shape(bias)[-1]}
    made = weights.shapes(mobilenet_v1.MobileNetV1(**options), _EXAMPLE)
    table = [_keras_rule(target, shape) for target, shape in made.items()]
    variables = rules.convert(table, arrays, where)
    return Imported("mobilenet_v1", options, int(mobilenet_v1.CHANNELS[-1] * alpha), variables)


def _pooled(kind: str, network: type[PooledBackbone], state: StateDict, where: str, classifier: str) -> Imported:
    weight = state.get(f"{classifier}.weight")
    num_outputs = 256 if weight is None or np.ndim(weight) != 2 else np.shape(weight)[0]
    pooled = classifier == "fc" or num_outputs == IMAGENET_CLASSES
    table = []
    for target, shape in weights.shapes(network(num_outputs, pooled), _EXAMPLE).items():
        _, layer, leaf = target.split("/")
        table.append(rules.of_torch(classifier if layer == "last_linear" else layer, leaf, target, shape))
    variables = rules.convert(table, state, where)
    feature_dim = variables["params"]["last_linear"]["kernel"].shape[0] if pooled else num_outputs
    return Imported(kind, {"num_outputs": num_outputs, "pooled_features": pooled}, feature_dim, variables)


def _keras_rule(target: str, shape: tuple[int, ...]) -> Rule:
    """Keras' depthwise kernels are [3, 3, C, 1], and its classifier is a 1x1 convolution."""
    _, layer, leaf = target.split("/")
    name, theirs = leaf, shape
    if layer.endswith("_bn"):
        name = _KERAS_NORM[leaf]
    elif layer.startswith("conv_dw_"):
        name, theirs = "depthwise_kernel", (*shape, 1)
    elif (layer, leaf) == ("conv_preds", "kernel"):
        theirs = (1, 1, *shape)
    return Rule(f"{layer}/{name}", theirs, target, lambda a: a.reshape(shape))

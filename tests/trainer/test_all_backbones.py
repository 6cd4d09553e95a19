"""Tests one network of each Keras Applications family, with random weights at its smallest image size.

The other networks of a family differ in depth and width only.
"""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import backbones
from trainer.divide_backbone import divide_backbone
from trainer.preprocessing import Normalise
from trainer.training_config import TrainingConfig

SMALLEST = {"inception_v3": 75, "inception_resnet_v2": 75, "xception": 71}  # all others accept 32
FAMILIES = {
    "ConvNeXtTiny": 18,
    "DenseNet121": 58,
    "EfficientNetB0": 16,
    "EfficientNetV2B0": 21,
    "InceptionResNetV2": 43,
    "InceptionV3": 11,
    "MobileNet": 13,
    "MobileNetV2": 17,
    "MobileNetV3Small": 11,
    "NASNetMobile": 16,
    "ResNet50": 16,
    "ResNet50V2": 16,
    "VGG16": 5,
    "Xception": 14,
}
SLOWEST = {"InceptionResNetV2", "NASNetMobile"}  # to build

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, RGB


def _between_ones(pixels: np.ndarray) -> np.ndarray:
    return pixels / 127.5 - 1


def _blue_green_red_centred(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., ::-1] - np.array([103.939, 116.779, 123.68])


def _standardised(pixels: np.ndarray) -> np.ndarray:
    return (pixels / 255 - MEAN) / DEVIATION


SCALINGS = {
    "convnext": _standardised,
    "densenet": _standardised,
    "efficientnet": lambda pixels: pixels / 255,  # ImageNet's mean and deviation come with the weights
    "efficientnet_v2": _standardised,
    "resnet": _blue_green_red_centred,
    "vgg16": _blue_green_red_centred,
}  # all others expect -1…1


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOWEST else ()) for name in FAMILIES],
)
def built(request: pytest.FixtureRequest) -> tuple[str, keras.Model]:
    name: str = request.param
    return name, backbones.build(name, SMALLEST.get(backbones.family(name), 32), None)


def _pixels(network: keras.Model) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, *network.input_shape[1:])).astype("float32")


def test_the_input_of_the_first_weights_is_scaled_exactly_once(built: tuple[str, keras.Model]) -> None:
    name, network = built
    family = backbones.family(name)
    scaled = network.input
    for layer in network.layers[1:]:
        if not isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
            break
        scaled = layer.output
    pixels = _pixels(network)

    first_input = keras.Model(network.input, scaled)(Normalise(family)(pixels))

    np.testing.assert_allclose(first_input, SCALINGS.get(family, _between_ones)(pixels), atol=1e-4)
    module = importlib.import_module(f"keras.applications.{family}")
    np.testing.assert_array_equal(Normalise(family)(pixels), module.preprocess_input(pixels.copy()))


def test_the_divided_backbone_computes_and_trains_the_same_as_the_whole(
    built: tuple[str, keras.Model],
) -> None:
    name, network = built
    assert len(backbones.blocks(network)) == FAMILIES[name]
    backbones.unfreeze(network, 1)
    if name == "NASNetMobile":  # each cell takes the outputs of the two before it
        with pytest.raises(backbones.BackboneError, match="training.feature_cache.enabled"):
            divide_backbone(network, 1)
        return
    frozen_part, trainable_part = divide_backbone(network, 1)
    assert not frozen_part.trainable_weights
    pixels = Normalise(backbones.family(name))(_pixels(network))
    activations = frozen_part(pixels, training=False)
    features = trainable_part(activations, training=False)
    np.testing.assert_array_equal(features, network(pixels, training=False))
    assert np.isfinite(features).all()

    before = {weight.path: weight.numpy() for weight in network.weights}
    # With random weights, the activations of an image are too small to train on.
    activations = np.random.default_rng(0).normal(size=activations.shape).astype("float32")
    with tf.GradientTape() as tape:
        loss = keras.ops.mean(keras.ops.square(trainable_part(activations, training=False) - 1))
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    keras.optimizers.Adam(1e-2).apply(gradients, network.trainable_variables)

    changed = {
        weight.path for weight in network.weights if not np.array_equal(before[weight.path], weight.numpy())
    }
    assert changed
    assert changed <= {weight.path for weight in network.trainable_weights}


def test_every_family_of_keras_applications_is_covered() -> None:
    deeper = {"vgg19"}  # in another module than VGG16, but with the same blocks
    assert {*map(backbones.family, FAMILIES)} | deeper == {*map(backbones.family, backbones.names())}


@pytest.mark.parametrize("name", backbones.names())
def test_the_default_image_size_is_that_of_keras(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras uses a network's default size if none is given; the mock stops the build at that point."""

    class SizeRequested(Exception):
        pass

    def request_size(input_shape: object, default_size: int, **_: object) -> None:
        raise SizeRequested(default_size)

    if backbones.family(name) == "mobilenet_v3":  # accepts any size; its paper and its weights use 224
        assert TrainingConfig(backbone=name).image_size == 224
        return
    monkeypatch.setattr("keras.src.applications.imagenet_utils.obtain_input_shape", request_size)
    with pytest.raises(SizeRequested) as size:
        getattr(keras.applications, name)(weights=None)
    assert TrainingConfig(backbone=name).image_size == size.value.args[0]

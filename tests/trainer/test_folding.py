from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

from trainer import folding

SIZE = 12


def normalised(x: keras.KerasTensor, **options: bool) -> keras.KerasTensor:
    return layers.BatchNormalization(**options)(x)


def nested(x: keras.KerasTensor) -> keras.KerasTensor:
    inner = keras.Input(x.shape[1:])
    return keras.Model(inner, normalised(layers.Conv2D(4, 3)(inner)), name="inner")(x, training=False)


def in_a_row(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Sequential([layers.Conv2D(4, 1), layers.BatchNormalization()])(x)


def needed_elsewhere(x: keras.KerasTensor) -> keras.KerasTensor:
    convolved = layers.Conv2D(4, 3)(x)
    return layers.Add()([convolved, normalised(convolved)])


def called_twice(x: keras.KerasTensor) -> keras.KerasTensor:
    convolve = layers.Conv2D(x.shape[-1], 1)
    return convolve(normalised(convolve(x)))


FOLDED = {
    "convolution": lambda x: normalised(layers.Conv2D(4, 3, strides=2, padding="same")(x)),
    "without a bias": lambda x: normalised(layers.Conv2D(4, 3, use_bias=False)(x)),
    "grouped": lambda x: normalised(layers.Conv2D(6, 3, groups=3)(x)),
    "depthwise": lambda x: normalised(layers.DepthwiseConv2D(3, depth_multiplier=2)(x)),
    "separable": lambda x: normalised(layers.SeparableConv2D(4, 3)(x)),
    "dense": lambda x: normalised(layers.Dense(4)(x)),
    "without a scale": lambda x: normalised(layers.Conv2D(4, 3)(x), scale=False),
    "without an offset": lambda x: normalised(layers.Conv2D(4, 3)(x), center=False),
    "nested": nested,
}
KEPT = {
    "first of all": normalised,
    "after an activation": lambda x: normalised(layers.Conv2D(4, 3, activation="relu")(x)),
    "in a row": in_a_row,
    "needed elsewhere": needed_elsewhere,
    "called twice": called_twice,
}


def network_of(part: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    """Returns a network with random weights, statistics included."""
    pixels = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(pixels, layers.GlobalAveragePooling2D()(layers.ReLU()(part(pixels))))
    chance = np.random.default_rng(0)
    for variable in network.variables:
        variable.assign(chance.uniform(0.5, 2, variable.shape))
    return network


def normalisations(network: keras.Model) -> int:
    return sum(isinstance(layer, layers.BatchNormalization) for layer in network._flatten_layers())


@pytest.mark.parametrize("kind", [*FOLDED, *KEPT])
def test_a_folded_network_gives_the_same(kind: str) -> None:
    network = network_of({**FOLDED, **KEPT}[kind])
    pixels = np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
    before = [value.copy() for value in network.get_weights()]

    folded = folding.folded(network)

    assert normalisations(network) == 1
    assert normalisations(folded) == (kind in KEPT)
    expected = network(pixels, training=False).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(folded(pixels, training=False), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([value.ravel() for value in before]), flat(network))


def flat(network: keras.Model) -> np.ndarray:
    return np.concatenate([value.ravel() for value in network.get_weights()])


@pytest.mark.parametrize(("backbone", "left"), [("MobileNetV2", 0), ("ResNet50V2", 17)])
def test_backbones_lose_what_follows_a_convolution(backbone: str, left: int) -> None:
    network = getattr(keras.applications, backbone)(include_top=False, weights=None, input_shape=(64, 64, 3))
    assert normalisations(folding.folded(network)) == left

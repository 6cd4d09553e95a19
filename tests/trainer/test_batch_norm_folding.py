from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

from trainer.batch_norm_folding import fold_batch_norm

SIZE = 12


def batch_norm(x: keras.KerasTensor, **options: bool) -> keras.KerasTensor:
    return layers.BatchNormalization(**options)(x)


def nested(x: keras.KerasTensor) -> keras.KerasTensor:
    inner = keras.Input(x.shape[1:])
    return keras.Model(inner, batch_norm(layers.Conv2D(4, 3)(inner)), name="inner")(x, training=False)


def in_sequential(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Sequential([layers.Conv2D(4, 1), layers.BatchNormalization()])(x)


def used_elsewhere(x: keras.KerasTensor) -> keras.KerasTensor:
    convolved = layers.Conv2D(4, 3)(x)
    return layers.Add()([convolved, batch_norm(convolved)])


def called_twice(x: keras.KerasTensor) -> keras.KerasTensor:
    convolve = layers.Conv2D(x.shape[-1], 1)
    return convolve(batch_norm(convolve(x)))


FOLDED = {
    "convolution": lambda x: batch_norm(layers.Conv2D(4, 3, strides=2, padding="same")(x)),
    "without a bias": lambda x: batch_norm(layers.Conv2D(4, 3, use_bias=False)(x)),
    "grouped": lambda x: batch_norm(layers.Conv2D(6, 3, groups=3)(x)),
    "depthwise": lambda x: batch_norm(layers.DepthwiseConv2D(3, depth_multiplier=2)(x)),
    "separable": lambda x: batch_norm(layers.SeparableConv2D(4, 3)(x)),
    "dense": lambda x: batch_norm(layers.Dense(4)(x)),
    "without a scale": lambda x: batch_norm(layers.Conv2D(4, 3)(x), scale=False),
    "without an offset": lambda x: batch_norm(layers.Conv2D(4, 3)(x), center=False),
    "nested": nested,
}
UNFOLDED = {
    "first layer": batch_norm,
    "after an activation": lambda x: batch_norm(layers.Conv2D(4, 3, activation="relu")(x)),
    "in a Sequential": in_sequential,
    "used elsewhere": used_elsewhere,
    "called twice": called_twice,
}


def network_of(part: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    """Returns a network with random weights, statistics included."""
    pixels = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(pixels, layers.GlobalAveragePooling2D()(layers.ReLU()(part(pixels))))
    generator = np.random.default_rng(0)
    for variable in network.variables:
        variable.assign(generator.uniform(0.5, 2, variable.shape))
    return network


def count_batch_norms(network: keras.Model) -> int:
    return sum(isinstance(layer, layers.BatchNormalization) for layer in network._flatten_layers())


@pytest.mark.parametrize("kind", [*FOLDED, *UNFOLDED])
def test_a_folded_network_has_the_same_output(kind: str) -> None:
    network = network_of({**FOLDED, **UNFOLDED}[kind])
    pixels = np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 3)).astype(np.float32)
    before = [value.copy() for value in network.get_weights()]

    folded = fold_batch_norm(network)

    assert count_batch_norms(network) == 1
    assert count_batch_norms(folded) == (kind in UNFOLDED)
    expected = network(pixels, training=False).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(folded(pixels, training=False), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([value.ravel() for value in before]), flat(network))


def flat(network: keras.Model) -> np.ndarray:
    return np.concatenate([value.ravel() for value in network.get_weights()])


@pytest.mark.parametrize(("backbone", "remaining"), [("MobileNetV2", 0), ("ResNet50V2", 17)])
def test_backbones_keep_only_batch_norm_without_a_preceding_convolution(
    backbone: str, remaining: int
) -> None:
    network = getattr(keras.applications, backbone)(include_top=False, weights=None, input_shape=(64, 64, 3))
    assert count_batch_norms(fold_batch_norm(network)) == remaining

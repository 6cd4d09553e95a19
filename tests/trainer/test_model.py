import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import backbones, model, weights
from trainer.training_config import AugmentationConfig, TrainingConfig

CONFIG = TrainingConfig(image_size=32)
NO_AUGMENTATION = AugmentationConfig(flip=False, rotation=0, zoom=0, contrast=0)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return model.build(weights.load_backbone("MobileNetV2", 32, "packaged"), CONFIG)


def _pixels(count: int = 4) -> tf.Tensor:
    return tf.cast(tf.random.stateless_uniform([count, 32, 32, 3], [1, 2], 0, 256, tf.int32), tf.uint8)


def test_the_output_is_one_probability_per_image(network: keras.Model) -> None:
    output = network(tf.cast(_pixels(), tf.float32))
    assert output.shape == (4, 1)
    assert np.all((output >= 0) & (output <= 1))


def test_batch_normalisation_keeps_its_statistics_in_training(network: keras.Model) -> None:
    backbone = network.get_layer("mobilenetv2_1.00_32")
    backbones.unfreeze(backbone, 3)
    statistics = [w.numpy() for w in backbone.weights if "moving" in w.path]
    training = model.add_augmentation(network, CONFIG)
    # Eagerly: tracing the graph takes far longer than one step.
    training.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", run_eagerly=True)

    training.fit(_pixels(), np.array([0.0, 1, 0, 1]), verbose=0)

    for before, after in zip(
        statistics, [w.numpy() for w in backbone.weights if "moving" in w.path], strict=True
    ):
        np.testing.assert_array_equal(after, before)


def test_augmentation_changes_images_in_training_only(network: keras.Model) -> None:
    training = model.add_augmentation(network, CONFIG)
    *_, augmented, classifier = training.layers
    assert classifier is network
    network_input = keras.Model(training.input, augmented.output)

    np.testing.assert_array_equal(network_input(_pixels(), training=False), _pixels())
    changed = network_input(_pixels(), training=True)
    assert changed.shape == (4, 32, 32, 3)
    assert np.abs(changed - tf.cast(_pixels(), tf.float32)).mean() > 10


def test_augmentation_can_be_turned_off(network: keras.Model) -> None:
    training = model.add_augmentation(network, CONFIG.model_copy(update={"augmentation": NO_AUGMENTATION}))
    assert not [layer for layer in training.layers if layer.name.startswith("random")]

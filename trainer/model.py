"""The network: normalisation, a pretrained backbone and a sigmoid head."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from trainer import backbones
from trainer.augmentation import random_layers
from trainer.divide_backbone import divide_backbone
from trainer.preprocessing import Normalise
from trainer.training_config import TrainingConfig

POOLED, ACTIVATIONS = "pooled", "activations"


def build(backbone: keras.Model, config: TrainingConfig) -> keras.Model:
    """Adds normalisation and a head to a backbone.

    The backbone's batch normalisation uses the pretrained statistics in both phases, because
    `trainer.backbones.unfreeze` leaves it frozen.

    Args:
        backbone: From scaled pixels to features [N, h, w, channels].
        config: Provides the backbone's name, image size, dropout and seed.

    Returns:
        A model from pixels, float32 [N, size, size, 3] in 0…255, to the second class's probability,
        float32 [N, 1].
    """
    pixels = keras.Input((config.image_size, config.image_size, 3), name="pixels")
    x = Normalise(backbones.family(config.backbone), name="normalise")(pixels)
    x = backbone(x, training=False)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(config.dropout, seed=config.seed, name="dropout")(x)
    probability = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(pixels, probability, name="classifier")


class DividedNetwork(NamedTuple):
    """Three models that share the layers of one network.

    Attributes:
        frozen_part: From pixels, as the network takes them, to a dictionary of the features that both phases
            leave unchanged: `pooled`, the head's input before fine-tuning, float32 [N, channels], and
            `activations`, the input of `trainable_part`, [N, h, w, c].
        head: From `pooled` to the network's output.
        trainable_part: From `activations` to the network's output; None without fine-tuning.
    """

    frozen_part: keras.Model
    head: keras.Model
    trainable_part: keras.Model | None


def divide_network(network: keras.Model, backbone: keras.Model, last_blocks: int) -> DividedNetwork:
    """Divides a network for training on cached features.

    Args:
        network: The result of `build`.
        backbone: The backbone inside it.
        last_blocks: Number of blocks that fine-tuning trains; 0 without fine-tuning.

    Raises:
        BackboneError: The backbone cannot be divided before these blocks.
    """
    pool = network.get_layer("pool")
    pixels = keras.Input(network.input_shape[1:], name="pixels")
    scaled = network.get_layer("normalise")(pixels)

    def apply_head(pooled: keras.KerasTensor) -> keras.KerasTensor:
        return network.get_layer("probability")(network.get_layer("dropout")(pooled))

    features = {}
    trainable_part = None
    if last_blocks:
        below, above = divide_backbone(backbone, last_blocks)
        features[ACTIVATIONS] = below(scaled, training=False)
        feature_map = above(features[ACTIVATIONS], training=False)
        activations = keras.Input(above.input_shape[1:], name=ACTIVATIONS)
        probability = apply_head(pool(above(activations, training=False)))
        trainable_part = keras.Model(activations, probability, name="trainable_part")
    else:
        feature_map = backbone(scaled, training=False)
    features[POOLED] = pool(feature_map)
    pooled = keras.Input(features[POOLED].shape[1:], name=POOLED)
    head = keras.Model(pooled, apply_head(pooled), name="head")
    return DividedNetwork(keras.Model(pixels, features), head, trainable_part)


def class_activation(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that maps an image to the regions that support each class.

    The class activation map of Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR
    2016): the head's weights, applied to each position of the last feature map instead of to its mean. The
    mean of the map plus the head's bias is the logit of the probability.

    Args:
        network: The result of `build`, or any network that ends with global average pooling and a dense
            layer.

    Returns:
        A function from pixels, float32 [N, size, size, 3] in 0…255, to the map in logits, float32 [N, h, w]:
        positive for the second class, negative for the first.
    """
    pool = next(layer for layer in network.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    feature_map = keras.Model(network.input, pool.input)
    weights = network.layers[-1].kernel

    def activation(pixels: tf.Tensor) -> tf.Tensor:
        return tf.tensordot(feature_map(pixels, training=False), weights[:, 0], axes=1)

    return activation


def add_augmentation(network: keras.Model, config: TrainingConfig) -> keras.Model:
    """Puts augmentation, active in training only, in front of a network.

    Args:
        network: The result of `build`; the new model shares its weights.
        config: Provides image size, augmentation and seed.

    Returns:
        A model from pixels, uint8 [N, size, size, 3], to the network's output.
    """
    pixels = keras.Input((config.image_size, config.image_size, 3), dtype="uint8", name="stored_pixels")
    x = keras.ops.cast(pixels, "float32")
    for layer in random_layers(config.augmentation, config.seed):
        x = layer(x)
    return keras.Model(pixels, network(x), name="training")

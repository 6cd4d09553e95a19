"""The network: normalisation, a pretrained backbone, one sigmoid; for training, augmentation before them."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from trainer import backbones
from trainer.preprocessing import Normalise
from trainer.recipe import AugmentationSettings, TrainingSettings


def build(backbone: keras.Model, recipe: TrainingSettings) -> keras.Model:
    """Puts normalisation and a head around a backbone.

    The backbone is called with `training=False` for good: its batch normalisation uses the pretrained
    statistics in both phases.

    Args:
        backbone: From scaled pixels to features [N, h, w, channels].
        recipe: Names the backbone's scaling, and sets image size and dropout.

    Returns:
        A model from pixels, float32 [N, size, size, 3] in 0…255, to the second class's probability,
        float32 [N, 1].
    """
    pixels = keras.Input((recipe.image_size, recipe.image_size, 3), name="pixels")
    x = Normalise(backbones.family(recipe.backbone), name="normalise")(pixels)
    x = backbone(x, training=False)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(x)
    probability = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(pixels, probability, name="classifier")


def class_activation(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns what tells where in a picture the network sees its classes.

    The class-activation map of Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR
    2016): the head's weights, applied at every place of the last feature map instead of to its mean. The mean
    of the map plus the head's bias is the logit of the probability.

    Args:
        network: What `build` returned, or any that ends with global average pooling and a dense layer.

    Returns:
        A function from pixels, float32 [N, size, size, 3] in 0…255, to the map in logits, float32 [N, h, w]:
        positive where it speaks for the second class, negative for the first.
    """
    pool = next(one for one in network.layers if isinstance(one, keras.layers.GlobalAveragePooling2D))
    feature_map = keras.Model(network.input, pool.input)
    weights = network.layers[-1].kernel

    def activation(pixels: tf.Tensor) -> tf.Tensor:
        return tf.tensordot(feature_map(pixels, training=False), weights[:, 0], axes=1)

    return activation


def with_augmentation(network: keras.Model, recipe: TrainingSettings) -> keras.Model:
    """Wraps a network for training: random changes of the pixels first, which evaluation leaves out.

    Args:
        network: What `build` returned; its weights are shared.
        recipe: Image size, augmentation and its seed.

    Returns:
        A model from pixels, uint8 [N, size, size, 3], to the network's output.
    """
    pixels = keras.Input((recipe.image_size, recipe.image_size, 3), dtype="uint8", name="stored_pixels")
    x = keras.ops.cast(pixels, "float32")
    for step in _augmentation(recipe.augmentation, recipe.seed):
        x = step(x)
    return keras.Model(pixels, network(x), name="training")


def compile_for_training(model: keras.Model, learning_rate: float) -> None:
    """Compiles a model: the same loss and metrics for both phases, only the step size differs."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy"), keras.metrics.AUC(name="auc")],
    )


def _augmentation(settings: AugmentationSettings, seed: int) -> list[keras.layers.Layer]:
    steps: list[keras.layers.Layer] = []
    if settings.flip:
        steps.append(keras.layers.RandomFlip("horizontal", seed=seed))
    if settings.rotation:
        steps.append(keras.layers.RandomRotation(settings.rotation, fill_mode="reflect", seed=seed + 1))
    if settings.zoom:
        steps.append(keras.layers.RandomZoom(settings.zoom, fill_mode="reflect", seed=seed + 2))
    if settings.contrast:
        steps.append(keras.layers.RandomContrast(settings.contrast, value_range=(0, 255), seed=seed + 3))
    return steps

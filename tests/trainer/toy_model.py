"""A small backbone and transformed examples, for real trainings that take seconds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainer import features


def backbone(size: int) -> keras.Model:
    """Returns a backbone of two blocks, named as in Keras Applications, each with batch normalisation."""
    pixels = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu", name="block_1_project")(pixels)
    x = keras.layers.BatchNormalization(name="block_1_project_BN")(x)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="block_2_project")(x)
    return keras.Model(pixels, keras.layers.BatchNormalization(name="block_2_project_BN")(x))


def write_examples(file: Path, images: Iterable[np.ndarray]) -> None:
    """Writes transformed examples of images, uint8 [size, size, 3]; every other one is a dog."""
    with tf.io.TFRecordWriter(str(file)) as writer:
        for number, pixels in enumerate(images):
            example = tf.train.Example()
            stored = tf.io.serialize_tensor(pixels).numpy()
            example.features.feature[features.PIXELS].bytes_list.value.append(stored)
            example.features.feature[features.LABEL].int64_list.value.append(number % 2)
            writer.write(example.SerializeToString())

"""Decodes, resizes and scales images, in the same way for training, evaluation and serving.

Transform and the exported signatures (and so the Evaluator and TensorFlow Serving) call `decode_and_resize`;
the `Normalise` layer is part of the model. No other code prepares the network's input, so there is no
training-serving skew.
"""

from __future__ import annotations

import importlib
from typing import Any

import keras
import tensorflow as tf

from trainer import features


def decode_and_resize(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes images and resizes each to a square, without keeping its aspect ratio.

    If both sides shrink, averages areas, which is fast; otherwise resizes bilinearly with anti-aliasing.
    Neither skips pixels of large images. The result is rounded to 8 bits, so that serving computes the same
    values that Transform stores.

    Args:
        encoded: string [N], JPEG or PNG bytes (grey, palette, CMYK and transparent images become RGB).
        size: Height and width of the result, in pixels.

    Returns:
        uint8 [N, size, size, 3].

    Raises:
        tf.errors.InvalidArgumentError: On execution, if an element is not a decodable image.
    """

    def decode_one(image_bytes: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        resized = tf.cond(
            tf.reduce_min(tf.shape(image)[:2]) > size,
            lambda: tf.image.resize(image, [size, size], method="area"),
            lambda: tf.image.resize(image, [size, size], method="bilinear", antialias=True),
        )
        return tf.saturate_cast(tf.round(resized), tf.uint8)

    return tf.map_fn(decode_one, encoded, fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8))


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Transform's `preprocessing_fn`: returns one serialized pixel tensor per image, and the label.

    Transform does not accept uint8 outputs. Serialized 8-bit pixels take a quarter of the size of float
    pixels and pass through Beam much faster.

    Args:
        inputs: Raw features; uses `image/encoded` and `image/class/label`.
        custom_config: Holds `image_size`, in pixels.

    Returns:
        `pixels`: string [N], each a serialized uint8 [size, size, 3]; `image/class/label`: int64 [N].
    """
    encoded = tf.reshape(inputs[features.ENCODED], [-1])
    pixels = decode_and_resize(encoded, custom_config["image_size"])
    return {
        features.PIXELS: tf.map_fn(tf.io.serialize_tensor, pixels, fn_output_signature=tf.string),
        features.LABEL: tf.reshape(inputs[features.LABEL], [-1]),
    }


def parse_transformed(serialized: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Parses one example written by `preprocessing_fn`.

    Args:
        serialized: string [], a serialized `tf.Example`.
        size: Height and width of the stored pixels.

    Returns:
        uint8 [size, size, 3] and the label, float32 [].
    """
    parsed = tf.io.parse_single_example(
        serialized,
        {
            features.PIXELS: tf.io.FixedLenFeature([], tf.string),
            features.LABEL: tf.io.FixedLenFeature([], tf.int64),
        },
    )
    pixels = tf.io.parse_tensor(parsed[features.PIXELS], tf.uint8)
    return tf.ensure_shape(pixels, [size, size, 3]), tf.cast(parsed[features.LABEL], tf.float32)


@keras.saving.register_keras_serializable(package="catsdogs")
class Normalise(keras.layers.Layer):
    """Scales pixels from 0…255 to the range that a Keras Applications network expects.

    Args:
        family: The network's module in `keras.applications`, for example `mobilenet_v2` ([-1, 1]).
    """

    def __init__(self, family: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.family = family
        self._preprocess_input = importlib.import_module(f"keras.applications.{family}").preprocess_input

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        """Maps float or uint8 [N, height, width, 3] to float32 of the same shape."""
        return self._preprocess_input(keras.ops.cast(pixels, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the config that Keras rebuilds the layer from."""
        return {**super().get_config(), "family": self.family}

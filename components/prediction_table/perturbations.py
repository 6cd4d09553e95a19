"""Perturbs images in ways that must not change the predicted class.

Each perturbed image is encoded again, because the model decodes and resizes images itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer import features

_BRIGHTNESS, _SCALE = 0.85, 0.75  # factors of the brightness, and of width and height
_QUALITY = 70  # of JPEG, 0 to 100
_GREY, _SIDE = 128, 64  # pixel value 0 to 255; width and height in pixels


def perturb(encoded: bytes) -> Mapping[str, bytes]:
    """Returns the image under each of `columns.PERTURBATIONS`, encoded as PNG (`recompressed`: JPEG).

    Args:
        encoded: JPEG or PNG, read as the model reads it (`trainer.preprocessing`).
    """
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    sides = tf.cast(tf.shape(pixels)[:2], tf.float32)
    size = tf.cast(tf.maximum(tf.round(_SCALE * sides), 1), tf.int32)
    darkened, resized = (
        _BRIGHTNESS * tf.cast(pixels, tf.float32),
        tf.image.resize(pixels, size, antialias=True),
    )
    return {
        "flipped": _png(tf.image.flip_left_right(pixels)),
        "darkened": _png(_rounded(darkened)),
        "recompressed": tf.io.encode_jpeg(pixels, quality=_QUALITY).numpy(),
        "resized": _png(_rounded(resized)),
    }


def grey_image() -> bytes:
    """Returns a uniformly grey image, encoded as PNG."""
    return _png(tf.fill([_SIDE, _SIDE, 3], tf.constant(_GREY, tf.uint8)))


def to_example(encoded: bytes) -> bytes:
    """Returns an encoded image as a serialized `tf.Example`."""
    example = tf.train.Example()
    example.features.feature[features.ENCODED].bytes_list.value.append(encoded)
    serialized: bytes = example.SerializeToString()
    return serialized


def _rounded(pixels: tf.Tensor) -> tf.Tensor:
    return tf.saturate_cast(tf.round(pixels), tf.uint8)


def _png(pixels: tf.Tensor) -> bytes:
    """Encodes pixels as PNG without compression, which would take as long as the prediction."""
    encoded: bytes = tf.io.encode_png(pixels, compression=0).numpy()
    return encoded

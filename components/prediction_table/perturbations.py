"""Changes of a picture that must not change what is in it, each an encoded picture again.

The model decodes and resizes them itself, as it does any other picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import tensorflow as tf
from PIL import Image

from trainer import features

_DARKER, _SMALLER = 0.85, 0.75  # of the brightness, and of either side
_QUALITY = 70  # JPEG's, 0 to 100
_GREY, _SIDE = 128, 64  # of 0…255, and in pixels


def changed(encoded: bytes) -> Mapping[str, bytes]:
    """Returns a picture after each of `columns.CHANGES`, as BMP but for the one that JPEG is the change of.

    Args:
        encoded: JPEG or PNG, read as the model reads it (`trainer.preprocessing`).
    """
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    sides = tf.cast(tf.shape(pixels)[:2], tf.float32)
    size = tf.cast(tf.maximum(tf.round(_SMALLER * sides), 1), tf.int32)
    darker, smaller = _DARKER * tf.cast(pixels, tf.float32), tf.image.resize(pixels, size, antialias=True)
    return {
        "flipped": _bmp(tf.image.flip_left_right(pixels)),
        "darkened": _bmp(_rounded(darker)),
        "recompressed": tf.io.encode_jpeg(pixels, quality=_QUALITY).numpy(),
        "resized": _bmp(_rounded(smaller)),
    }


def grey() -> bytes:
    """Returns a picture of which nobody can say what it shows, as it is grey all over."""
    return _bmp(tf.fill([_SIDE, _SIDE, 3], tf.constant(_GREY, tf.uint8)))


def record(encoded: bytes) -> bytes:
    """Returns a picture as the model's signature for examples wants it, a serialized `tf.Example`."""
    example = tf.train.Example()
    example.features.feature[features.ENCODED].bytes_list.value.append(encoded)
    serialized: bytes = example.SerializeToString()
    return serialized


def _rounded(pixels: tf.Tensor) -> tf.Tensor:
    return tf.saturate_cast(tf.round(pixels), tf.uint8)


def _bmp(pixels: tf.Tensor) -> bytes:
    """Returns pixels as they are: to compress them, as PNG, would take longer than to ask the model."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, "BMP")
    return buffer.getvalue()

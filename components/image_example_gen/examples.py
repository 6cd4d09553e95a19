"""Serializes an image as a `tf.Example` with the features of `trainer.features`."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from components.image_example_gen.inspection import Properties
from components.image_example_gen.sources.base import SourceImage
from trainer import features

# Exclusive upper bounds and names of the ranges.
_RESOLUTIONS = [(50e3, "under 50k pixels"), (200e3, "50k to 200k pixels"), (1e6, "200k to 1M pixels")]
_ASPECTS = [(0.9, "portrait"), (1.1, "square")]  # width / height
_BRIGHTNESSES = [(0.25, "dark"), (0.6, "medium")]
_BYTE_SIZES = [(16e3, "under 16 kB"), (64e3, "16 to 64 kB"), (256e3, "64 to 256 kB")]


def serialize(image: SourceImage, data: bytes, properties: Properties, class_names: Sequence[str]) -> bytes:
    """Returns the serialized `tf.Example` of an image; its encoded bytes, `data`, are stored unchanged."""
    width, height = properties.width, properties.height
    values: dict[str, bytes | str | int | float] = {
        features.ENCODED: data,
        features.FILENAME: image.filename,
        features.DIGEST: properties.digest.hex(),
        features.LABEL: image.label,
        features.CLASS_NAME: class_names[image.label],
        features.HEIGHT: height,
        features.WIDTH: width,
        features.FORMAT: properties.format,
        features.MODE: properties.mode,
        features.BYTE_SIZE: len(data),
        features.BRIGHTNESS: properties.brightness,
        features.CONTRAST: properties.contrast,
        features.SOURCE_FOLDER: image.folder,
        features.RESOLUTION_RANGE: _range(width * height, _RESOLUTIONS, "1M pixels and more"),
        features.ASPECT_RANGE: _range(width / height, _ASPECTS, "landscape"),
        features.BRIGHTNESS_RANGE: _range(properties.brightness, _BRIGHTNESSES, "bright"),
        features.BYTE_SIZE_RANGE: _range(len(data), _BYTE_SIZES, "256 kB and more"),
    }
    example = tf.train.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.bytes_list.value.append(value.encode() if isinstance(value, str) else value)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def _range(value: float, bounds: Sequence[tuple[float, str]], above: str) -> str:
    return next((name for bound, name in bounds if value < bound), above)

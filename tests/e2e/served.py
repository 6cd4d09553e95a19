"""Reads stored examples and runs pushed models with plain TensorFlow."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import tensorflow as tf


def records(artifact: Path, split: str) -> list[bytes]:
    """Returns the serialized examples of a split, in stored order."""
    return [
        record
        for file in sorted((artifact / f"Split-{split}").iterdir())
        for record in tf.data.TFRecordDataset(
            str(file), compression_type="GZIP" if file.suffix == ".gz" else ""
        ).as_numpy_iterator()
    ]


def count_records(artifact: Path) -> dict[str, Counter[bytes]]:
    """Returns how often each example is in a split, by split; the order of its features does not count."""
    return {
        folder.name: Counter(
            tf.train.Example.FromString(record).SerializeToString(deterministic=True)
            for record in records(artifact, folder.name.removeprefix("Split-"))
        )
        for folder in sorted(artifact.glob("Split-*"))
    }


def feature(name: str, raw: list[bytes]) -> list[bytes]:
    """Returns the values of a bytes feature of serialized examples."""
    examples = [tf.train.Example.FromString(record).features for record in raw]
    return [example.feature[name].bytes_list.value[0] for example in examples]


def predict(version: Path, images: list[bytes]) -> dict[str, np.ndarray]:
    """Returns the outputs of a pushed model for JPEG or PNG bytes."""
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    return {name: value.numpy() for name, value in serve(image_bytes=tf.constant(images)).items()}

"""What runs leave behind, read with plain TensorFlow: stored examples, and the answers of a pushed model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf


def records(artifact: Path, split: str) -> list[bytes]:
    """Returns the serialized examples of a split, in the order in which they were written."""
    return [
        record
        for file in sorted((artifact / f"Split-{split}").iterdir())
        for record in tf.data.TFRecordDataset(
            str(file), compression_type="GZIP" if file.suffix == ".gz" else ""
        ).as_numpy_iterator()
    ]


def feature(name: str, raw: list[bytes]) -> list[bytes]:
    """Returns a feature of raw examples."""
    examples = [tf.train.Example.FromString(record).features for record in raw]
    return [example.feature[name].bytes_list.value[0] for example in examples]


def answer(version: Path, pictures: list[bytes]) -> dict[str, np.ndarray]:
    """Returns what a pushed model, loaded with plain TensorFlow, says of stored pictures."""
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    return {name: value.numpy() for name, value in serve(image_bytes=tf.constant(pictures)).items()}

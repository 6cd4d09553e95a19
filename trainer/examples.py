"""Transform's examples as TensorFlow data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import tensorflow as tf

from trainer.preprocessing import parse_transformed

_SHUFFLED_PICTURES = 1024
_CHUNK = 1 << 20  # bytes


def files(patterns: Iterable[str]) -> list[str]:
    """Returns the files that patterns name, in the order in which they are read."""
    return sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))


def pictures(paths: list[str], image_size: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Reads pictures.

    Args:
        paths: Files of transformed examples.
        image_size: Height and width of the stored pictures.
        shuffle_seed: Shuffles, anew in each pass; None keeps the order of the files.

    Returns:
        Pixels uint8 [size, size, 3] and labels float32 [], as many as its cardinality says.
    """
    records = tf.data.TFRecordDataset(paths)
    count = sum(1 for _ in records)
    records = records.apply(tf.data.experimental.assert_cardinality(count))
    if shuffle_seed is not None:
        records = records.shuffle(_SHUFFLED_PICTURES, seed=shuffle_seed)
    return records.map(
        lambda serialized: parse_transformed(serialized, image_size), num_parallel_calls=tf.data.AUTOTUNE
    )


def digest(splits: Iterable[list[str]]) -> str:
    """Returns a hex SHA-256 of what files hold, split by split.

    Where they are does not count: on Kubeflow, that is another place in every run that has to copy them.
    """
    found = hashlib.sha256()
    for paths in splits:
        found.update(b"split")
        for path in paths:
            with tf.io.gfile.GFile(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
    return found.hexdigest()

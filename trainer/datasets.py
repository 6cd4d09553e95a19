"""Reads Transform's examples as `tf.data` datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf

from trainer.preprocessing import parse_transformed

_SHUFFLE_BUFFER = 1024  # images
_CHUNK = 1 << 20  # bytes


class ExampleFiles(NamedTuple):
    """Files of transformed examples.

    Attributes:
        train: Files of the split that is fitted.
        evaluation: Files of the split that selects the best epoch.
    """

    train: list[str]
    evaluation: list[str]


def match_files(patterns: Iterable[str]) -> list[str]:
    """Returns the files that match the glob patterns, in reading order."""
    return sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))


def read_images(paths: list[str], image_size: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Reads images and labels.

    Args:
        paths: Files of transformed examples.
        image_size: Height and width of the stored images.
        shuffle_seed: Shuffles anew in each epoch; None keeps the order of the files.

    Returns:
        A dataset of pixels uint8 [size, size, 3] and labels float32 [], with known cardinality.
    """
    records = tf.data.TFRecordDataset(paths)
    count = sum(1 for _ in records)
    records = records.apply(tf.data.experimental.assert_cardinality(count))
    if shuffle_seed is not None:
        records = records.shuffle(_SHUFFLE_BUFFER, seed=shuffle_seed)
    return records.map(
        lambda serialized: parse_transformed(serialized, image_size), num_parallel_calls=tf.data.AUTOTUNE
    )


def content_digest(splits: Iterable[list[str]]) -> str:
    """Returns a hex SHA-256 of the contents of all files, split by split.

    Paths do not count: on Kubeflow, a run that copies its examples copies them to a new path each time.
    """
    digest = hashlib.sha256()
    for paths in splits:
        digest.update(b"split")
        for path in paths:
            with tf.io.gfile.GFile(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()

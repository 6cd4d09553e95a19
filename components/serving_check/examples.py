"""Reads the test images to send and computes their expected predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tfx import types
from tfx.types import artifact_utils

from components.serving_check.report import ServedPrediction
from trainer import features
from trainer.signatures import EXAMPLES_SIGNATURE

SPLIT = "test"
_BATCH_SIZE = 16


class UnusableModel(Exception):
    """The model cannot be loaded or lacks a signature; the message has the reason."""


@dataclass(frozen=True)
class TestImage:
    """An image of the split `test`.

    Attributes:
        name: File name.
        encoded: JPEG or PNG bytes.
        record: Serialized `tf.Example`.
    """

    name: str
    encoded: bytes
    record: bytes


def read_test_images(examples: types.Artifact, count: int) -> list[TestImage]:
    """Returns `count` images spread evenly over `test`, or all images if it has fewer."""
    folder = artifact_utils.get_split_uri([examples], SPLIT)
    files = sorted(tf.io.gfile.glob(f"{folder}/*"))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    records = tf.data.TFRecordDataset(files, compression_type=compression)
    total = sum(1 for _ in records)
    selected = {index * total // count for index in range(count)} if total > count else set(range(total))
    return [_parse(record) for index, record in enumerate(records.as_numpy_iterator()) if index in selected]


def expected_predictions(
    model: Path, images: Sequence[TestImage], probability: str
) -> list[ServedPrediction]:
    """Predicts images with the signature that the Evaluator uses.

    Args:
        model: The SavedModel.
        images: The images to predict.
        probability: Name of the output with the probability of the second class.

    Raises:
        Unloadable: TensorFlow cannot load the model, or it has no such signature or outputs.
    """
    try:
        signature = tf.saved_model.load(str(model)).signatures[EXAMPLES_SIGNATURE]
        predictions = []
        for start in range(0, len(images), _BATCH_SIZE):
            records = [image.record for image in images[start : start + _BATCH_SIZE]]
            outputs = signature(examples=tf.constant(records))
            columns = zip(outputs[probability].numpy(), outputs["label"].numpy(), strict=True)
            predictions += [ServedPrediction(float(value), label.decode()) for value, label in columns]
    except KeyError as missing:
        raise UnusableModel(
            f"the model has no signature or output {missing.args[0]}, which the Evaluator uses"
        ) from None
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise UnusableModel(f"TensorFlow cannot load the model: {_first_line(error)}") from error
    return predictions


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _parse(record: bytes) -> TestImage:
    feature = tf.train.Example.FromString(record).features.feature
    name, encoded = (feature[key].bytes_list.value[0] for key in (features.FILENAME, features.ENCODED))
    return TestImage(name.decode(errors="replace"), encoded, record)

"""The pictures that are sent, and what the model says of them where the Evaluator asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tfx import types
from tfx.types import artifact_utils

from components.serving_check.report import Answer
from trainer import features
from trainer.signatures import EXAMPLES_SIGNATURE

SPLIT = "test"
_BATCH_SIZE = 16


class Unloadable(Exception):
    """The model cannot be asked at all; the message says why."""


@dataclass(frozen=True)
class Picture:
    """A picture of the data.

    Attributes:
        name: Its file's.
        encoded: The stored JPEG or PNG.
        record: Its serialized `tf.Example`.
    """

    name: str
    encoded: bytes
    record: bytes


def pictures(examples: types.Artifact, count: int) -> list[Picture]:
    """Returns pictures spread evenly over `test`, the same ones every time; all of it where it has fewer."""
    folder = artifact_utils.get_split_uri([examples], SPLIT)
    files = sorted(tf.io.gfile.glob(f"{folder}/*"))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    records = tf.data.TFRecordDataset(files, compression_type=compression)
    total = sum(1 for _ in records)
    wanted = {index * total // count for index in range(count)} if total > count else set(range(total))
    return [_picture(record) for index, record in enumerate(records.as_numpy_iterator()) if index in wanted]


def expected(model: Path, chosen: Sequence[Picture], probability: str) -> list[Answer]:
    """Returns what the signature that the Evaluator uses says of pictures.

    Args:
        model: The SavedModel.
        chosen: The pictures.
        probability: Name of the output with the second class's probability.

    Raises:
        Unloadable: TensorFlow cannot load the model, or it has no such signature or outputs.
    """
    try:
        signature = tf.saved_model.load(str(model)).signatures[EXAMPLES_SIGNATURE]
        answers = []
        for start in range(0, len(chosen), _BATCH_SIZE):
            records = [picture.record for picture in chosen[start : start + _BATCH_SIZE]]
            outputs = signature(examples=tf.constant(records))
            columns = zip(outputs[probability].numpy(), outputs["label"].numpy(), strict=True)
            answers += [Answer(float(value), label.decode()) for value, label in columns]
    except KeyError as missing:
        raise Unloadable(f"the model has no {missing.args[0]}, which the Evaluator works with") from None
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise Unloadable(f"TensorFlow cannot load the model: {_first_line(error)}") from error
    return answers


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _picture(record: bytes) -> Picture:
    feature = tf.train.Example.FromString(record).features.feature
    name, encoded = (feature[key].bytes_list.value[0] for key in (features.FILENAME, features.ENCODED))
    return Picture(name.decode(errors="replace"), encoded, record)

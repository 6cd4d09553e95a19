"""Examples for data validation tests: the counted features, with optional faults."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.statistics import statistics_options
from trainer import features

Columns = dict[str, list]


def columns(
    count: int = 100, positives: float = 0.5, class_names: Sequence[str] = ("cat", "dog"), seed: int = 0
) -> Columns:
    """Returns one list of values per feature, for `count` valid images; None omits a value."""
    random = np.random.default_rng(seed)
    labels = [int(index >= count * (1 - positives)) for index in range(count)]
    brightness = [float(value) for value in random.uniform(0.4, 0.55, count)]
    return {
        features.ENCODED: [b"pixels"] * count,
        features.FILENAME: [f"{index}.jpg" for index in range(count)],
        features.DIGEST: [hashlib.sha256(b"%d" % index).hexdigest() for index in range(count)],
        features.LABEL: labels,
        features.CLASS_NAME: [class_names[label] for label in labels],
        features.HEIGHT: [int(value) for value in random.integers(100, 500, count)],
        features.WIDTH: [int(value) for value in random.integers(100, 500, count)],
        features.FORMAT: ["jpeg"] * count,
        features.MODE: ["RGB"] * count,
        features.BYTE_SIZE: [int(value) for value in random.integers(5_000, 50_000, count)],
        features.BRIGHTNESS: brightness,
        features.CONTRAST: [0.2] * count,
        features.SOURCE_FOLDER: ["train"] * count,
        features.RESOLUTION_RANGE: ["50k to 200k pixels"] * count,
        features.ASPECT_RANGE: ["square"] * count,
        features.BRIGHTNESS_RANGE: ["medium"] * count,
        features.BYTE_SIZE_RANGE: ["under 16 kB"] * count,
    }


def statistics(values: Mapping[str, list]) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns what StatisticsGen would count: the same library and options, in memory."""
    arrays = {
        name: pa.array(
            [None if value is None else value if isinstance(value, list) else [value] for value in column],
            type=pa.large_list(_arrow_type(column)),
        )
        for name, column in values.items()
        if name in features.IN_STATISTICS
    }
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))
    return stats_impl.generate_statistics_in_memory(batch, statistics_options())


def write(values: Mapping[str, list], file: Path) -> None:
    """Writes the images as a TFRecord file of `tf.Example`s, in gzip's format if its name ends in `.gz`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    options = tf.io.TFRecordOptions("GZIP" if file.suffix == ".gz" else "", compression_level=0)
    with tf.io.TFRecordWriter(str(file), options) as writer:
        for row in zip(*values.values(), strict=True):
            example = tf.train.Example()
            for name, value in zip(values, row, strict=True):
                feature = example.features.feature[name]
                if isinstance(value, int):
                    feature.int64_list.value.append(value)
                elif isinstance(value, float):
                    feature.float_list.value.append(value)
                elif value is not None:
                    feature.bytes_list.value.append(value.encode() if isinstance(value, str) else value)
            writer.write(example.SerializeToString())


def _arrow_type(column: list) -> pa.DataType:
    first = next((value for value in column if value not in (None, [])), "")
    kind = type(first[0] if isinstance(first, list) else first)
    return {int: pa.int64(), float: pa.float32()}.get(kind, pa.large_binary())

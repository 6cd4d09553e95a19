"""Configures TFDV's statistics of the examples and reads the result."""

from __future__ import annotations

from typing import TypeAlias

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from trainer import features

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList


def statistics_options() -> tfdv.StatsOptions:
    """Returns the options of StatisticsGen, which does not read encoded images, file names and digests.

    The label is categorical, so that TFDV counts each value: a numeric histogram shows that a label is out of
    range, but not how many images have it.
    """
    types = {
        **dict.fromkeys(features.STRINGS, schema_pb2.BYTES),
        **dict.fromkeys(features.INTEGERS, schema_pb2.INT),
        **dict.fromkeys(features.FLOATS, schema_pb2.FLOAT),
    }
    schema = schema_pb2.Schema(
        feature=[schema_pb2.Feature(name=name, type=types[name]) for name in features.IN_STATISTICS]
    )
    schema.feature[features.IN_STATISTICS.index(features.LABEL)].int_domain.is_categorical = True
    # An allowlist alone drops the other features only after Beam has read all encoded images into memory.
    return tfdv.StatsOptions(experimental_filter_read_paths=True, schema=schema)


def image_count(statistics: Statistics) -> int:
    """Returns the number of images in the split."""
    return sum(dataset.num_examples for dataset in statistics.datasets)


def feature(statistics: Statistics, name: str) -> statistics_pb2.FeatureNameStatistics | None:
    """Returns the statistics of a feature, or None if no image has it."""
    for dataset in statistics.datasets:
        for column in dataset.features:
            if list(column.path.step) == [name]:
                return column
    return None


def value_counts(statistics: Statistics, name: str) -> dict[str, int]:
    """Returns how often each value of a string feature (or of the label) occurs, the most frequent first."""
    column = feature(statistics, name)
    if column is None:
        return {}
    buckets = column.string_stats.rank_histogram.buckets
    return {bucket.label: round(bucket.sample_count) for bucket in buckets}


def class_shares(statistics: Statistics) -> dict[str, float]:
    """Returns the share of each class name, 0 to 1."""
    counts = value_counts(statistics, features.CLASS_NAME)
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}

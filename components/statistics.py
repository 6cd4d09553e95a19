"""TFDV's statistics of the examples: the features to count, and how to read the result."""

from __future__ import annotations

from typing import TypeAlias

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from trainer import features

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList


def counted_features() -> tfdv.StatsOptions:
    """Returns options for the features worth counting: neither pixels nor file names go through TFDV.

    Labels are counted one by one, as names are: the histogram of numbers would say that a label is too high,
    but not how many are.
    """
    label = schema_pb2.Feature(
        name=features.LABEL, type=schema_pb2.INT, int_domain=schema_pb2.IntDomain(is_categorical=True)
    )
    return tfdv.StatsOptions(
        feature_allowlist=list(features.IN_STATISTICS), schema=schema_pb2.Schema(feature=[label])
    )


def image_count(statistics: Statistics) -> int:
    """Returns the number of pictures in the split."""
    return sum(dataset.num_examples for dataset in statistics.datasets)


def feature(statistics: Statistics, name: str) -> statistics_pb2.FeatureNameStatistics | None:
    """Returns what was counted of a feature, or None where no picture has it."""
    for dataset in statistics.datasets:
        for column in dataset.features:
            if list(column.path.step) == [name]:
                return column
    return None


def value_counts(statistics: Statistics, name: str) -> dict[str, int]:
    """Returns how often each value of a string feature (or of the label) occurs, the commonest first."""
    column = feature(statistics, name)
    if column is None:
        return {}
    buckets = column.string_stats.rank_histogram.buckets
    return {bucket.label: round(bucket.sample_count) for bucket in buckets}


def class_shares(statistics: Statistics) -> dict[str, float]:
    """Returns the share of each class, 0 to 1."""
    counts = value_counts(statistics, features.CLASS_NAME)
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}

"""What StatisticsGen counts."""

from __future__ import annotations

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2

from trainer import features


def counted_features() -> tfdv.StatsOptions:
    """Returns options for the features worth counting: neither pixels nor file names go through TFDV.

    Labels are counted one by one, as names are: the histogram of numbers would say that a label is too high,
    but not how many are.
    """
    label = schema_pb2.Feature(
        name=features.LABEL, type=schema_pb2.INT, int_domain=schema_pb2.IntDomain(is_categorical=True)
    )
    return tfdv.StatsOptions(
        feature_allowlist=list(features.COUNTED), schema=schema_pb2.Schema(feature=[label])
    )

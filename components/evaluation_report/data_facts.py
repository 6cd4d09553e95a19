"""What is known of the data: counts, classes, distributions, what was set aside, drift."""

from __future__ import annotations

import csv
import io
import json
import math
import posixpath
from collections.abc import Mapping
from itertools import islice
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.evaluation_report.json_values import Facts, number
from components.statistics import Statistics, feature, image_count, value_counts
from trainer import features

DISTRIBUTIONS = {
    features.WIDTH: "Width, pixels",
    features.HEIGHT: "Height, pixels",
    features.BYTE_SIZE: "File size, bytes",
    features.BRIGHTNESS: "Brightness, 0 to 1",
}
_REJECTED_FILES = 20  # named in the report; rejected.csv has them all
_STANDARD = statistics_pb2.Histogram.STANDARD


def of_statistics(splits: Mapping[str, Statistics]) -> Facts:
    """Returns counts and distributions from TFDV's statistics of every split."""
    return {
        "splits": [
            {
                "split": split,
                "pictures": image_count(statistics),
                "classes": dict(sorted(value_counts(statistics, features.CLASS_NAME).items())),
            }
            for split, statistics in splits.items()
        ],
        "distributions": [
            {
                "feature": name,
                "label": label,
                "splits": [
                    {"split": split, **found}
                    for split, statistics in splits.items()
                    if (found := _distribution(statistics, name))
                ],
            }
            for name, label in DISTRIBUTIONS.items()
        ],
    }


def _distribution(statistics: Statistics, name: str) -> Facts | None:
    column = feature(statistics, name)
    if column is None or column.WhichOneof("stats") != "num_stats":
        return None
    counted = column.num_stats
    histogram = next((found.buckets for found in counted.histograms if found.type == _STANDARD), ())
    buckets = [
        bucket for bucket in histogram if math.isfinite(bucket.low_value) and math.isfinite(bucket.high_value)
    ]
    return {
        "min": number(counted.min),
        "median": number(counted.median),
        "max": number(counted.max),
        "mean": number(counted.mean),
        "edges": [number(bucket.low_value) for bucket in buckets]
        + [number(bucket.high_value) for bucket in buckets[-1:]],
        "pictures": [number(bucket.sample_count) for bucket in buckets],
    }


def of_rejected(folder: str) -> Facts:
    """Returns how many pictures ingest set aside, and why, from its `counts.json`.

    Raises:
        OSError, tf.errors.OpError: It is gone.
        LookupError, TypeError, ValueError: It is broken.
    """
    counts = json.loads(_text(posixpath.join(folder, "counts.json")))
    reasons: dict[str, int] = counts["rejected"]
    return {
        "pictures": sum(reasons.values()),
        "reasons": dict(sorted(reasons.items(), key=lambda one: -one[1])),
        "in_test_and_elsewhere": counts.get("in_test_and_elsewhere", 0),
    }


def rejected_files(folder: str) -> list[Facts]:
    """Returns file, reason and detail of the first pictures in ingest's `rejected.csv`.

    Raises:
        OSError, tf.errors.OpError: It is gone.
        csv.Error, KeyError, ValueError: It is broken.
    """
    rows = csv.DictReader(io.StringIO(_text(posixpath.join(folder, "rejected.csv"))), strict=True)
    return [
        {name: row[name] or "" for name in ("file", "reason", "detail")}
        for row in islice(rows, _REJECTED_FILES)
    ]


def of_verdict(verdict: Mapping[str, Any]) -> Facts:
    """Returns DataGate's words, and every distance that TFDV measured to the last accepted data."""
    compared = verdict.get("compared_with")
    return {
        "summary": verdict.get("summary", ""),
        "drift": compared
        and {
            "split": compared.get("split", ""),
            "pictures": compared.get("pictures", 0),
            "classes": {name: each["pictures"] for name, each in compared.get("classes", {}).items()},
            "distances": [
                {"feature": name, **distance} for name, distance in compared.get("distances", {}).items()
            ],
        },
    }


def _text(path: str) -> str:
    with tf.io.gfile.GFile(path) as file:
        text: str = file.read()
    return text

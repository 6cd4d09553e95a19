"""Summarizes the data: counts, classes, distributions, rejected images and drift."""

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

from components.evaluation_report.json_values import JsonObject, number
from components.statistics import Statistics, feature, image_count, value_counts
from trainer import features

DISTRIBUTIONS = {
    features.WIDTH: "Width, pixels",
    features.HEIGHT: "Height, pixels",
    features.BYTE_SIZE: "File size, bytes",
    features.BRIGHTNESS: "Brightness, 0 to 1",
}
_REJECTED_FILES = 20  # listed in the report; rejected.csv lists all
_STANDARD = statistics_pb2.Histogram.STANDARD


def summarize_statistics(splits: Mapping[str, Statistics]) -> JsonObject:
    """Returns image counts, class counts and distributions from TFDV's statistics of each split."""
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
                    {"split": split, **distribution}
                    for split, statistics in splits.items()
                    if (distribution := _distribution(statistics, name))
                ],
            }
            for name, label in DISTRIBUTIONS.items()
        ],
    }


def _distribution(statistics: Statistics, name: str) -> JsonObject | None:
    column = feature(statistics, name)
    if column is None or column.WhichOneof("stats") != "num_stats":
        return None
    summary = column.num_stats
    all_buckets = next(
        (histogram.buckets for histogram in summary.histograms if histogram.type == _STANDARD), ()
    )
    buckets = [
        bucket
        for bucket in all_buckets
        if math.isfinite(bucket.low_value) and math.isfinite(bucket.high_value)
    ]
    return {
        "min": number(summary.min),
        "median": number(summary.median),
        "max": number(summary.max),
        "mean": number(summary.mean),
        "edges": [number(bucket.low_value) for bucket in buckets]
        + [number(bucket.high_value) for bucket in buckets[-1:]],
        "pictures": [number(bucket.sample_count) for bucket in buckets],
    }


def count_rejected(folder: str) -> JsonObject:
    """Returns the number of images that ingestion rejected, by reason, from `counts.json`.

    Raises:
        OSError, tf.errors.OpError: The file is missing.
        LookupError, TypeError, ValueError: The file is malformed.
    """
    counts = json.loads(_text(posixpath.join(folder, "counts.json")))
    reasons: dict[str, int] = counts["rejected"]
    return {
        "pictures": sum(reasons.values()),
        "reasons": dict(sorted(reasons.items(), key=lambda item: -item[1])),
        "in_test_and_elsewhere": counts.get("in_test_and_elsewhere", 0),
        "outside_links": counts.get("outside_links", 0),
    }


def list_rejected_files(folder: str) -> list[JsonObject]:
    """Returns file, reason and detail of the first 20 rows of `rejected.csv`.

    Raises:
        OSError, tf.errors.OpError: The file is missing.
        csv.Error, KeyError, ValueError: The file is malformed.
    """
    rows = csv.DictReader(io.StringIO(_text(posixpath.join(folder, "rejected.csv"))), strict=True)
    return [
        {name: row[name] or "" for name in ("file", "reason", "detail")}
        for row in islice(rows, _REJECTED_FILES)
    ]


def summarize_verdict(verdict: Mapping[str, Any]) -> JsonObject:
    """Returns DataGate's summary and TFDV's distances to the last accepted data."""
    compared = verdict.get("compared_with")
    return {
        "summary": verdict.get("summary", ""),
        "drift": compared
        and {
            "split": compared.get("split", ""),
            "pictures": compared.get("pictures", 0),
            "classes": {name: counts["pictures"] for name, counts in compared.get("classes", {}).items()},
            "distances": [
                {"feature": name, **distance} for name, distance in compared.get("distances", {}).items()
            ],
        },
    }


def _text(path: str) -> str:
    with tf.io.gfile.GFile(path) as file:
        text: str = file.read()
    return text

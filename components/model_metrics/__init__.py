"""Figures of a model with their intervals, and the comparison of two models."""

from components.model_metrics.estimates import ABSENT, Estimate, proportion
from components.model_metrics.metrics import (
    Bucket,
    Curve,
    calibration,
    confusion,
    correct,
    measure,
    precision_recall,
    roc,
)
from components.model_metrics.paired_test import Comparison, compare

__all__ = [
    "ABSENT",
    "Bucket",
    "Comparison",
    "Curve",
    "Estimate",
    "calibration",
    "compare",
    "confusion",
    "correct",
    "measure",
    "precision_recall",
    "proportion",
    "roc",
]

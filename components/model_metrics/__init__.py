"""Metrics of a model with their intervals, and the comparison of two models."""

from components.model_metrics.estimates import ABSENT, Estimate, proportion
from components.model_metrics.metrics import (
    CalibrationBucket,
    Curve,
    calibration_curve,
    compute_metrics,
    confusion_matrix,
    is_correct,
    precision_recall_curve,
    roc_curve,
)
from components.model_metrics.paired_test import Comparison, compare

__all__ = [
    "ABSENT",
    "CalibrationBucket",
    "Comparison",
    "Curve",
    "Estimate",
    "calibration_curve",
    "compare",
    "compute_metrics",
    "confusion_matrix",
    "is_correct",
    "precision_recall_curve",
    "proportion",
    "roc_curve",
]

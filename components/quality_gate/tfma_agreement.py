"""Checks that TFMA's metrics agree with those computed from the prediction table."""

from __future__ import annotations

import math

import numpy as np

from components.errors import PipelineError
from components.model_metrics import metrics
from components.prediction_table.table import Predictions
from components.tfma_metrics import Metrics

_TOLERANCES = {"accuracy": 1e-6, "auc": 1e-6, "loss": 1e-4}  # TFMA sums losses in float32
_THRESHOLDS = 10_000  # of TFMA's AUC, equally spaced


def require_agreement(table: Predictions, measured: Metrics) -> None:
    """Compares the candidate's metrics over all images.

    Raises:
        PipelineError: They disagree.
    """
    if measured.examples != len(table.labels):
        raise _disagreement("number of images", measured.examples, len(table.labels))
    if not len(table.labels):
        return
    ours = {
        "accuracy": metrics.accuracy(table.labels, table.probabilities).value,
        "auc": metrics.roc_auc(table.labels, table.probabilities).value,
        "loss": float(metrics.log_losses(table.labels, table.probabilities).mean()),
    }
    for name, value in ours.items():
        theirs = float(getattr(measured, name))
        allowed = _TOLERANCES[name] + (_auc_tolerance(table) if name == "auc" else 0)
        if not math.isnan(value) and not abs(theirs - value) <= allowed:
            raise _disagreement(name, theirs, value)


def _auc_tolerance(table: Predictions) -> float:
    """Returns the largest difference between TFMA's AUC and the exact one that its thresholds explain.

    TFMA counts a pair of images, one of each class, as one half if no threshold separates the two
    probabilities, as with very confident predictions; the exact AUC counts it as 0 or 1. TFMA's buckets do
    not match the thresholds exactly, so neighbouring buckets may merge.
    """
    numbers = (table.probabilities * _THRESHOLDS).astype(np.int64)
    first, second = (
        np.bincount(numbers[table.labels == label], minlength=_THRESHOLDS + 1).astype(np.float64)
        for label in (0, 1)
    )
    tied = first @ np.convolve(second, np.ones(3), "same")
    return float(0.5 * tied / max(1.0, first.sum() * second.sum()))


def _disagreement(name: str, theirs: float, ours: float) -> PipelineError:
    return PipelineError(
        f"The Evaluator and the QualityGate disagree on the {name} ({theirs:.8g} and {ours:.8g}): run "
        "`catsdogs run --from PredictionTable` again, and report the error if it persists."
    )

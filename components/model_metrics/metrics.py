"""Metrics and curves of one model on a set of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from components.model_metrics import estimates
from components.model_metrics.estimates import Estimate, proportion

THRESHOLD = 0.5  # the exported model predicts the second class from this probability on
BUCKETS = 10  # of equal width, as in TFMA's CalibrationPlot
_SMALLEST = np.float32(1e-7)  # Keras' epsilon, which keeps the loss finite


@dataclass(frozen=True)
class Curve:
    """Points of a curve, from left to right; empty if all images are of one class.

    Attributes:
        x: float64 [P].
        y: float64 [P].
        thresholds: Classification threshold at each point, float64 [P].
    """

    x: np.ndarray
    y: np.ndarray
    thresholds: np.ndarray


@dataclass(frozen=True)
class CalibrationBucket:
    """Images with similar predicted probabilities.

    Attributes:
        probability: Mean predicted probability of the second class.
        share: Proportion of images of the second class.
        count: Number of images.
    """

    probability: float
    share: Estimate
    count: int


def predicted_labels(probabilities: np.ndarray) -> np.ndarray:
    """Returns the predicted labels, int64 [N], for probabilities of the second class [N]."""
    return (probabilities >= THRESHOLD).astype(np.int64)


def is_correct(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns True for each correct prediction, bool [N]; NaN is never correct."""
    return (predicted_labels(probabilities) == labels) & ~np.isnan(probabilities)


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the number of images by true and predicted label, int64 [2, 2]."""
    counts = np.bincount(2 * labels.astype(np.int64) + predicted_labels(probabilities), minlength=4)
    return counts.reshape(2, 2)


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the log loss of each image in nats, float64 [N], clipped and rounded as in Keras."""
    clipped = np.clip(probabilities.astype(np.float32), _SMALLEST, 1 - _SMALLEST)
    clipped = np.where(labels == 1, clipped, 1 - clipped)
    return -np.log((clipped + _SMALLEST).astype(np.float64))


def bucket_indices(probabilities: np.ndarray) -> np.ndarray:
    """Returns the bucket of each probability, 0 to 9, int64 [N]."""
    return np.clip((probabilities * BUCKETS).astype(np.int64), 0, BUCKETS - 1)


def expected_calibration_error(gaps: np.ndarray, numbers: np.ndarray) -> float:
    """Returns the expected calibration error, 0 to 1.

    Args:
        gaps: Probability minus label, [N].
        numbers: Bucket of each probability, [N].
    """
    return float(np.abs(np.bincount(numbers, weights=gaps)).sum() / len(gaps))


def roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> Estimate:
    """Returns the area under the ROC curve; `ABSENT` if all images are of one class."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return estimates.ABSENT
    return estimates.roc_auc(float(metrics.roc_auc_score(labels, probabilities)), negatives, positives)


def accuracy(labels: np.ndarray, probabilities: np.ndarray) -> Estimate:
    """Returns the proportion of correct predictions."""
    return proportion(int(is_correct(labels, probabilities).sum()), len(labels))


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> Estimate:
    """Returns the expected calibration error over ten buckets of the second class's probability."""
    return estimates.calibration_error(labels, probabilities, bucket_indices(probabilities))


def compute_metrics(
    labels: np.ndarray, probabilities: np.ndarray, class_names: tuple[str, str]
) -> dict[str, Estimate]:
    """Computes all metrics with their 95 % intervals; undefined metrics are NaN.

    Args:
        labels: 0 or 1, int64 [N].
        probabilities: Probabilities of the second class, float64 [N].
        class_names: Names of the labels 0 and 1.

    Returns:
        `accuracy`, `auc`, `loss` (nats), `calibration_error`, and `precision/…`, `recall/…`, `f1/…` of each
        class.
    """
    estimates_by_name = {
        "accuracy": accuracy(labels, probabilities),
        "auc": roc_auc(labels, probabilities),
        "loss": estimates.mean(log_losses(labels, probabilities)),
        "calibration_error": calibration_error(labels, probabilities),
    }
    table = confusion_matrix(labels, probabilities)
    for index, name in enumerate(class_names):
        hits = int(table[index, index])
        predicted, actual = int(table[:, index].sum()), int(table[index].sum())
        estimates_by_name[f"precision/{name}"] = proportion(hits, predicted)
        estimates_by_name[f"recall/{name}"] = proportion(hits, actual)
        estimates_by_name[f"f1/{name}"] = estimates.f1_score(hits, predicted + actual - 2 * hits)
    return estimates_by_name


def roc_curve(labels: np.ndarray, probabilities: np.ndarray) -> Curve:
    """Returns the true positive rate (y) over the false positive rate (x) of the second class."""
    if len(np.unique(labels)) < 2:
        return _empty_curve()
    false_positive_rates, true_positive_rates, thresholds = metrics.roc_curve(labels, probabilities)
    return Curve(false_positive_rates, true_positive_rates, thresholds)


def precision_recall_curve(labels: np.ndarray, probabilities: np.ndarray) -> Curve:
    """Returns the precision (y) over the recall (x) of the second class."""
    if len(np.unique(labels)) < 2:
        return _empty_curve()
    precision, recall, thresholds = metrics.precision_recall_curve(labels, probabilities)
    return Curve(recall[::-1], precision[::-1], np.append(thresholds, np.inf)[::-1])


def calibration_curve(labels: np.ndarray, probabilities: np.ndarray) -> list[CalibrationBucket]:
    """Returns the non-empty buckets in order of probability."""
    numbers = bucket_indices(probabilities)
    return [
        CalibrationBucket(
            float(probabilities[numbers == number].mean()),
            proportion(int(labels[numbers == number].sum()), int((numbers == number).sum())),
            int((numbers == number).sum()),
        )
        for number in np.unique(numbers)
    ]


def _empty_curve() -> Curve:
    return Curve(np.empty(0), np.empty(0), np.empty(0))

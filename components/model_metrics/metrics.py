"""The figures and curves of one model over a set of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from components.model_metrics import estimates
from components.model_metrics.estimates import Estimate, proportion

THRESHOLD = 0.5  # the exported model answers the second class from here on
BUCKETS = 10  # of equal width, as TFMA's CalibrationPlot has them where it is asked for ten
_SMALLEST = np.float32(1e-7)  # Keras' epsilon: a wrong answer with certainty would cost infinitely much


@dataclass(frozen=True)
class Curve:
    """Points of a curve, from left to right; none where the pictures are of one class only.

    Attributes:
        x: float64 [P].
        y: float64 [P].
        thresholds: The probability from which the second class is answered at each point, float64 [P].
    """

    x: np.ndarray
    y: np.ndarray
    thresholds: np.ndarray


@dataclass(frozen=True)
class Bucket:
    """Pictures of about the same probability.

    Attributes:
        probability: Their mean probability of the second class.
        share: How many of them are of the second class, with its interval.
        count: How many pictures there are.
    """

    probability: float
    share: Estimate
    count: int


def answers(probabilities: np.ndarray) -> np.ndarray:
    """Returns the class that is answered, int64 [N], for probabilities of the second class [N]."""
    return (probabilities >= THRESHOLD).astype(np.int64)


def correct(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns whether each picture is got right, bool [N]; what is no number is not."""
    return (answers(probabilities) == labels) & ~np.isnan(probabilities)


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the number of pictures of each class that got each answer, int64 [2, 2]: [truth, answer]."""
    counts = np.bincount(2 * labels.astype(np.int64) + answers(probabilities), minlength=4)
    return counts.reshape(2, 2)


def losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the log loss of each picture in nats, float64 [N], as Keras bounds and rounds it for TFMA."""
    said = np.clip(probabilities.astype(np.float32), _SMALLEST, 1 - _SMALLEST)
    said = np.where(labels == 1, said, 1 - said)
    return -np.log((said + _SMALLEST).astype(np.float64))


def buckets(probabilities: np.ndarray) -> np.ndarray:
    """Returns the bucket of each probability, 0 to 9, int64 [N]."""
    return np.clip((probabilities * BUCKETS).astype(np.int64), 0, BUCKETS - 1)


def bucket_error(gaps: np.ndarray, numbers: np.ndarray) -> float:
    """Returns the expected calibration error: by how much shares and mean probabilities differ, 0 to 1.

    Args:
        gaps: Probability minus label, [N].
        numbers: The bucket of each probability, [N].
    """
    return float(np.abs(np.bincount(numbers, weights=gaps)).sum() / len(gaps))


def area(labels: np.ndarray, probabilities: np.ndarray) -> Estimate:
    """Returns the area under the ROC curve; absent where there is only one class."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return estimates.ABSENT
    return estimates.auc(float(metrics.roc_auc_score(labels, probabilities)), negatives, positives)


def accuracy(labels: np.ndarray, probabilities: np.ndarray) -> Estimate:
    """Returns the share of pictures that are got right."""
    return proportion(int(correct(labels, probabilities).sum()), len(labels))


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> Estimate:
    """Returns the expected calibration error over ten buckets of the second class's probability."""
    return estimates.calibration_error(labels, probabilities, buckets(probabilities))


def measure(
    labels: np.ndarray, probabilities: np.ndarray, class_names: tuple[str, str]
) -> dict[str, Estimate]:
    """Returns every figure with its 95 % interval; nan where a figure does not exist.

    Args:
        labels: 0 or 1, int64 [N].
        probabilities: Of the second class, float64 [N].
        class_names: Of the labels 0 and 1.

    Returns:
        `accuracy`, `auc`, `loss` (nats), `calibration_error`, and `precision/…`, `recall/…`, `f1/…` of each
        class.
    """
    figures = {
        "accuracy": accuracy(labels, probabilities),
        "auc": area(labels, probabilities),
        "loss": estimates.mean(losses(labels, probabilities)),
        "calibration_error": calibration_error(labels, probabilities),
    }
    table = confusion(labels, probabilities)
    for index, name in enumerate(class_names):
        found = int(table[index, index])
        answered, there = int(table[:, index].sum()), int(table[index].sum())
        figures[f"precision/{name}"] = proportion(found, answered)
        figures[f"recall/{name}"] = proportion(found, there)
        figures[f"f1/{name}"] = estimates.f1(found, answered + there - 2 * found)
    return figures


def roc(labels: np.ndarray, probabilities: np.ndarray) -> Curve:
    """Returns the share of the second class that is found (y) over that of the first taken for it (x)."""
    if len(np.unique(labels)) < 2:
        return _nothing()
    false_alarms, found, thresholds = metrics.roc_curve(labels, probabilities)
    return Curve(false_alarms, found, thresholds)


def precision_recall(labels: np.ndarray, probabilities: np.ndarray) -> Curve:
    """Returns the precision (y) over the recall (x) of the second class."""
    if len(np.unique(labels)) < 2:
        return _nothing()
    precision, recall, thresholds = metrics.precision_recall_curve(labels, probabilities)
    return Curve(recall[::-1], precision[::-1], np.append(thresholds, np.inf)[::-1])


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> list[Bucket]:
    """Returns the buckets that hold pictures, the lowest probability first."""
    numbers = buckets(probabilities)
    return [
        Bucket(
            float(probabilities[numbers == number].mean()),
            proportion(int(labels[numbers == number].sum()), int((numbers == number).sum())),
            int((numbers == number).sum()),
        )
        for number in np.unique(numbers)
    ]


def _nothing() -> Curve:
    return Curve(np.empty(0), np.empty(0), np.empty(0))

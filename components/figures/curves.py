"""The curves of one model over a set of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from components.figures import measures
from components.figures.intervals import Figure, proportion


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
    share: Figure
    count: int


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
    numbers = measures.buckets(probabilities)
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

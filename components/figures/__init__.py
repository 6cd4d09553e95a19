"""Figures of a model with their intervals, and the comparison of two models."""

from components.figures.intervals import ABSENT, Figure, proportion
from components.figures.measures import (
    Bucket,
    Curve,
    calibration,
    confusion,
    correct,
    measure,
    precision_recall,
    roc,
)
from components.figures.paired import Comparison, compare

__all__ = [
    "ABSENT",
    "Bucket",
    "Comparison",
    "Curve",
    "Figure",
    "calibration",
    "compare",
    "confusion",
    "correct",
    "measure",
    "precision_recall",
    "proportion",
    "roc",
]

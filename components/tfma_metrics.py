"""Reads the metrics that TFMA's Evaluator computed from the prediction table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma

_Values = Mapping[str, Any]  # TFMA's protocol buffers as JSON, which may omit zeros


@dataclass(frozen=True, eq=False)
class Metrics:
    """TFMA's metrics of a set of images; NaN for undefined ones, such as the AUC of a single class.

    Attributes:
        examples: Number of images.
        accuracy: Proportion of correct predictions at a threshold of 0.5.
        auc: Area under the ROC curve.
        loss: Log loss, in nats.
        precision: Precision of each label.
        recall: Recall of each label.
        f1: F1 score of each label.
        confusion: Number of images by true and predicted label, int64 [2, 2].
        calibration_error: Expected calibration error over ten buckets (Naeini et al. 2015), 0 to 1.
    """

    examples: int
    accuracy: float
    auc: float
    loss: float
    precision: tuple[float, float]
    recall: tuple[float, float]
    f1: tuple[float, float]
    confusion: np.ndarray
    calibration_error: float

    def figures(self, class_names: tuple[str, str]) -> dict[str, float]:
        """Returns the metrics under the names that `components.model_metrics.compute_metrics` uses."""
        by_class = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {
            "accuracy": self.accuracy,
            "auc": self.auc,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
        } | {
            f"{name}/{class_name}": value
            for name, values in by_class.items()
            for class_name, value in zip(class_names, values, strict=True)
        }

    def short(self) -> dict[str, float]:
        """Returns accuracy, auc, loss and the number of examples, without undefined ones."""
        metrics = {"accuracy": self.accuracy, "auc": self.auc, "loss": self.loss}
        return {name: value for name, value in metrics.items() if not math.isnan(value)} | {
            "examples": self.examples
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of all images and of each slice.

    Attributes:
        whole: Metrics of all images.
        slices: Metrics by feature and value.
    """

    whole: Metrics
    slices: Mapping[str, Mapping[str, Metrics]]


def read(folder: str | Path) -> Evaluation:
    """Reads a ModelEvaluation; all metrics are undefined if there were no images."""
    result = tfma.load_eval_result(str(folder))
    plots = {slice_key: _values(outputs) for slice_key, outputs in result.plots}
    whole = _metrics({}, {})
    slices: dict[str, dict[str, Metrics]] = {}
    for slice_key, outputs in result.slicing_metrics:
        metrics = _metrics(_values(outputs), plots.get(slice_key, {}))
        if slice_key == ():
            whole = metrics
        else:
            [(feature, value)] = slice_key
            slices.setdefault(feature, {})[value] = metrics
    return Evaluation(whole, slices)


def _values(outputs: Mapping[str, Mapping[str, _Values]]) -> _Values:
    """Returns the values of the only output of the only model."""
    [by_sub_key] = outputs.values()
    [values] = by_sub_key.values()
    return values


def _metrics(values: _Values, plots: _Values) -> Metrics:
    matrices = values.get("confusion_matrix_at_thresholds", {}).get("confusionMatrixAtThresholds", {})
    [matrix] = matrices.get("matrices", [{}])
    confusion = np.array(
        [
            [matrix.get("trueNegatives", 0), matrix.get("falsePositives", 0)],
            [matrix.get("falseNegatives", 0), matrix.get("truePositives", 0)],
        ]
    ).astype(np.int64)
    actual, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    wrong = confusion[0, 1] + confusion[1, 0]

    def metric(name: str, exists: Any = True) -> float:
        return float(values[name]["doubleValue"]) if exists and name in values else math.nan

    return Metrics(
        examples=int(confusion.sum()),
        accuracy=metric("binary_accuracy"),
        auc=metric("auc", actual.all()),
        loss=metric("binary_crossentropy"),
        precision=(metric("npv", predicted[0]), metric("precision", predicted[1])),
        recall=(metric("specificity", actual[0]), metric("recall", actual[1])),
        f1=(
            2 * confusion[0, 0] / (2 * confusion[0, 0] + wrong) if actual[0] or predicted[0] else math.nan,
            metric("f1_score", actual[1] or predicted[1]),
        ),
        confusion=confusion,
        calibration_error=_calibration_error(plots),
    )


def _calibration_error(plots: _Values) -> float:
    """Returns the expected calibration error from TFMA's buckets; NaN without buckets."""
    buckets = plots.get("calibrationHistogramBuckets", {}).get("buckets", [])
    if not buckets:
        return math.nan
    names = ("totalWeightedRefinedPrediction", "totalWeightedLabel", "numWeightedExamples")
    sums = np.array([[bucket[name] for name in names] for bucket in buckets], np.float64)
    sums[-2] += sums[-1]  # TFMA puts a probability of exactly 1 into a separate bucket
    probabilities, labels, counts = sums[:-1].T
    return float(np.abs(probabilities - labels).sum() / counts.sum())
